package ui

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"llamatab/engine/message"
)

// told says what the engine remarks on, by its code: the text "event.CODE" with what it is about filled in. The engine's
// own words stand in where the page has none, or is not told what they are about.
func (w *Words) told(code, own string, about map[string]any) string {
	key := "event." + code
	if !w.Has(key) {
		return own
	}
	var pairs []any
	for _, name := range names(catalogue[key].en) {
		v, ok := about[name]
		if !ok {
			return own
		}
		pairs = append(pairs, name, w.spelled(name, v))
	}
	return w.say(key, pairs...)
}

// spelled is a value as the engine tells it, as JSON.
func (w *Words) spelled(name string, v any) string {
	switch v := v.(type) {
	case float64:
		switch {
		case strings.HasSuffix(name, "bytes"):
			return Bytes(int64(v))
		case v == math.Trunc(v):
			return strconv.FormatFloat(v, 'f', 0, 64)
		}
		return strconv.FormatFloat(v, 'g', 4, 64)
	case []any:
		var words []string
		for _, x := range v {
			words = append(words, w.spelled(name, x))
		}
		return strings.Join(words, w.say("room.comma"))
	}
	return fmt.Sprint(v)
}

// names are the {names} that a text leaves to be filled in.
func names(text string) (all []string) {
	for _, part := range strings.Split(text, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		all = append(all, name)
	}
	return all
}

// RemarkText is a remark in the person's language.
func (w *Words) RemarkText(r message.Remark) Text { return Text(w.told(r.Code, r.Message, r.Data)) }

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
