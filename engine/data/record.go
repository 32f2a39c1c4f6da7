package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/strictjson"
)

// Record is one entry of a file: a JSON object, a row of a table or, alone in its file, a plain text.
type Record struct {
	Line    int  // 1-based, where it starts
	Plain   bool // Text is set
	Text    string
	table   bool // its values are cells, where an empty one is none
	fields  map[string]json.RawMessage
	object  []byte   // the JSON that fields are from, or else
	names   []string // the keys of fields in the order of the file
	columns map[string]string

	offset, size int64 // of its bytes in a file of UTF-8
	parse        func(raw []byte, line int) (*Record, error)
}

// column is the file's own name of key.
func (r *Record) column(key string) string {
	if c := r.columns[key]; c != "" {
		return c
	}
	return key
}

// Has tells whether the record has key, and not as null.
func (r *Record) Has(key string) bool {
	raw, ok := r.fields[r.column(key)]
	return ok && string(raw) != "null"
}

// spelled is the name of a key in the file, as errors show it.
func (r *Record) spelled(key string) string { return strconv.Quote(r.column(key)) }

func (r *Record) missing(key string) error {
	if value, found := r.fields[r.column(key)]; found && string(value) == "null" {
		return fault("row_null", "{key} is null", "key", r.spelled(key))
	}
	return fault("row_key_missing", "the key {key} is missing", "key", r.spelled(key))
}

// String returns the text under key.
func (r *Record) String(key string) (string, error) {
	if !r.Has(key) {
		return "", r.missing(key)
	}
	var s string
	if raw := r.fields[r.column(key)]; json.Unmarshal(raw, &s) != nil {
		return "", fault("row_wants_string", "{key} wants a string, got {got}", "key", r.spelled(key), "got", kind(raw))
	}
	return s, nil
}

// Ints returns the list of integers under key.
func (r *Record) Ints(key string) ([]int32, error) {
	if !r.Has(key) {
		return nil, r.missing(key)
	}
	var list []int32
	raw := r.fields[r.column(key)]
	if raw[0] != '[' {
		return nil, fault("row_wants_integers", "{key} wants a list of integers, got {got}", "key", r.spelled(key), "got", kind(raw))
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("%q wants a list of integers, got %s in it", r.column(key), t.Value)
		}
		return nil, err
	}
	if bytes.Contains(raw, []byte("null")) { // which encoding/json takes for 0
		return nil, fmt.Errorf("%q wants a list of integers, got null in it", r.column(key))
	}
	return list, nil
}

// kind says what a JSON value is, for errors.
func kind(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// order are the record's keys in the order of the file.
func (r *Record) order() []string {
	if r.object != nil {
		return strictjson.Keys(r.object)
	}
	return r.names
}

// keys lists the record's keys, for messages.
func (r *Record) keys() string {
	const most = 12
	keys := make([]string, 0, len(r.fields))
	for key := range r.fields {
		if len(key) > 40 {
			key = key[:40] + "…"
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if len(keys) > most {
		keys = append(keys[:most], "…")
	}
	return strings.Join(keys, ", ")
}
