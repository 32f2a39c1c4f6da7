package ui

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"llamatab/engine/message"
)

// Words says what the page says in the language of the person who reads it: texts of the catalogue, and those that come
// with the description of the settings.
type Words struct {
	chinese   bool
	described texts                      // by key, as in the catalogue
	settings  map[string]message.Setting // settings of adapters, by path
}

// NewWords picks the language of a tag such as "zh-CN": Chinese or, for all other tags, English.
func NewWords(tag string) *Words {
	return &Words{chinese: tag == "zh" || strings.HasPrefix(strings.ToLower(tag), "zh-")}
}

// Lang is the language tag for the document.
func (w *Words) Lang() string {
	if w.chinese {
		return "zh"
	}
	return "en"
}

// text finds the text of a key in both languages.
func (w *Words) text(key string) (entry struct{ en, zh string }, ok bool) {
	if entry, ok = catalogue[key]; !ok {
		entry, ok = w.described[key]
	}
	return entry, ok
}

// Has reports whether there is a text for the key.
func (w *Words) Has(key string) bool {
	_, ok := w.text(key)
	return ok
}

// T is say, as content of the page.
func (w *Words) T(key string, pairs ...any) Text { return Text(w.say(key, pairs...)) }

// say is the text of a key with its {names} filled in from pairs of name and value. A key without a
// text is its own.
func (w *Words) say(key string, pairs ...any) string {
	entry, ok := w.text(key)
	if !ok {
		return key
	}
	text := entry.en
	if w.chinese {
		text = entry.zh
	}
	return message.Fill(text, pairs...)
}

// Text is plain text for the page. It may contain any characters.
type Text string

// HTML implements vugu.HTMLer. It writes characters beyond ASCII as references: vugu passes content to the browser in pieces and
// may cut it within a character.
func (t Text) HTML() string {
	var b strings.Builder
	for _, r := range string(t) {
		if r >= 0x80 || strings.ContainsRune("<>&\"'", r) {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Duration writes a time in seconds with its two largest units.
func (w *Words) Duration(seconds float64) string {
	if !(seconds >= 0 && seconds < 1e7) { // 115 days: not a forecast any more
		return "–"
	}
	s := int(math.Ceil(seconds))
	switch {
	case s < 60:
		return w.say("time.seconds", "s", s)
	case s < 3600:
		return w.say("time.minutes", "m", s/60, "s", s%60)
	default:
		return w.say("time.hours", "h", s/3600, "m", s%3600/60)
	}
}

// Bytes writes a size in bytes with a fitting unit.
func Bytes(n int64) string {
	v := float64(n)
	for _, unit := range []string{"B", "kB", "MB"} {
		if v < 999.5 {
			return number(v) + " " + unit
		}
		v /= 1000
	}
	return number(v) + " GB"
}

// count writes a large count, such as 12.3M.
func count(n int64) string {
	v := float64(n)
	for _, unit := range []string{"", "k", "M"} {
		if v < 999.5 {
			return number(v) + unit
		}
		v /= 1000
	}
	return number(v) + "B"
}

// number writes a value with three digits, and integers without a fraction.
func number(v float64) string {
	switch {
	case v == math.Trunc(v) || v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}
