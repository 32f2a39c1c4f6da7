package config

import (
	"fmt"
	"strings"
)

// Error is a mistake in a config file or setting: what a command reports with exit status 2.
type Error struct {
	File      string // "" when the value came from a --set or from the page
	Line, Col int    // 1-based; 0 when unknown
	Path      string // JSON path: training.max_steps; "" for the whole file
	Message   string // what is wrong
	Next      string // what to do about it; may be empty

	// Kind is what Message says, and About what it is about by name, for who speaks another language; "" where it is too
	// rare to be known by a name.
	Kind  string
	About map[string]any
}

// Error spells e as file:line:col: path: message; next.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Col)
		}
		b.WriteString(": ")
	}
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Message)
	if e.Next != "" {
		b.WriteString("; " + e.Next)
	}
	return b.String()
}
