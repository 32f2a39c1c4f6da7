package docs

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "llamatab/engine/data" // registers the formats of data
	"llamatab/engine/pretrained"
)

func TestMarkdown(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"# A `b` & *c*\n\nOne\ntwo.", "<h1>A <code>b</code> &amp; <em>c</em></h1>\n<p>One\ntwo.</p>\n"},
		{"- a\n- b\n  c\n\nd", "<ul>\n<li>a</li>\n<li>b\nc</li>\n</ul>\n<p>d</p>\n"},
		{"1. a\n2. **b**", "<ol>\n<li>a</li>\n<li><strong>b</strong></li>\n</ol>\n"},
		{"```sh\na <b> `c`\n\n# d\n```\ne", "<pre><code class=\"language-sh\">a &lt;b&gt; `c`\n\n# d\n</code></pre>\n<p>e</p>\n"},
		{"| a | b |\n| --- | ---: |\n| `x\\|y` | 1 |", "<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td><code>x|y</code></td>\n<td>1</td>\n</tr>\n</tbody>\n</table>\n"},
		{"[x](y.md#z), [r](../README.md), [w](https://e.org/a.md) and ![p](q.webp)",
			"<p><a href=\"y.html#z\">x</a>, <a href=\"./\">r</a>, <a href=\"https://e.org/a.md\">w</a> and <img src=\"q.webp\" alt=\"p\"></p>\n"},
		{"`*a* [b](c)` 2 * 3 * 4", "<p><code>*a* [b](c)</code> 2 * 3 * 4</p>\n"},
		{"<script>", "<p>&lt;script&gt;</p>\n"},
	} {
		if _, got, err := markdown(c.text); err != nil || string(got) != c.want {
			t.Errorf("%q becomes\n%s\nwant\n%s (%v)", c.text, got, c.want, err)
		}
	}
	if title, _, _ := markdown("text\n\n## The `title` of [it](x.md)\n\n# other"); title != "The title of it" {
		t.Errorf("the title is %q", title)
	}
}

// TestPages fetches every page and follows its links to other pages of this folder.
func TestPages(t *testing.T) {
	handler := Handler()
	get := func(name string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", "/docs/"+name, nil))
		return w.Code, w.Body.String()
	}
	names := []string{""}
	for _, d := range append(slices.Clone(guides), documents()...) {
		names = append(names, d.Name)
	}
	href := regexp.MustCompile(`(?:href|src)="([^"#:]+)`)
	for _, name := range names {
		code, body := get(name)
		if code != http.StatusOK || !strings.Contains(body, "<h1>") {
			t.Errorf("%q: status %d, %d bytes", name, code, len(body))
		}
		if name == "" {
			for _, n := range names[1:] {
				if !strings.Contains(body, `href="`+n+`"`) {
					t.Errorf("the list of pages lacks %s", n)
				}
			}
		}
		for _, m := range href.FindAllStringSubmatch(body, -1) {
			if strings.HasPrefix(m[1], "/") || m[1] == "https" {
				continue // a page of the program, or of another site
			}
			if code, _ := get(strings.TrimPrefix(m[1], "./")); code != http.StatusOK {
				t.Errorf("%q links to %s, which is answered with status %d", name, m[1], code)
			}
		}
	}
	if code, _ := get("docs.go"); code != http.StatusNotFound {
		t.Errorf("docs.go is answered with status %d", code)
	}
}

// TestLanguages checks that each reference page exists in both languages.
func TestLanguages(t *testing.T) {
	for _, d := range documents() {
		if !d.Translated {
			t.Errorf("%s exists in one language only", d.Name)
		}
	}
}

// TestParagraphs checks that no paragraph and no table cell of a page is longer than 400 characters.
func TestParagraphs(t *testing.T) {
	for _, d := range documents() {
		checkParagraphs(t, d.Name, string(d.Body))
	}
}

func checkParagraphs(t *testing.T, name, body string) {
	t.Helper()
	const most = 400
	for _, p := range regexp.MustCompile(`(?s)<(?:p|li|td)>(.*?)</(?:p|li|td)>`).FindAllStringSubmatch(body, -1) {
		if text := regexp.MustCompile(`<[^>]+>`).ReplaceAllString(p[1], ""); len([]rune(text)) > most {
			t.Errorf("%s: a paragraph has %d characters: %.80s", name, len([]rune(text)), text)
		}
	}
}

// TestReferences checks that the files which the README and the architecture page name exist.
func TestReferences(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	path := regexp.MustCompile("`((?:docs|engine|server|shaders|testdata|tools|ui|wasm)/[\\w./*-]+)`")
	for _, name := range []string{"README.md", "README.zh.md", "ARCHITECTURE.md"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		var named []string
		for _, m := range append(link.FindAllStringSubmatch(string(text), -1), path.FindAllStringSubmatch(string(text), -1)...) {
			if m[1] != "docs/" && !regexp.MustCompile(`/x(_test)?\b`).MatchString(m[1]) { // x stands for a new file
				named = append(named, m[1])
			}
		}
		if len(named) == 0 {
			t.Errorf("%s names no file", name)
		}
		for _, n := range named {
			if found, err := filepath.Glob(filepath.Join("..", n)); err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which does not exist (%v)", name, n, err)
			}
		}
	}
}

// TestMainPages checks that no paragraph of the README and the architecture page is longer than 400 characters.
func TestMainPages(t *testing.T) {
	for _, name := range []string{"README.md", "README.zh.md", "ARCHITECTURE.md"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		_, body, err := markdown(string(text))
		if err != nil {
			t.Fatal(err)
		}
		checkParagraphs(t, name, string(body))
	}
}

// TestDescribed checks that the pages name what is registered with the engine: families of models, formats of data and
// entries of trainable.
func TestDescribed(t *testing.T) {
	about := pretrained.Describe()
	for suffix, comma := range map[string]string{"": ", ", ".zh": "、"} {
		names := func(page, want string) {
			t.Helper()
			text, err := os.ReadFile(strings.Replace(page, ".md", suffix+".md", 1))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), want) {
				t.Errorf("%s%s does not have %q", page, suffix, want)
			}
		}
		names("../README.md", "| "+strings.Join(about.Models, comma)+" |")
		for _, format := range about.Choices["dataset.format"] {
			if format.Refused == "" && format.Value != "auto" {
				names("run-json.md", "\n| `"+format.Value+"` |")
			}
		}
		for _, part := range about.Parts {
			if word, _, pattern := strings.Cut(part.Value, "regex:"); !pattern {
				names("methods.md", "`"+word+"`")
			}
		}
	}
	if len(about.Models) == 0 || len(about.Parts) == 0 || len(about.Choices["dataset.format"]) < 2 {
		t.Errorf("nothing is registered: %+v", about)
	}
}
