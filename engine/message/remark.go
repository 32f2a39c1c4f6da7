package message

import (
	"fmt"
	"strings"
)

// Remark is a message for the person that is no failure. Code and Data give its text in other languages.
type Remark struct {
	Code    string         `json:"code"`           // stable, as of an Event
	Message string         `json:"message"`        // in English
	Data    map[string]any `json:"data,omitempty"` // what it is about, by name; a name that ends in "bytes" is of a size
}

// NewRemark makes a remark from an English text. Its {names} are replaced by values, from pairs of name and value.
func NewRemark(code, text string, pairs ...any) Remark {
	r := Remark{code, Fill(text, pairs...), map[string]any{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Data[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return r
}

// Level is that of the event that tells the remark: "info" where there is nothing to mend, else "warning".
func (r Remark) Level() string {
	if r.Code == "rows_packed" || r.Code == "rows_counted" {
		return "info"
	}
	return "warning"
}

func (r Remark) String() string { return r.Message }

// Fill replaces the {names} of a text by values, from pairs of name and value.
func Fill(text string, pairs ...any) string {
	if len(pairs) == 0 {
		return text
	}
	fill := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		fill = append(fill, fmt.Sprintf("{%v}", pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return strings.NewReplacer(fill...).Replace(text)
}

// Fault is a remark on what is wrong, as an error.
type Fault struct{ Remark }

// NewFault makes a fault as NewRemark makes a remark.
func NewFault(code, text string, pairs ...any) error { return &Fault{NewRemark(code, text, pairs...)} }

func (f *Fault) Error() string { return f.Message }
