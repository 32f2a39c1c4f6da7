package python

import (
	"fmt"
	"runtime"
)

// Error is what is wrong with a template, or with rendering it.
type Error struct {
	Line   int // of the template, from 1; 0: unknown
	Text   string
	Raised bool // by the template itself, with raise_exception
	Limit  bool // one of the limits was reached
}

func (e *Error) Error() string {
	if e.Line > 0 && !e.Raised {
		return fmt.Sprintf("line %d: %s", e.Line, e.Text)
	}
	return e.Text
}

// Failf ends parsing or rendering: it panics with an *Error, which Recovered gives back. Expressions nest deeply, so
// that passing an error up by hand at every level would hide what they compute.
func Failf(text string, args ...any) { panic(&Error{Text: fmt.Sprintf(text, args...)}) }

// Recovered is the error of a panic with an *Error; line is where it arose, if the error does not know. A mistake in this package itself becomes an error as well, so that a
// strange template cannot end the program.
func Recovered(p any, line int) error {
	switch e := p.(type) {
	case *Error:
		if e.Line == 0 {
			e.Line = line
		}
		return e
	case runtime.Error:
		return &Error{Line: line, Text: "the template cannot be rendered: " + e.Error()}
	}
	panic(p)
}
