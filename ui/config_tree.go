package ui

import (
	"encoding/json"
	"slices"
	"strings"
)

// Tree is a JSON object such as run.json. Its values are addressed by paths such as "training.max_steps".
type Tree map[string]any

// parseTree reads a JSON object.
func parseTree(text []byte) (Tree, error) {
	t := Tree{}
	err := json.Unmarshal(text, &t)
	return t, err
}

// Get is the value at a path, and whether there is one.
func (t Tree) Get(path string) (any, bool) {
	var v any = map[string]any(t)
	for _, key := range strings.Split(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = object[key]; !ok {
			return nil, false
		}
	}
	return v, true
}

// Set sets the value at a path. It creates the objects on the path, and replaces other values there.
func (t Tree) Set(path string, v any) {
	keys := strings.Split(path, ".")
	object := map[string]any(t)
	for _, key := range keys[:len(keys)-1] {
		next, ok := object[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			object[key] = next
		}
		object = next
	}
	object[keys[len(keys)-1]] = v
}

// Delete removes the value at a path, and objects on the path that become empty.
func (t Tree) Delete(path string) {
	parent, key, nested := cutLast(path)
	object := map[string]any(t)
	if nested {
		v, _ := t.Get(parent)
		if object, nested = v.(map[string]any); !nested {
			return
		}
	}
	delete(object, key)
	if nested && len(object) == 0 {
		t.Delete(parent)
	}
}

func cutLast(path string) (parent, key string, nested bool) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:], true
	}
	return "", path, false
}

// Clone is a deep copy.
func (t Tree) Clone() Tree {
	c, _ := parseTree(t.JSON())
	return c
}

// JSON is the tree as JSON in one line.
func (t Tree) JSON() []byte {
	text, err := json.Marshal(map[string]any(t))
	if err != nil {
		panic(err) // plain values
	}
	return text
}

// Indented is the tree as indented JSON.
func (t Tree) Indented() string {
	text, err := json.MarshalIndent(map[string]any(t), "", "  ")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Leaves lists the paths of all values that are not objects, sorted.
func (t Tree) Leaves() []string {
	var paths []string
	var walk func(prefix string, object map[string]any)
	walk = func(prefix string, object map[string]any) {
		for key, v := range object {
			if inner, ok := v.(map[string]any); ok && len(inner) > 0 {
				walk(prefix+key+".", inner)
			} else {
				paths = append(paths, prefix+key)
			}
		}
	}
	walk("", t)
	slices.Sort(paths)
	return paths
}

// merge copies the values of another tree into this one, object by object.
func (t Tree) merge(other Tree) {
	for key, v := range other {
		inner, ok := v.(map[string]any)
		mine, both := t[key].(map[string]any)
		if ok && both {
			Tree(mine).merge(inner)
		} else {
			t[key] = v
		}
	}
}
