package python

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Values are nil for None, bool, int64, float64, string, *List, *Dict, Undefined and Object.

// List is a Python list or, where Tuple is set, a tuple.
type List struct {
	Items []any
	Tuple bool
}

// Dict is a Python dictionary: it keeps the order in which its keys came.
type Dict struct {
	keys   []any
	values map[any]any
}

// Keys are the keys in their order. They are not to be changed.
func (d *Dict) Keys() []any { return d.keys }

// NewDict makes a dictionary of keys and values in turn.
func NewDict(pairs ...any) *Dict {
	d := &Dict{values: make(map[any]any, len(pairs)/2)}
	for i := 0; i+1 < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return d
}

// Set puts a value under a key: a text, a number, a boolean or nil.
func (d *Dict) Set(key, value any) {
	key = Hashable(key)
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = value
}

// Get returns the value under a key.
func (d *Dict) Get(key any) (value any, ok bool) {
	switch key.(type) {
	case nil, bool, int64, float64, string:
		value, ok = d.values[Hashable(key)]
	}
	return value, ok
}

// Hashable is the key as dictionaries hold it: as in Python, 1 and 1.0 are the same key.
func Hashable(key any) any {
	switch k := key.(type) {
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return int64(k)
		}
	case nil, bool, int64, string:
	default:
		Defined(key)
		Failf("%s cannot be a key of a dictionary", KindOf(key))
	}
	return key
}

// Undefined is what a name stands for that nothing was assigned to.
type Undefined struct{ Why string }

// Object is a value of another kind: a function, or an object with attributes.
type Object interface{ Kind() string }

// FromJSON reads a JSON value. Objects keep the order of their keys; a number without a fraction and an exponent is an
// integer, as in Python.
func FromJSON(data []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	value, err = readJSON(d, 0)
	if err == nil && d.More() {
		err = fmt.Errorf("more than one JSON value")
	}
	return value, err
}

func readJSON(d *json.Decoder, depth int) (any, error) {
	if depth > maxNested {
		return nil, fmt.Errorf("JSON nests more than %d levels deep", maxNested)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(string(t), 10, 64); err == nil {
			return n, nil
		}
		return strconv.ParseFloat(string(t), 64)
	case json.Delim:
		if t == '[' {
			l := &List{}
			for d.More() {
				item, err := readJSON(d, depth+1)
				if err != nil {
					return nil, err
				}
				l.Items = append(l.Items, item)
			}
			_, err = d.Token()
			return l, err
		}
		o := NewDict()
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := readJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			o.Set(key, value)
		}
		_, err = d.Token()
		return o, err
	}
	return t, nil // a string, a bool or nil
}

// KindOf is the Python name of a value's type, for messages.
func KindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case *List:
		if v.Tuple {
			return "tuple"
		}
		return "list"
	case *Dict:
		return "dict"
	case Undefined:
		return "undefined"
	case Object:
		return v.Kind()
	}
	return "unknown"
}

// Truth tells whether a value counts as true.
func Truth(v any) bool {
	switch v := v.(type) {
	case nil, Undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *List:
		return len(v.Items) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// Str is the text of a value as Python's str makes it.
func (m *Meter) Str(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case Undefined:
		return ""
	}
	var b strings.Builder
	m.repr(&b, v)
	return b.String()
}

// repr writes a value as Python's repr does.
func (m *Meter) repr(b *strings.Builder, v any) {
	m.Enter()
	defer m.Leave()
	before := b.Len()
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString(floatText(v))
	case string:
		m.Alloc(len(v))
		ReprString(b, v)
		return
	case Undefined:
		b.WriteString("Undefined")
	case *List:
		open, end := "[", "]"
		if v.Tuple {
			open, end = "(", ")"
			if len(v.Items) == 1 {
				end = ",)"
			}
		}
		m.series(b, open, end, len(v.Items), func(i int) { m.repr(b, v.Items[i]) })
		return
	case *Dict:
		m.series(b, "{", "}", len(v.keys), func(i int) {
			m.repr(b, v.keys[i])
			b.WriteString(": ")
			m.repr(b, v.values[v.keys[i]])
		})
		return
	default:
		b.WriteString("<" + KindOf(v) + ">")
	}
	m.Alloc(b.Len() - before)
}

