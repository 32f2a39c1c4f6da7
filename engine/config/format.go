package config

import (
	"cmp"
	"slices"

	"llamatab/engine/message"
)

// Format describes a format of data to whatever checks or offers dataset.format. Package engine/data registers one for
// each format, beside the code that reads it; the lists in this package follow from them.
type Format struct {
	Name  string
	Place int          // where lists and menus have it: ascending
	Title message.Text // for the page
	// Columns are the keys of a row that dataset.columns may rename.
	Columns []string
	// Optional are those of Columns that a row need not have.
	Optional []string
	// AnyColumns: a file of this format may have the columns of any other.
	AnyColumns bool
	// Unavailable formats are known, but this version does not read them.
	Unavailable bool
}

// autoFormat is the format that is found by looking at the first row.
const autoFormat = "auto"

var formats = []Format{{Name: autoFormat, Title: message.Both("by the first row", "按第一行判断")}}

// RegisterFormat makes a format known. It is called from init functions.
func RegisterFormat(f Format) {
	formats = append(formats, f)
	slices.SortStableFunc(formats, func(a, b Format) int { return cmp.Compare(a.Place, b.Place) })
}

// Formats lists the names of the formats that this version reads, "auto" first.
func Formats() []string {
	ready, _ := formatNames()
	return ready
}

// formatNames lists the formats that this version reads, and those that it only knows.
func formatNames() (ready, unavailable []string) {
	for _, f := range formats {
		if f.Unavailable {
			unavailable = append(unavailable, f.Name)
		} else {
			ready = append(ready, f.Name)
		}
	}
	return ready, unavailable
}

// idColumn holds token ids. It is renamed only where the format is named: a file that is looked at must show its ids
// under their usual key.
const idColumn = "input_ids"

// formatColumns lists the columns of a format, of "auto" and of one with AnyColumns those of all formats but ids.
func formatColumns(name string) (columns []string) {
	any := name == autoFormat || slices.ContainsFunc(formats, func(f Format) bool { return f.Name == name && f.AnyColumns })
	for _, f := range formats {
		if f.Name == name && !any {
			return f.Columns
		}
		for _, c := range f.Columns {
			if any && c != idColumn && !slices.Contains(columns, c) {
				columns = append(columns, c)
			}
		}
	}
	return columns
}

func describeFormats() (all []message.Option) {
	for _, f := range formats {
		_, refused := try("dataset.format=" + f.Name)
		all = append(all, message.Option{Value: f.Name, Refused: refused, Title: &f.Title})
	}
	return all
}
