package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"llamatab/engine/config"
	"llamatab/engine/message"
)

func init() { Register(classificationFormat) }

// classificationFormat is {"text": …, "label": …} or {"input_ids": […], "label": …}: one label, a number or a text, for a whole
// row. A text is encoded as the tokenizer does, with the tokens that the model expects around it; ids are used as they stand.
var classificationFormat = Format{
	Config: config.Format{Name: "classification", Place: 70, Title: message.Both("text and label", "text 与 label"), Columns: []string{"text", "input_ids", "label"}, Optional: []string{"input_ids"}},
	Turn:   50,
	Labels: true, Classifiable: true,
	Detect: func(r *Record) bool { return r.Has("label") && (r.Has("text") || r.Has("input_ids")) },
	Rows: func(r *Record, e *Encoder) error {
		label, err := r.Label("label")
		if err != nil {
			return err
		}
		if r.Has("input_ids") {
			ids, err := e.ids(r)
			if err != nil {
				return err
			}
			return e.classified(ids, label)
		}
		text, err := r.String("text")
		if err != nil {
			return err
		}
		if e.opt.Tokenizer == nil {
			return errTokenizer
		}
		tokens, err := e.opt.Tokenizer.Encode(text, true)
		if err != nil {
			return err
		}
		if tokens = e.onceEnded(tokens); len(tokens) == 0 {
			e.drop(&e.d.Stats.Empty)
			return nil
		}
		kept := tokens[:min(len(tokens), e.length)]
		if lost := len(tokens) - len(kept); lost > 0 {
			e.d.Stats.Truncated++
			e.d.Stats.Lost += lost
		}
		ids := make([]int32, len(kept))
		for i, id := range kept {
			if err := e.check(id); err != nil {
				return e.misfit(id, err)
			}
			ids[i] = int32(id)
		}
		return e.classified(ids, label)
	},
}

// Label returns the class under key as text: that of a number is its decimal spelling.
func (r *Record) Label(key string) (string, error) {
	if !r.Has(key) {
		return "", r.missing(key)
	}
	raw := r.fields[r.column(key)]
	var s string
	var n int64
	switch {
	case r.table && string(raw) == `""`:
		return "", r.missing(key)
	case json.Unmarshal(raw, &s) == nil:
		return s, nil
	case json.Unmarshal(raw, &n) == nil:
		return strconv.FormatInt(n, 10), nil
	}
	return "", fault("row_wants_label", "{key} wants a whole number or a string, got {got}", "key", r.spelled(key), "got", kind(raw))
}

// classified adds a row with its label. Where the classes are known the label must be one of them; else it is given a
// class when all labels have been seen.
func (e *Encoder) classified(ids []int32, label string) error {
	s := Sample{IDs: ids}
	if known := e.opt.Classes; known != nil {
		class := slices.Index(known, label)
		if n, err := strconv.Atoi(label); class < 0 && err == nil && n >= 0 && n < len(known) {
			class = n
		}
		if class < 0 {
			return fault("row_label_unknown", "label {label} is none of the model's {n}: {known}", "label", strconv.Quote(label), "n", len(known), "known", spell(known))
		}
		s.Class = int32(class)
	}
	e.labels = append(e.labels[:len(e.d.Samples)], label)
	return e.add(s)
}

// spell lists names for a message.
func spell(names []string) string {
	const most = 12
	s := fmt.Sprintf("%q", names[:min(most, len(names))])
	if len(names) > most {
		s += " …"
	}
	return s
}

// classes gives every row its class, once all labels are known: their place among the sorted labels, numbers by size; or,
// where the number of classes is given and all labels are numbers below it, the labels as they stand.
func (e *Encoder) classes() error {
	if e.opt.Classes != nil {
		e.d.Classes = e.opt.Classes
		return nil
	}
	seen := map[string]bool{}
	numbers := true
	for _, label := range e.labels[:len(e.d.Samples)] {
		seen[label] = true
		_, err := strconv.Atoi(label)
		numbers = numbers && err == nil
	}
	names := slices.Sorted(maps.Keys(seen))
	n := e.opt.NumClasses
	if numbers {
		value := func(s string) int { v, _ := strconv.Atoi(s); return v }
		slices.SortFunc(names, func(a, b string) int { return value(a) - value(b) })
		if n > 0 && value(names[0]) >= 0 && value(names[len(names)-1]) < n {
			names = names[:0]
			for i := range n {
				names = append(names, strconv.Itoa(i))
			}
		}
	}
	switch {
	case n == 0 && len(names) < 2:
		return fmt.Errorf("every row has the label %q: two classes are needed to tell them apart", names[0])
	case n == 0 && len(names) > maxClasses:
		return fmt.Errorf("%d different labels, more than %d: are they classes?", len(names), maxClasses)
	case n > 0 && len(names) > n:
		return fmt.Errorf("%d different labels for a model of %d classes: %s", len(names), n, spell(names))
	}
	for len(names) < n {
		names = append(names, fmt.Sprintf("LABEL_%d", len(names)))
	}
	e.d.Classes = names
	for i, label := range e.labels[:len(e.d.Samples)] {
		e.d.Samples[i].Class = int32(slices.Index(names, label))
	}
	return nil
}

// maxClasses bounds what are taken for classes when they are counted from the data.
const maxClasses = 10_000

var errClassify = errors.New("rows with a label are for a classification, and this run has none: add a head with trainable, such as [\"score\"], or choose another format")
