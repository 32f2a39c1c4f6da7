package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on an untrusted file.
const (
	maxBytes = 4 << 20 // a run.json with a whole model config inside is a few kilobytes
	maxDepth = 64
)

// A node is one JSON value. Unlike a map[string]any the tree remembers the order of keys, which rank_pattern needs,
// and where each value stood, which errors need.
type node struct {
	at    int // byte offset in the source; -1 for a value that was set later
	value any // nil, bool, json.Number, string, []*node or *object
}

type object struct {
	keys   []string
	values map[string]*node
}

func trimBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }

// tree parses d.src.
func (d *decoder) tree() (*node, error) {
	switch {
	case len(d.src) > maxBytes:
		return nil, &Error{File: d.file, Message: fmt.Sprintf("is %d bytes long, more than the limit of %d", len(d.src), maxBytes)}
	case !utf8.Valid(d.src):
		return nil, &Error{File: d.file, Message: "is not valid UTF-8", Next: "save it as UTF-8"}
	}
	// The whole text is checked first: the token walk below may then rely on its syntax.
	if err := json.Unmarshal(d.src, new(json.RawMessage)); err != nil {
		e := &Error{File: d.file, Message: "is not JSON: " + err.Error()}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			e.Line, e.Col = position(d.src, int(syntax.Offset)-1)
		}
		return nil, e
	}
	b := builder{d: d, dec: json.NewDecoder(bytes.NewReader(d.src))}
	b.dec.UseNumber()
	return b.build("", 0)
}

// position turns a byte offset into a 1-based line and column (in characters).
func position(src []byte, at int) (line, col int) {
	before := src[:max(0, min(at, len(src)))]
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}

type builder struct {
	d   *decoder
	dec *json.Decoder
}

// next is the offset at which the next token starts.
func (b *builder) next() int {
	at := int(b.dec.InputOffset())
	for at < len(b.d.src) && strings.IndexByte(" \t\r\n,:", b.d.src[at]) >= 0 {
		at++
	}
	return at
}

func (b *builder) build(path string, depth int) (*node, error) {
	n := &node{at: b.next()}
	if depth > maxDepth {
		return nil, b.d.fail(n, path, fmt.Sprintf("is nested deeper than %d levels", maxDepth), "")
	}
	token, err := b.dec.Token()
	if err != nil {
		return nil, b.d.fail(n, path, err.Error(), "")
	}
	switch token {
	case json.Delim('['):
		items := []*node{}
		for b.dec.More() {
			item, err := b.build(index(path, len(items)), depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		n.value = items
	case json.Delim('{'):
		o := &object{values: map[string]*node{}}
		for b.dec.More() {
			at := b.next()
			token, err := b.dec.Token()
			if err != nil {
				return nil, b.d.fail(n, path, err.Error(), "")
			}
			key, _ := token.(string)
			if o.values[key] != nil {
				return nil, b.d.fail(&node{at: at}, join(path, key), "is given twice", "remove one of them")
			}
			value, err := b.build(join(path, key), depth+1)
			if err != nil {
				return nil, err
			}
			o.put(key, value)
		}
		n.value = o
	default:
		n.value = token
		return n, nil
	}
	_, err = b.dec.Token() // the closing bracket
	if err != nil {
		return nil, b.d.fail(n, path, err.Error(), "")
	}
	return n, nil
}

func (o *object) put(key string, value *node) {
	if o.values[key] == nil {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
}

// set puts value at path below n, creating objects where there is nothing or null.
func (n *node) set(path, value string) error {
	d := &decoder{src: []byte(value)}
	leaf := &node{value: value}
	if json.Valid(d.src) {
		var err error
		if leaf, err = d.tree(); err != nil {
			return &Error{Path: path, Message: fmt.Sprintf("cannot set %s: %v", value, err)}
		}
	}
	leaf.unplace()
	segments := strings.Split(path, ".")
	if slices.Contains(segments, "") || len(segments) > maxDepth {
		return &Error{Path: path, Message: "is not a path of keys joined by dots"}
	}
	for i, key := range segments {
		last := i == len(segments)-1
		if n.value == nil {
			n.value = &object{values: map[string]*node{}}
		}
		var child *node
		switch v := n.value.(type) {
		case *object:
			if child = v.values[key]; child == nil {
				child = &node{at: -1}
				v.put(key, child)
			}
		case []*node:
			k, err := strconv.Atoi(key)
			if err != nil || k < 0 || k >= len(v) {
				return &Error{Path: path, Message: fmt.Sprintf("%q is not an index into the %d entries of %s", key, len(v), strings.Join(segments[:i], "."))}
			}
			child = v[k]
		default:
			return &Error{Path: path, Message: fmt.Sprintf("%s is %s, which holds no keys", strings.Join(segments[:i], "."), n.kind())}
		}
		if last {
			*child = *leaf
		}
		n = child
	}
	return nil
}

// unplace forgets where n and all below it stood.
func (n *node) unplace() {
	n.at = -1
	switch v := n.value.(type) {
	case []*node:
		for _, item := range v {
			item.unplace()
		}
	case *object:
		for _, value := range v.values {
			value.unplace()
		}
	}
}

// MarshalJSON implements json.Marshaler.
func (n *node) MarshalJSON() ([]byte, error) {
	switch v := n.value.(type) {
	case *object:
		return marshalOrdered(v.keys, func(i int) any { return v.values[v.keys[i]] })
	default:
		return json.Marshal(v)
	}
}

// marshalOrdered writes an object with its keys in the given order.
func marshalOrdered(keys []string, value func(i int) any) ([]byte, error) {
	b := []byte{'{'}
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		k, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(value(i))
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, k...), ':'), v...)
	}
	return append(b, '}'), nil
}

// kind says what n is, for errors.
func (n *node) kind() string {
	switch v := n.value.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return "the number " + clip(v.String())
	case string:
		return "the string " + strconv.Quote(clip(v))
	case []*node:
		return "a list"
	default:
		return "an object"
	}
}

// clip keeps a hostile value from flooding an error message.
func clip(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// empty tells whether n says "nothing here": null, false, [] or {}.
func (n *node) empty() bool {
	switch v := n.value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case []*node:
		return len(v) == 0
	case *object:
		return len(v.keys) == 0
	}
	return false
}

// blank tells whether n is an empty list, object or text.
func (n *node) blank() bool {
	s, text := n.value.(string)
	_, off := n.value.(bool)
	return text && s == "" || !text && !off && n.value != nil && n.empty()
}

// text is the string that n holds, "" for none.
func (n *node) text() string {
	s, _ := n.value.(string)
	return s
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// over puts n over base: objects key by key, anything else whole.
func (n *node) over(base *node) {
	mine, ok := n.value.(*object)
	below, also := base.value.(*object)
	if !ok || !also || mine.values["peft_type"] != nil {
		return
	}
	for _, key := range below.keys {
		if mine.values[key] == nil {
			mine.put(key, below.values[key])
		} else {
			mine.values[key].over(below.values[key])
		}
	}
}
