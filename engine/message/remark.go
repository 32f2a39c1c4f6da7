package message

import (
	"fmt"
	"strings"
)

// Remark is something worth knowing that is no failure. Who speaks another language says it by Code and Data.
type Remark struct {
	Code    string         `json:"code"`           // stable, as of an Event
	Message string         `json:"message"`        // in English
	Data    map[string]any `json:"data,omitempty"` // what it is about, by name; a name that ends in "bytes" is of a size
}

// NewRemark makes a remark of an English text whose {names} are filled from pairs of name and value.
func NewRemark(code, text string, pairs ...any) Remark {
	r := Remark{code, Fill(text, pairs...), map[string]any{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Data[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return r
}

func (r Remark) String() string { return r.Message }

// Fill puts values in the place of a text's {names}, from pairs of name and value.
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