// series writes items with commas between.
func (m *Meter) series(b *strings.Builder, open, end string, n int, item func(i int)) {
	b.WriteString(open)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		item(i)
	}
	b.WriteString(end)
	m.Alloc(2*n + 2)
}

// floatText is a number as Python's repr writes it: the shortest that reads as the same number, with an exponent below
// 1e-4 and from 1e16.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(fmt.Sprintf("%cinf", "+-"[int(One(f < 0))]), "+")
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// One is 1 for true and 0 for false.
func One(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// ReprString writes a text as Python's repr does.
func ReprString(b *strings.Builder, s string) {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b.WriteRune(quote)
	for _, c := range s {
		switch {
		case c == quote || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == ' ' || unicode.IsPrint(c):
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(b, `\x%02x`, c)
		case c < 0x10000:
			fmt.Fprintf(b, `\u%04x`, c)
		default:
			fmt.Fprintf(b, `\U%08x`, c)
		}
	}
	b.WriteRune(quote)
}

// JSONStyle is how tojson writes a value.
type JSONStyle struct {
	Indent        string // of one level
	Lines         bool   // each item has a line of its own
	Between       string // between items
	Colon         string // between key and value
	ASCII, Sorted bool   // everything beyond ASCII is escaped; keys are sorted
}

// WriteJSON writes a value as json.dumps does.
func (m *Meter) WriteJSON(b *strings.Builder, v any, s *JSONStyle, level int) {
	m.Enter()
	defer m.Leave()
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		switch {
		case math.IsNaN(v):
			b.WriteString("NaN")
		case math.IsInf(v, 0):
			b.WriteString([]string{"Infinity", "-Infinity"}[One(v < 0)])
		default:
			b.WriteString(floatText(v))
		}
	case string:
		m.Alloc(len(v))
		jsonString(b, v, s.ASCII)
	case *List:
		m.jsonItems(b, "[]", len(v.Items), s, level, func(i int) { m.WriteJSON(b, v.Items[i], s, level+1) })
	case *Dict:
		keys := v.keys
		if s.Sorted {
			keys = m.Sorted(keys, false, func(k any) any { return k })
		}
		m.jsonItems(b, "{}", len(keys), s, level, func(i int) {
			jsonString(b, jsonKey(keys[i]), s.ASCII)
			b.WriteString(s.Colon)
			m.WriteJSON(b, v.values[keys[i]], s, level+1)
		})
	default:
		Failf("%s cannot be written as JSON", KindOf(v))
	}
}

func jsonKey(key any) string {
	switch k := key.(type) {
	case string:
		return k
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(k)
	case float64:
		return floatText(k)
	}
	return strconv.FormatInt(key.(int64), 10)
}

// jsonItems writes the items of a list or a dictionary between brackets.
func (m *Meter) jsonItems(b *strings.Builder, brackets string, n int, s *JSONStyle, level int, item func(i int)) {
	line := func(level int) {
		if s.Lines {
			m.Alloc(1 + Times(int64(level), len(s.Indent)))
			b.WriteString("\n" + strings.Repeat(s.Indent, level))
		}
	}
	b.WriteByte(brackets[0])
	for i := range n {
		if i > 0 {
			m.Alloc(len(s.Between))
			b.WriteString(s.Between)
		}
		line(level + 1)
		item(i)
	}
	if n > 0 {
		line(level)
	}
	b.WriteByte(brackets[1])
}

// jsonString writes a text as json.dumps does: only quotes, backslashes and control characters are escaped, and with ascii
// everything beyond ASCII.
func jsonString(b *strings.Builder, s string, ascii bool) {
	b.WriteByte('"')
	for _, c := range s {
		const special, letters = "\"\\\n\r\t\b\f", `"\nrtbf`
		if i := strings.IndexRune(special, c); i >= 0 {
			b.WriteByte('\\')
			b.WriteByte(letters[i])
		} else if c < 0x20 || ascii && c >= 0x7f && c < 0x10000 {
			fmt.Fprintf(b, `\u%04x`, c)
		} else if ascii && c >= 0x10000 {
			c -= 0x10000
			fmt.Fprintf(b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		} else {
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
}

// Characters is the number of characters of a text.
func (m *Meter) Characters(s string) int {
	m.Step(len(s) >> 8)
	return utf8.RuneCountInString(s)
}
