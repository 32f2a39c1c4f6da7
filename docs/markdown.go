package docs

import (
	"bytes"
	"html/template"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// converter converts CommonMark with tables. HTML in a page is shown as text, and all columns of tables are aligned to the
// left.
var converter = goldmark.New(
	goldmark.WithParser(parser.NewParser(
		parser.WithBlockParsers(without(parser.DefaultBlockParsers(), parser.NewHTMLBlockParser())...),
		parser.WithInlineParsers(without(parser.DefaultInlineParsers(), parser.NewRawHTMLParser())...),
		parser.WithParagraphTransformers(parser.DefaultParagraphTransformers()...),
	)),
	goldmark.WithExtensions(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignNone))),
)

// without are the parsers of a list except one.
func without(all []util.PrioritizedValue, left any) []util.PrioritizedValue {
	return slices.DeleteFunc(all, func(p util.PrioritizedValue) bool { return p.Value == left })
}

// markdown converts a page to HTML and finds its title, the first heading. Links lead to where the server has their pages.
func markdown(page string) (title string, body template.HTML, err error) {
	source := []byte(page)
	document := converter.Parser().Parse(text.NewReader(source))
	err = ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Heading:
			if entering && title == "" {
				title = plainText(n, source)
			}
		case *ast.Link:
			if entering {
				n.Destination = []byte(address(string(n.Destination)))
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return "", "", err
	}
	var b bytes.Buffer
	err = converter.Renderer().Render(&b, source, document)
	return title, template.HTML(b.String()), err
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

// plainText is the text below a node, without marks.
func plainText(n ast.Node, source []byte) string {
	if t, ok := n.(*ast.Text); ok {
		return string(t.Value(source))
	}
	var b strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		b.WriteString(plainText(child, source))
	}
	return b.String()
}
