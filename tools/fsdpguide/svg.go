package main

import (
	"fmt"
	"html"
	"strings"
)

// drawing is an SVG that is being drawn. Its colours are classes of docs.css, because the page's content policy forbids
// inline styles.
type drawing struct {
	b             strings.Builder
	width, height float64
	title, text   string // for screen readers
}

func (d *drawing) rect(class string, x, y, w, h float64, tip string) {
	fmt.Fprintf(&d.b, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"`, class, num(x), num(y), num(w), num(h))
	if tip == "" {
		d.b.WriteString("/>\n")
		return
	}
	fmt.Fprintf(&d.b, "><title>%s</title></rect>\n", html.EscapeString(tip))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&d.b, "<line class=\"%s\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>\n", class, num(x1), num(y1), num(x2), num(y2))
}

// words writes text that begins ("start"), is centred ("middle") or ends ("end") at x.
func (d *drawing) words(anchor string, x, y float64, text string) {
	fmt.Fprintf(&d.b, "<text x=\"%s\" y=\"%s\" text-anchor=\"%s\">%s</text>\n", num(x), num(y), anchor, html.EscapeString(text))
}

// key draws a legend at y and returns the next free y.
func (d *drawing) key(x, y float64, entries ...[2]string) float64 {
	at := x
	for _, e := range entries {
		w := 30 + textWidth(e[1])
		if at > x && at+w > d.width {
			at, y = x, y+22
		}
		d.rect(e[0], at, y-10, 12, 12, "")
		d.words("start", at+18, y, e[1])
		at += w
	}
	return y + 22
}

// textWidth is the approximate width of a text of 13 pixels.
func textWidth(s string) (w float64) {
	for _, r := range s {
		if r > 0x2e80 {
			w += 13
		} else {
			w += 7
		}
	}
	return w
}

func (d *drawing) String() string {
	return fmt.Sprintf("<svg viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"%s\">\n<title>%s</title>\n<desc>%s</desc>\n%s</svg>", num(d.width), num(d.height),
		html.EscapeString(d.title), html.EscapeString(d.title), html.EscapeString(d.text), d.b.String())
}

// num formats a coordinate.
func num(x float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.1f", x), "0"), ".")
}
