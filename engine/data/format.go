package data

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/config"
)

// Format turns records into samples. Each file of a format registers one; validation, llamatab's help and the page use
// nothing else.
type Format struct {
	// Config is the format's name with what a configuration says about it.
	Config config.Format
	// Turn is when the format is tried on the first record, ascending: of two formats that fit, the first is taken.
	Turn int
	// Detect reports whether a record looks like one of this format.
	Detect func(r *Record) bool
	// Rows adds the samples of one record to e, or says what is wrong with it.
	Rows func(r *Record, e *Encoder) error
	// Plain: a file of plain text, without records, is of this format.
	Plain bool
	// Table: the file is a table, and its columns tell which of the other formats its rows have.
	Table bool
	// Refusal says why records that look like this are not read, "" for a format that is available.
	Refusal string
	// Labels: its rows have the labels of a classification.
	Labels bool
	// Classifiable: its rows may instead have labels, where a run is a classification.
	Classifiable bool
}

// Name is the format's name, as dataset.format spells it.
func (f *Format) Name() string { return f.Config.Name }

var formats []*Format

// Register makes a format known. It is called from init functions.
func Register(f Format) {
	f.Config.Unavailable = f.Refusal != ""
	formats = append(formats, &f)
	slices.SortStableFunc(formats, func(a, b *Format) int { return cmp.Compare(a.Turn, b.Turn) })
	config.RegisterFormat(f.Config)
}

// byName finds a format that this version reads, nil where there is none of the name.
func byName(name string) *Format {
	for _, f := range formats {
		if f.Name() == name && f.Refusal == "" {
			return f
		}
	}
	return nil
}

func names() string {
	var all []string
	for _, f := range formats {
		if f.Refusal == "" {
			all = append(all, f.Name())
		}
	}
	return strings.Join(all, ", ")
}

// detect finds the format of a file by its first record. columns are those of the configuration; it returns them with what had to
// be guessed. A null counts as a value: a row that has one under a format's key is a bad row of that format.
func detect(r *Record, columns map[string]string) (*Format, map[string]string, error) {
	r.columns = columns
	filled := &Record{Line: r.Line, Plain: r.Plain, columns: columns, fields: map[string]json.RawMessage{}}
	for key, value := range r.fields {
		if string(value) == "null" {
			value = json.RawMessage(`""`)
		}
		filled.fields[key] = value
	}
	for _, candidate := range []*Record{r, filled} {
		for _, f := range formats {
			if f.Detect(candidate) {
				if f.Refusal != "" {
					return nil, nil, errors.New(f.Refusal)
				}
				return f, columns, nil
			}
		}
	}
	if f, guessed := guess(filled); f != nil {
		return f, guessed, nil
	}
	return nil, nil, fault("row_no_format", "no format fits a row with the keys [{keys}]: rename them with dataset.columns to "+
		"text; prompt, completion; instruction, output; or input_ids, such as {{text}: {example}}", "keys", r.keys(), "text", strconv.Quote("text"), "example", strconv.Quote(r.someKey()))
}

// has is a Detect that wants all of keys.
func has(keys ...string) func(*Record) bool {
	return func(r *Record) bool {
		for _, key := range keys {
			if !r.Has(key) {
				return false
			}
		}
		return true
	}
}
