package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"llamatab/engine/strictjson"
)

// Limits on an untrusted file.
const (
	maxBytes  = 1 << 20 // a settings file has a few kilobytes
	maxValues = 50_000  // values of a file with every alias expanded
	maxDepth  = 32
)

// setting is a key at the top of a file.
type setting struct {
	key   string
	value any // nil, bool, int64, uint64, float64, string, []any or map[string]any
	line  int // 1-based; 0 in a JSON file
}

// read parses a file into its settings, in their order.
func read(data []byte) ([]setting, error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("is %d bytes long, more than the limit of %d", len(data), maxBytes)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if json.Valid(data) {
		return readJSON(data)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("is neither JSON nor YAML: %w", err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("holds no settings: a file has lines of the form key: value")
	}
	budget := maxValues
	var all []setting
	own := map[string]bool{}
	root := doc.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, node := root.Content[i], root.Content[i+1]
		value, err := valueOf(node, 0, &budget)
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", key.Line, clip(key.Value), err)
		}
		if key.Value == "<<" { // a merge: its keys count where the file does not set them itself
			if merged, ok := value.(map[string]any); ok {
				for _, name := range slices.Sorted(maps.Keys(merged)) {
					if !own[name] {
						all = append(all, setting{name, merged[name], key.Line})
					}
				}
			}
			continue
		}
		if own[key.Value] {
			return nil, fmt.Errorf("line %d: the key %s occurs twice", key.Line, clip(key.Value))
		}
		own[key.Value] = true
		all = slices.DeleteFunc(all, func(s setting) bool { return s.key == key.Value }) // of a merge
		all = append(all, setting{key.Value, value, key.Line})
	}
	return all, nil
}

func readJSON(data []byte) ([]setting, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return nil, errors.New("holds no settings: a file is one JSON object")
	}
	if key, found := strictjson.RepeatedKey(data); found {
		return nil, fmt.Errorf("the key %s occurs twice", clip(key))
	}
	var all []setting
	for _, key := range slices.Sorted(maps.Keys(object)) {
		value, err := plain(object[key], 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", clip(key), err)
		}
		all = append(all, setting{key: key, value: value})
	}
	return all, nil
}

// plain turns json.Number into int64 or float64.
func plain(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("is nested deeper than %d levels", maxDepth)
	}
	var err error
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, nil
		}
		return v.Float64()
	case []any:
		for i := range v {
			if v[i], err = plain(v[i], depth+1); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key := range v {
			if v[key], err = plain(v[key], depth+1); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// valueOf is the value of a YAML node. budget bounds the values that aliases can multiply.
func valueOf(n *yaml.Node, depth int, budget *int) (any, error) {
	if *budget--; *budget < 0 {
		return nil, fmt.Errorf("the file has more than %d values", maxValues)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("is nested deeper than %d levels", maxDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return valueOf(n.Alias, depth+1, budget)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			v, err := valueOf(item, depth+1, budget)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		object := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := valueOf(n.Content[i+1], depth+1, budget)
			if err != nil {
				return nil, err
			}
			key := n.Content[i].Value
			if _, twice := object[key]; twice {
				return nil, fmt.Errorf("the key %s occurs twice", clip(key))
			}
			object[key] = v
		}
		return object, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case nil, bool, int64, uint64, float64, string:
		return v, nil
	}
	return n.Value, nil // a date, which no setting is, as its text
}

// clip keeps a hostile key from flooding a message.
func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
