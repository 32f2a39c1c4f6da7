package config

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Modules names modules by a list of suffixes, or by one string: a regular expression over whole names, or
// "all-linear". The zero Modules is null.
type Modules struct {
	Names   []string
	Pattern string
}

// IsZero tells whether m is null.
func (m Modules) IsZero() bool { return m.Names == nil && m.Pattern == "" }

func (m Modules) set() string {
	if m.Pattern != "" {
		return m.String()
	}
	return Modules{Names: set(m.Names)}.String()
}

// String is the value as a message shows it.
func (m Modules) String() string {
	if m.Pattern != "" {
		return strconv.Quote(m.Pattern)
	}
	names := make([]string, len(m.Names))
	for i, name := range m.Names {
		names[i] = strconv.Quote(name)
	}
	return "[" + strings.Join(names, ", ") + "]"
}

func (m *Modules) decode(d *decoder, n *node, path string) error {
	if s, ok := n.value.(string); ok && s != "" {
		m.Pattern = s
		return nil
	}
	if _, ok := n.value.([]*node); !ok {
		return d.wants(n, path, "a list of module names or a regular expression")
	}
	return d.into(n, path, &m.Names)
}

// MarshalJSON implements json.Marshaler.
func (m Modules) MarshalJSON() ([]byte, error) {
	if m.Pattern != "" {
		return json.Marshal(m.Pattern)
	}
	return json.Marshal(m.Names)
}

// Ints is a list of integers, or one alone.
type Ints []int

func (l *Ints) decode(d *decoder, n *node, path string) error {
	if i, ok := n.integer(); ok {
		*l = Ints{i}
		return nil
	}
	return d.into(n, path, (*[]int)(l))
}

// Strings is a list of strings, or one alone.
type Strings []string

func (l *Strings) decode(d *decoder, n *node, path string) error {
	if s, ok := n.value.(string); ok {
		*l = Strings{s}
		return nil
	}
	return d.into(n, path, (*[]string)(l))
}

// Patterns maps regular expressions over module names to values. The first that hits wins, so the order counts.
type Patterns[T int | float64] []Pattern[T]

// Pattern is one entry of Patterns.
type Pattern[T int | float64] struct {
	Key   string
	Value T
}

func (p *Patterns[T]) decode(d *decoder, n *node, path string) error {
	o, ok := n.value.(*object)
	if !ok {
		return d.wants(n, path, "an object")
	}
	*p = nil
	for _, key := range o.keys {
		entry := Pattern[T]{Key: key}
		if err := d.into(o.values[key], join(path, key), &entry.Value); err != nil {
			return err
		}
		*p = append(*p, entry)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (p Patterns[T]) MarshalJSON() ([]byte, error) {
	keys := make([]string, len(p))
	for i, entry := range p {
		keys[i] = entry.Key
	}
	return marshalOrdered(keys, func(i int) any { return p[i].Value })
}

// set is p without its order, which adapter_config.json does not keep: PEFT sorts the keys.
func (p Patterns[T]) set() map[string]T {
	m := make(map[string]T, len(p))
	for _, entry := range p {
		m[entry.Key] = entry.Value
	}
	return m
}
