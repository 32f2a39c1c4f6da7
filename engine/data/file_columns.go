package data

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"llamatab/engine/data/textfile"
	"llamatab/engine/data/turns"
	"llamatab/engine/message"
)

// columnRows is how many rows of a file are looked at to find its columns.
const columnRows = 20

// exampleLength is the number of characters of a column's example.
const exampleLength = 120

// Columns finds the columns of a file in its first rows, and which of them are read for what: the keys of the format that opt
// names or, where it names none, of the format that fits the first row. A format that does not fit gives no keys, and plain text
// has no columns. Malformed rows are passed over.
func Columns(r io.Reader, name string, opt Options) (columns []message.DataColumn, keys []message.DataKey, how message.DataFile, err error) {
	format, table, err := chooseFormat(opt)
	if err != nil {
		format, table = nil, false
	}
	file, err := textfile.Open(r, name)
	if err != nil {
		return nil, nil, how, err
	}
	src := &source{file}
	reads := reading{
		auto: !table && (opt.Format == "" || opt.Format == "auto"), table: table, columns: opt.Columns,
		header: func(names []string) bool { return namesColumns(names, opt.Columns) },
	}
	if src.isPlain(reads) {
		src.How.Layout = "text"
		return nil, nil, *src.How, nil
	}
	renamed, rows := opt.Columns, 0
	for record, err := range src.records(reads) {
		if rows++; err == nil {
			if format == nil {
				if format, renamed, err = detect(record, opt.Columns); err != nil {
					renamed = opt.Columns
				}
			}
			if opt.Classify && rows == 1 {
				record.columns = renamed
				renamed = guessLabel(record, renamed)
			}
			columns = record.addColumns(columns)
		}
		if rows == columnRows {
			break
		}
	}
	if format != nil {
		keys = format.keys(columns, renamed)
	}
	return columns, keys, *src.How, nil
}

// isPlain tells whether a file that nobody calls a table is plain text.
func (s *source) isPlain(how reading) bool {
	head, _ := s.In.Peek(s.In.Size())
	text := bytes.TrimLeft(head, " \t\r\n")
	return len(text) > 0 && isText(s.Name, text[0]) && !how.table && !(how.auto && s.looksLikeTable(how))
}

// addColumns adds the record's columns to those of earlier records, each with its first value that is not null or empty.
func (r *Record) addColumns(columns []message.DataColumn) []message.DataColumn {
	for _, name := range r.order() {
		at := slices.IndexFunc(columns, func(c message.DataColumn) bool { return c.Name == name })
		if at < 0 && name != "" {
			at = len(columns)
			columns = append(columns, message.DataColumn{Name: name})
		}
		if at >= 0 && columns[at].Kind == "" {
			columns[at].Kind, columns[at].Example = example(r.fields[name])
		}
	}
	return columns
}

// example is the kind of a value and the beginning of its text. A text that holds a JSON list, as a cell of a table does, is of
// the list's kind. The kind of an empty value is "".
func example(raw json.RawMessage) (kind, text string) {
	if len(raw) == 0 || string(raw) == "null" || string(raw) == `""` {
		return "", ""
	}
	text = string(raw)
	var s string
	if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		text, kind = s, "text"
		if inner := strings.TrimSpace(s); strings.HasPrefix(inner, "[") && json.Valid([]byte(inner)) {
			raw, kind = json.RawMessage(inner), ""
		}
	}
	if kind == "" {
		kind = turns.Kind(raw)
	}
	if most := 64 * exampleLength; len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	text = strings.Join(strings.Fields(text), " ")
	if letters := []rune(text); len(letters) > exampleLength {
		text = string(letters[:exampleLength]) + "…"
	}
	return kind, text
}

// keys are the format's keys with the columns that are read for them. renamed is dataset.columns, with what was guessed.
func (f *Format) keys(columns []message.DataColumn, renamed map[string]string) (keys []message.DataKey) {
	for _, key := range f.Config.Columns {
		own := renamed[key]
		if own == "" {
			own = key
		}
		if !slices.ContainsFunc(columns, func(c message.DataColumn) bool { return c.Name == own }) {
			own = renamed[key] // by number, or a name that is not there
		}
		keys = append(keys, message.DataKey{Key: key, Column: own, Optional: slices.Contains(f.Config.Optional, key)})
	}
	return keys
}
