package ui

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
)

// eventText is the text of an event or a remark: "event.CODE" of the catalogue with the engine's data filled in. It is the
// engine's English message where the catalogue has no text or the data lacks a {name}.
func (w *Words) eventText(code, own string, about map[string]any) string {
	if text, ok := w.fill("event."+code, about); ok {
		return text
	}
	return own
}

// fill is a text of the catalogue with its {names} filled in from the engine's data and from pairs of name and value. ok is
// false where the catalogue lacks the text or a {name} has no value.
func (w *Words) fill(key string, about map[string]any, pairs ...any) (text string, ok bool) {
	entry, ok := catalogue[key]
	if !ok {
		return "", false
	}
	for _, name := range namesIn(entry.en) {
		if v, told := about[name]; told {
			pairs = append(pairs, name, w.spellValue(name, v))
		} else if !slices.Contains(pairs, any(name)) {
			return "", false
		}
	}
	return w.say(key, pairs...), true
}

// spellValue writes a value of the engine's data.
func (w *Words) spellValue(name string, v any) string {
	switch v := v.(type) {
	case float64:
		switch {
		case strings.HasSuffix(name, "bytes"):
			return Bytes(int64(v))
		case v == math.Trunc(v):
			return strconv.FormatFloat(v, 'f', 0, 64)
		}
		return strconv.FormatFloat(v, 'g', 4, 64)
	case string:
		if key := "got." + v; name == "got" && w.Has(key) {
			return w.say(key)
		}
	case map[string]any: // a remark as the value of another
		code, _ := v["code"].(string)
		own, _ := v["message"].(string)
		about, _ := v["data"].(map[string]any)
		return w.eventText(code, own, about)
	case []any:
		var words []string
		for _, x := range v {
			words = append(words, w.spellValue(name, x))
		}
		return strings.Join(words, w.say("comma"))
	}
	return fmt.Sprint(v)
}

// namesIn are the {names} of a text.
func namesIn(text string) (all []string) {
	for _, part := range strings.Split(text, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		all = append(all, name)
	}
	return all
}

// RemarkText is a remark in the page's language.
func (w *Words) RemarkText(r message.Remark) Text {
	return Text(w.eventText(r.Code, r.Message, r.Data))
}

// UnitText names a unit of the model.
func (w *Words) UnitText(name string) Text {
	if n, ok := strings.CutPrefix(name, "block "); ok {
		return w.T("unit.block", "n", n)
	}
	if key := "unit." + name; w.Has(key) {
		return w.T(key)
	}
	return Text(name)
}
