// Package docs holds the pages that the server shows below /docs/. Reference pages are the Markdown files of this folder,
// NAME.md in English and NAME.zh.md in Chinese. fsdp.html and fsdp.zh.html have pictures, which tools/fsdpguide draws from
// recorded runs.
package docs

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed *.md *.html *.css
var files embed.FS

// page is the frame of a page.
var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="{{.Lang}}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}} · llamatab</title>
<link rel="stylesheet" href="docs.css">
<header>
  <nav><a href="/">llamatab</a> · <a href="./">{{if eq .Lang "zh"}}文档{{else}}Documentation{{end}}</a></nav>
</header>
<main>
{{.Body}}</main>
</html>
`))

// document is a page of /docs/.
type document struct {
	Name       string // such as commands.html
	Lang       string // "en" or "zh"
	Title      string
	Translated bool // the page exists in the other language, too
	Body       template.HTML
}

// Handler serves the pages below /docs/, and a list of them at /docs/.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /docs/", http.StripPrefix("/docs", http.FileServerFS(files)))
	mux.HandleFunc("GET /docs/{$}", send("index.html"))
	for _, d := range documents() {
		mux.HandleFunc("GET /docs/"+d.Name, send(d.Name))
	}
	return mux
}

// send answers with a page that is made from Markdown.
func send(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, err := render(name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(text))
	}
}

// documents reads the Markdown files, and lists them by name.
var documents = sync.OnceValue(func() (all []document) {
	names, err := fs.Glob(files, "*.md")
	if err != nil { // the pattern is a constant
		panic(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil { // the files are part of the program
			panic(err)
		}
		d := document{Name: strings.TrimSuffix(name, ".md") + ".html", Lang: "en"}
		other := strings.TrimSuffix(name, ".md") + ".zh.md"
		if base, ok := strings.CutSuffix(name, ".zh.md"); ok {
			d.Lang, other = "zh", base+".md"
		}
		d.Translated = slices.Contains(names, other)
		if d.Title, d.Body, err = markdown(string(text)); err != nil { // likewise
			panic(err)
		}
		all = append(all, d)
	}
	return all
})

// render makes a page, or the list of all pages for "index.html".
func render(name string) ([]byte, error) {
	d := document{Name: name, Lang: "en", Title: "Documentation"}
	if name == "index.html" {
		d.Body = index()
	} else {
		at := slices.IndexFunc(documents(), func(d document) bool { return d.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("%s: %w", path.Join("docs", name), fs.ErrNotExist)
		}
		d = documents()[at]
	}
	var b bytes.Buffer
	err := page.Execute(&b, d)
	return b.Bytes(), err
}

// guides are the pages that are HTML files, by language.
var guides = []document{
	{Name: "fsdp.html", Lang: "en", Title: "FSDP: how several tabs train one model"},
	{Name: "fsdp.zh.html", Lang: "zh", Title: "FSDP：多个标签页如何训练同一个模型"},
}

// index lists all pages, the English ones first.
func index() template.HTML {
	var b strings.Builder
	b.WriteString("<h1>Documentation · 文档</h1>\n")
	for _, lang := range []string{"en", "zh"} {
		fmt.Fprintf(&b, "<ul lang=%q>\n", lang)
		for _, d := range append(slices.Clone(guides), documents()...) {
			if d.Lang == lang {
				fmt.Fprintf(&b, "<li><a href=%q>%s</a></li>\n", d.Name, template.HTMLEscapeString(d.Title))
			}
		}
		b.WriteString("</ul>\n")
	}
	return template.HTML(b.String())
}
