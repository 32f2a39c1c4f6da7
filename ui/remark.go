package ui

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
)

// eventText says what the engine remarks on, by its code: the text "event.CODE" with what it is about filled in. The engine's
// own words stand in where the page has none, or is not told what they are about.
func (w *Words) eventText(code, own string, about map[string]any) string {
	if text, ok := w.fill("event."+code, about); ok {
		return text
	}
	return own
}

// fill is the text of a key with its {names} filled in from what the engine says it is about, and from more pairs. It is
// not ok where the key is not in the catalogue or a name stays open.
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

// spellValue is a value as the engine tells it, as JSON.
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
	case map[string]any: // a remark within a remark
		code, _ := v["code"].(string)
		own, _ := v["message"].(string)
		about, _ := v["data"].(map[string]any)
		return w.eventText(code, own, about)
	case []any:
		var words []string
		for _, x := range v {
			words = append(words, w.spellValue(name, x))
		}
		return strings.Join(words, w.say("room.comma"))
	}
	return fmt.Sprint(v)
}

// namesIn are the {names} that a text leaves to be filled in.
func namesIn(text string) (all []string) {
	for _, part := range strings.Split(text, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		all = append(all, name)
	}
	return all
}

// RemarkText is a remark in the person's language.
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
