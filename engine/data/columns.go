package data

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// spellings are names under which files often have what a format has under its own key, in the order in which they are tried.
// They are compared in lower case, with "_" for spaces and hyphens.
var spellings = map[string][]string{
	"prompt":      {"prompt", "提示"},
	"completion":  {"completion", "response", "answer", "output", "reply", "回答", "回复"},
	"instruction": {"instruction", "question", "query", "problem", "user", "input", "source", "问题", "指令", "提问", "输入"},
	"input":       {"input", "context", "上下文"},
	"output":      {"output", "response", "answer", "reply", "solution", "assistant", "completion", "target", "答案", "回答", "回复", "输出"},
	"text":        {"text", "content", "sentence", "document", "review", "body", "文本", "内容"},
	"label":       {"label", "class", "category", "sentiment", "target", "标签", "类别"},
}

// guess finds a format for a record of other keys than any format's own, and the columns that make it fit. The formats
// of instructions keep the question apart from its answer by a template, so they are tried where no key says prompt.
func guess(r *Record) (*Format, map[string]string) {
	for _, try := range []struct {
		format *Format
		keys   []string
		more   []string // keys that may be absent
	}{
		{&promptCompletionFormat, []string{"prompt", "completion"}, nil},
		{&alpacaFormat, []string{"instruction", "output"}, []string{"input"}},
		{&textFormat, []string{"text"}, nil},
	} {
		if columns := r.match(try.keys, try.more); columns != nil {
			return try.format, columns
		}
	}
	return guessTurns(r)
}

// guessTurns finds the one column that holds a list of messages or of turns, whatever its name. Several, as the better and the worse
// answer of a preference, are not guessed.
func guessTurns(r *Record) (*Format, map[string]string) {
	var format *Format
	columns := maps.Clone(r.columns)
	if columns == nil {
		columns = map[string]string{}
	}
	for own, raw := range r.fields {
		kind, _ := example(raw)
		if kind != "messages" && kind != "sharegpt" {
			continue
		}
		if format != nil {
			return nil, nil
		}
		if format = &messagesFormat; kind == "sharegpt" {
			format = &sharegptFormat
		}
		columns[format.Config.Columns[0]] = own
	}
	return format, columns
}

// match finds columns under which the record has all of keys, and of more what it has; nil where one of keys is not found. No key
// of the record stands for two.
func (r *Record) match(keys, more []string) map[string]string {
	columns := maps.Clone(r.columns)
	if columns == nil {
		columns = map[string]string{}
	}
	taken := map[string]bool{}
	for i, key := range slices.Concat(keys, more) {
		own := r.column(key)
		if _, ok := r.fields[own]; !ok || taken[own] {
			own = r.spelling(key, taken)
		}
		switch {
		case own == "" && i < len(keys):
			return nil
		case own == "":
			continue
		case own != key:
			columns[key] = own
		}
		taken[own] = true
	}
	return columns
}

// spelling is the key of the record that is a spelling of key, "" for none.
func (r *Record) spelling(key string, taken map[string]bool) string {
	for _, spelled := range spellings[key] {
		for _, own := range slices.Sorted(maps.Keys(r.fields)) {
			if !taken[own] && plainSpelling(own) == spelled {
				return own
			}
		}
	}
	return ""
}

func plainSpelling(key string) string {
	return strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(key)))
}

// guessLabel adds to columns those under which the first record of a classification has its text and its label.
func guessLabel(r *Record, columns map[string]string) map[string]string {
	r.columns = columns
	_, ids := r.fields[r.column("input_ids")]
	keys := []string{"label", "text"}
	if ids {
		keys = keys[:1]
	}
	if found := r.match(keys, nil); found != nil {
		return found
	}
	return columns
}

// tellGuess adds a remark where columns has more than what the configuration says.
func (s *source) tellGuess(f *Format, columns, given map[string]string) {
	s.How.Columns = map[string]string{}
	for _, key := range f.Config.Columns {
		if own := columns[key]; own != "" {
			s.How.Columns[key] = own
		}
	}
	if maps.Equal(columns, given) || len(columns) == 0 {
		return
	}
	line, _ := json.Marshal(columns)
	s.Remark("columns_guessed", "{file}: its rows are read as {format}, as with dataset.columns {columns}", "file", s.Name, "format", f.Name(), "columns", string(line))
}

// knownKey tells whether key is one of a format's, so that an object with it is a row.
func knownKey(key string) bool {
	return key == "messages" || key == "conversations" || slices.ContainsFunc(formats, func(f *Format) bool { return slices.Contains(f.Config.Columns, key) })
}

// namesColumns tells whether the cells of a table's first row are names of columns: those of the configuration, or such that a format
// fits them.
func namesColumns(names []string, columns map[string]string) bool {
	r := &Record{columns: columns, fields: map[string]json.RawMessage{}}
	for _, name := range names {
		r.fields[name] = json.RawMessage(`"x"`)
	}
	for key, own := range columns {
		if _, ok := r.fields[own]; ok && own != key || ok && knownKey(key) {
			return true
		}
	}
	if slices.ContainsFunc(formats, func(f *Format) bool { return f.Detect(r) }) {
		return true
	}
	if f, _ := guess(r); f != nil {
		return true
	}
	return r.match([]string{"label", "text"}, nil) != nil
}

// someKey is a key of the record for an example in a message.
func (r *Record) someKey() string {
	keys := slices.Sorted(maps.Keys(r.fields))
	if len(keys) == 0 {
		return "…"
	}
	return fmt.Sprintf("%.40s", keys[0])
}
