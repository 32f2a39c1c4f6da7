package data

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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
	// Extensions are those of file names that say the format, before anything is read.
	Extensions []string
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

// refusedExtension is the refusal of the unavailable format that a file's extension says, "" where there is none.
func refusedExtension(extension string) string {
	for _, f := range formats {
		if slices.Contains(f.Extensions, extension) {
			return f.Refusal
		}
	}
	return ""
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

// detect finds the format of a file by its first record.
func detect(r *Record, columns map[string]string) (*Format, error) {
	r.columns = columns
	for _, f := range formats {
		if f.Detect(r) {
			if f.Refusal != "" {
				return nil, errors.New(f.Refusal)
			}
			return f, nil
		}
	}
	return nil, fmt.Errorf("no format fits a row with the keys [%s]: rename them with dataset.columns to "+
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
