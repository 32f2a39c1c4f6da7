package jinja

import "llamatab/engine/jinja/python"

// Limits on a template.
const (
	maxSource = 1 << 20 // bytes
	maxNested = 300     // levels that expressions and tags nest
	maxRange  = 100_000 // elements of range(), as in Jinja's sandbox
)

// List, Dict and Error are those of package python, for those who give a template its variables.
type (
	List  = python.List
	Dict  = python.Dict
	Error = python.Error
)

// NewDict makes a dictionary of keys and values in turn.
func NewDict(pairs ...any) *Dict { return python.NewDict(pairs...) }

// FromJSON reads a JSON value.
func FromJSON(data []byte) (any, error) { return python.FromJSON(data) }

// function is what a template can call.
type function struct {
	name string
	call func(r *run, a *given) any
}

func (*function) Kind() string { return "function" }

// namespace is an object whose attributes a template may assign to.
type namespace struct{ attributes *python.Dict }

func (*namespace) Kind() string { return "namespace" }

func (*loopState) Kind() string { return "loop" }

// at is what a dictionary holds under one of its keys.
func at(d *python.Dict, key any) any {
	v, _ := d.Get(key)
	return v
}
