package data

import (
	"errors"
	"fmt"
	"strings"
)

// Format turns records into samples. Adding one is a file with a Format in it, and an entry in formats.
type Format struct {
	Name string
	// Detect tells whether a record looks like one of this format.
	Detect func(r *Record) bool
	// Rows adds the samples of one record to e, or tells what is wrong with it.
	Rows func(r *Record, e *Encoder) error
}

// formats in the order in which they are tried on the first record.
var formats = []Format{tokens, alpaca, promptCompletion, text, classification}

func byName(name string) (Format, bool) {
	for _, f := range formats {
		if f.Name == name {
			return f, true
		}
	}
	return Format{}, false
}

func names() string {
	var all []string
	for _, f := range formats {
		all = append(all, f.Name)
	}
	return strings.Join(all, ", ")
}

// detect finds the format of a file by its first record.
func detect(r *Record, columns map[string]string) (Format, error) {
	r.columns = columns
	for _, f := range formats {
		if f.Detect(r) {
			return f, nil
		}
	}
	for _, chat := range []string{"messages", "conversations"} {
		if r.Has(chat) {
			return Format{}, errors.New("conversations are not available in this version: " +
				"use prompt and completion, or instruction and output")
		}
	}
	return Format{}, fmt.Errorf("no format fits a row with the keys [%s]: rename them with dataset.columns to "+
		"text; prompt, completion; instruction, output; or input_ids", r.keys())
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
