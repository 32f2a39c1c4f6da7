package config

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// A decoder fills Go values from a tree, strictly.
type decoder struct {
	file string
	src  []byte
	// dropped collects the paths of unknown keys, which are then no error. nil makes them errors.
	dropped *[]string
}

// decoded is a type of this package with a spelling of its own in JSON. Types of other packages implement
// json.Unmarshaler for that, and return an *Error or Wants.
type decoded interface {
	decode(d *decoder, n *node, path string) error
}

// Wants is the error of an UnmarshalJSON that got another kind of value than what it names, "true or false".
type Wants string

func (w Wants) Error() string { return "wants " + string(w) }

// defaulted is an optional object. Its keys have defaults where the object is there.
type defaulted interface{ defaults() }

func (d *decoder) fail(n *node, path, message, next string) *Error {
	e := &Error{File: d.file, Path: path, Message: message, Next: next}
	if n.at >= 0 {
		e.Line, e.Col = position(d.src, n.at)
	} else {
		e.File = "" // what a --set gave stands in no file
	}
	return e
}

func (d *decoder) wants(n *node, path, what string) error {
	e := d.fail(n, path, "wants "+what+", got "+n.kind(), "")
	e.Kind = wanted[what]
	return e
}

// wanted are the kinds of an Error that says what a key wants.
var wanted = map[string]string{"a finite number": "number", "an integer": "integer", "an integer that is not negative": "integer"}

// into decodes n into *p, keeping what p holds already wherever n says nothing.
func (d *decoder) into(n *node, path string, p any) error {
	return d.value(n, path, reflect.ValueOf(p).Elem())
}

func (d *decoder) value(n *node, path string, v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		if n.value == nil {
			v.SetZero()
			return nil
		}
		p := reflect.New(v.Type().Elem())
		if t, ok := p.Interface().(defaulted); ok {
			t.defaults()
		}
		v.Set(p)
		return d.value(n, path, p.Elem())
	}
	if t, ok := v.Addr().Interface().(decoded); ok {
		return t.decode(d, n, path)
	}
	if t, ok := v.Addr().Interface().(json.Unmarshaler); ok {
		return d.unmarshal(n, path, t)
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.fields(n, path, v)
	case reflect.Slice:
		return d.list(n, path, v)
	case reflect.Map:
		return d.strings(n, path, v)
	case reflect.String:
		s, ok := n.value.(string)
		if !ok {
			return d.wants(n, path, "a string")
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := n.value.(bool)
		if !ok {
			return d.wants(n, path, "true or false")
		}
		v.SetBool(b)
	case reflect.Float64:
		f, ok := n.float()
		if !ok {
			return d.wants(n, path, "a finite number")
		}
		v.SetFloat(f)
	case reflect.Int:
		i, ok := n.integer()
		if !ok {
			return d.wants(n, path, "an integer")
		}
		v.SetInt(int64(i))
	case reflect.Uint64:
		i, ok := n.integer()
		if !ok || i < 0 {
			return d.wants(n, path, "an integer that is not negative")
		}
		v.SetUint(uint64(i))
	default:
		panic("config: no decoding of " + v.Type().String())
	}
	return nil
}

// unmarshal has a type of another package read n.
func (d *decoder) unmarshal(n *node, path string, into json.Unmarshaler) error {
	text, err := json.Marshal(n)
	if err == nil {
		err = into.UnmarshalJSON(text)
	}
	if what, ok := errors.AsType[Wants](err); ok {
		return d.wants(n, path, string(what))
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return d.fail(n, path, e.Message, e.Next)
	}
	if err != nil {
		return d.fail(n, path, err.Error(), "")
	}
	return nil
}

func (d *decoder) fields(n *node, path string, v reflect.Value) error {
	o, ok := n.value.(*object)
	if !ok {
		return d.wants(n, path, "an object")
	}
	for _, key := range o.keys {
		value, at := o.values[key], join(path, key)
		i := fieldIndex(v.Type(), key)
		if i == nil {
			if err := d.unknown(value, path, key, keysOf(v.Type())); err != nil {
				return err
			}
			continue
		}
		if value.value == nil && v.Type().FieldByIndex(i).Tag.Get("null") == "zero" {
			v.FieldByIndex(i).SetZero()
			continue
		}
		if err := d.value(value, at, v.FieldByIndex(i)); err != nil {
			return err
		}
	}
	return nil
}

