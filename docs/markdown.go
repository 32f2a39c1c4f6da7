package docs

import (
	"fmt"
	"html/template"
	"regexp"
	"strings"
)

// markdown converts a page to HTML and finds its title, the first heading. It knows the part of GitHub's Markdown that the
// pages use: headings, paragraphs, lists of one level, tables, fenced code, inline code, bold and emphasised text, links and
// images. Everything else is text.
func markdown(text string) (title string, body template.HTML) {
	var b strings.Builder
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); {
		line := lines[i]
		switch level := headingLevel(line); {
		case strings.TrimSpace(line) == "":
			i++
		case level > 0:
			words := strings.TrimSpace(line[level:])
			if title == "" {
				title = plainText(words)
			}
			fmt.Fprintf(&b, "<h%d>%s</h%d>\n", level, inline(words), level)
			i++
		case strings.HasPrefix(line, "```"):
			end := next(lines, i+1, func(l string) bool { return strings.HasPrefix(l, "```") })
			fmt.Fprintf(&b, "<pre><code>%s\n</code></pre>\n", template.HTMLEscapeString(strings.Join(lines[i+1:end], "\n")))
			i = end + 1
		case strings.HasPrefix(line, "|"):
			end := next(lines, i, func(l string) bool { return !strings.HasPrefix(l, "|") })
			table(&b, lines[i:end])
			i = end
		case bullet.MatchString(line) || numbered.MatchString(line):
			i = list(&b, lines, i)
		default:
			end := next(lines, i+1, startsBlock)
			fmt.Fprintf(&b, "<p>%s</p>\n", inline(strings.Join(lines[i:end], "\n")))
			i = end
		}
	}
	return title, template.HTML(b.String())
}

var (
	bullet   = regexp.MustCompile(`^[-*] +`)
	numbered = regexp.MustCompile(`^[0-9]+\. +`)
)

// headingLevel is the number of # that begin a heading, 0 for another line.
func headingLevel(line string) int {
	rest := strings.TrimLeft(line, "#")
	if n := len(line) - len(rest); n <= 6 && strings.HasPrefix(rest, " ") {
		return n
	}
	return 0
}

// startsBlock reports whether a line ends the paragraph before it.
func startsBlock(line string) bool {
	return strings.TrimSpace(line) == "" || headingLevel(line) > 0 || strings.HasPrefix(line, "```") || strings.HasPrefix(line, "|") ||
		bullet.MatchString(line) || numbered.MatchString(line)
}

// next is the first line from i on for which is holds, or the number of lines.
func next(lines []string, i int, is func(string) bool) int {
	for ; i < len(lines); i++ {
		if is(lines[i]) {
			return i
		}
	}
	return len(lines)
}

// list writes the list that begins with line i, and returns the line after it. Indented lines belong to the item above.
func list(b *strings.Builder, lines []string, i int) int {
	mark, element := bullet, "ul"
	if numbered.MatchString(lines[i]) {
		mark, element = numbered, "ol"
	}
	fmt.Fprintf(b, "<%s>\n", element)
	for i < len(lines) && mark.MatchString(lines[i]) {
		end := next(lines, i+1, func(l string) bool { return !strings.HasPrefix(l, " ") || strings.TrimSpace(l) == "" })
		item := mark.ReplaceAllString(lines[i], "")
		for _, l := range lines[i+1 : end] {
			item += "\n" + strings.TrimSpace(l)
		}
		fmt.Fprintf(b, "<li>%s</li>\n", inline(item))
		i = end
	}
	fmt.Fprintf(b, "</%s>\n", element)
	return i
}

// table writes a table. The second row is the rule that GitHub's Markdown wants.
func table(b *strings.Builder, rows []string) {
	b.WriteString("<table>\n")
	for i, row := range rows {
		if i == 1 {
			continue
		}
		cell := "td"
		if i == 0 {
			cell = "th"
		}
		b.WriteString("<tr>")
		for _, text := range cells(row) {
			fmt.Fprintf(b, "<%s>%s</%s>", cell, inline(text), cell)
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table>\n")
}

// cells splits a row at each | that is not escaped.
func cells(row string) (all []string) {
	const escaped = "\x00"
	row = strings.ReplaceAll(strings.TrimSpace(row), `\|`, escaped)
	for cell := range strings.SplitSeq(strings.TrimSuffix(strings.TrimPrefix(row, "|"), "|"), "|") {
		all = append(all, strings.TrimSpace(strings.ReplaceAll(cell, escaped, "|")))
	}
	return all
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	image    = regexp.MustCompile(`!\[([^\]]*)\]\(([^)\s]+)\)`)
	link     = regexp.MustCompile(`\[([^\]]+)\]\(([^)\s]+)\)`)
	bold     = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	emphasis = regexp.MustCompile(`\*([^*\s][^*]*)\*`)
)

// inline converts the inline marks of a text. Code is set aside first, so that marks in it stay as they are.
func inline(text string) string {
	var code []string
	text = codeSpan.ReplaceAllStringFunc(text, func(s string) string {
		code = append(code, "<code>"+template.HTMLEscapeString(codeSpan.FindStringSubmatch(s)[1])+"</code>")
		return fmt.Sprintf("\x01%d\x02", len(code)-1)
	})
	text = template.HTMLEscapeString(text)
	text = image.ReplaceAllString(text, `<img src="$2" alt="$1">`)
	text = link.ReplaceAllStringFunc(text, func(s string) string {
		m := link.FindStringSubmatch(s)
		return fmt.Sprintf(`<a href="%s">%s</a>`, address(m[2]), m[1])
	})
	text = bold.ReplaceAllString(text, "<strong>$1</strong>")
	text = emphasis.ReplaceAllString(text, "<em>$1</em>")
	for i, c := range code {
		text = strings.Replace(text, fmt.Sprintf("\x01%d\x02", i), c, 1)
	}
	return text
}

// address is the address of a link in the served page. A Markdown file of this folder is served as HTML. The README lies
// above this folder and is not served, so a link to it leads to the list of pages.
func address(target string) string {
	if strings.Contains(target, "://") {
		return target
	}
	file, anchor, _ := strings.Cut(target, "#")
	if anchor != "" {
		anchor = "#" + anchor
	}
	if strings.HasPrefix(file, "../") {
		return "./"
	}
	if name, ok := strings.CutSuffix(file, ".md"); ok {
		return name + ".html" + anchor
	}
	return target
}

// plainText is a heading without its inline marks.
func plainText(text string) string {
	text = link.ReplaceAllString(text, "$1")
	return strings.NewReplacer("`", "", "*", "").Replace(text)
}