// list decodes a list. null leaves what is there.
func (d *decoder) list(n *node, path string, v reflect.Value) error {
	if n.value == nil {
		return nil
	}
	items, ok := n.value.([]*node)
	if !ok {
		return d.wants(n, path, "a list")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		if err := d.value(item, index(path, i), v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// strings decodes an object of strings. null leaves what is there.
func (d *decoder) strings(n *node, path string, v reflect.Value) error {
	if n.value == nil {
		return nil
	}
	o, ok := n.value.(*object)
	if !ok {
		return d.wants(n, path, "an object of strings")
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, key := range o.keys {
		s, ok := o.values[key].value.(string)
		if !ok {
			return d.wants(o.values[key], join(path, key), "a string")
		}
		v.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(s))
	}
	return nil
}

func (n *node) float() (float64, bool) {
	num, ok := n.value.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(num.String(), 64)
	return f, err == nil
}

// integer accepts every spelling of a whole number (20, 2e1) that a float64 holds exactly.
func (n *node) integer() (int, bool) {
	f, ok := n.float()
	return int(f), ok && f == math.Trunc(f) && math.Abs(f) < 1<<53
}

// unknown reports key, which is none of known, with the nearest key there is.
func (d *decoder) unknown(n *node, path, key string, known []string) error {
	if d.dropped != nil {
		*d.dropped = append(*d.dropped, join(path, key))
		return nil
	}
	if advice := TrainerAdvice(key); advice != "" {
		return d.fail(n, join(path, key), "is a setting of Hugging Face's trainers", advice)
	}
	best, least := Nearest(key, known)
	if least > max(len(key)/3, 1) { // further off, the likeness is chance
		best = ""
	}
	if best != "" {
		best = join(path, best)
	}
	// A key that is almost right but stands in the wrong section is the likelier slip.
	for _, p := range pathsOf(reflect.TypeFor[Config](), "") {
		if e := editDistance(key, p[strings.LastIndexByte(p, '.')+1:]); e < least && e <= 2 && e < len(key)/2 {
			best, least = p, e
		}
	}
	next := ""
	if best != "" {
		next = "the nearest known key is " + best
	}
	return d.fail(n, join(path, clip(key)), "unknown key", next)
}

// pathsOf lists the path of every key at a fixed place below path, which holds a t.
func pathsOf(t reflect.Type, path string) (all []string) {
	for _, f := range settings(t) {
		at, field := join(path, jsonName(f)), f.Type
		all = append(all, at)
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if field == reflect.TypeFor[PEFT]() {
			for _, key := range peftKeys() {
				all = append(all, join(at, key))
			}
		} else if field.Kind() == reflect.Struct && !reflect.PointerTo(field).Implements(reflect.TypeFor[decoded]()) {
			all = append(all, pathsOf(field, at)...)
		}
	}
	return all
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// settings lists the fields of a struct that are keys, those of embedded structs among them.
func settings(t reflect.Type) (fields []reflect.StructField) {
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous && jsonName(f) != "-" {
			fields = append(fields, f)
		}
	}
	return fields
}

// fieldIndex finds the field of a key, nil where there is none.
func fieldIndex(t reflect.Type, key string) []int {
	for _, f := range settings(t) {
		if jsonName(f) == key {
			return f.Index
		}
	}
	return nil
}

func keysOf(t reflect.Type) (keys []string) {
	for _, f := range settings(t) {
		keys = append(keys, jsonName(f))
	}
	return keys
}

// Nearest is the one of known that word is most like, and the number of letters to change; "" where none is known.
func Nearest(word string, known []string) (best string, distance int) {
	distance = math.MaxInt
	for _, k := range known {
		if e := editDistance(word, k); e < distance {
			best, distance = k, e
		}
	}
	return best, distance
}

// editDistance is the least number of inserted, deleted and replaced bytes, and of swapped neighbours, that make b of a:
// the optimal string alignment of Damerau 1964. It takes len(a)·len(b) steps, of which a's first 64 bytes count.
func editDistance(a, b string) int {
	const longest = 64 // no key is longer; a hostile one must not cost time
	a = a[:min(len(a), longest)]
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(b) {
			replaced := last[j]
			if a[i] != b[j] {
				replaced++
			}
			row[j+1] = min(replaced, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
