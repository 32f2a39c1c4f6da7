package ui

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/message"
)

// addedLayers is the entry of trainable that adds layers, and its index; nil where there is none.
func (t Tree) addedLayers() (map[string]any, int) {
	list, _ := t["trainable"].([]any)
	for i, p := range list {
		if head, ok := p.(map[string]any); ok && head["add"] != nil {
			return head, i
		}
	}
	return nil, -1
}

// classifies reports whether a run.json trains a classifier.
func (t Tree) classifies() bool {
	task, _ := t.Get("peft.task_type")
	parts, _ := t["trainable"].([]any)
	layers, _ := t.addedLayers()
	return task == "SEQ_CLS" || slices.Contains(parts, any(message.PartScore)) || layers["at"] == "classify"
}

// added are the added layers of the settings.
func (s *Studio) added() (map[string]any, int) { return s.Config.addedLayers() }

func (s *Studio) addedAt() any {
	if head, _ := s.added(); head != nil {
		return head["at"]
	}
	return "none"
}

// setAddedAt adds layers or removes them. New layers are 64 wide: enough to learn a simple task, at little cost.
func (s *Studio) setAddedAt(v any) bool {
	head, i := s.added()
	list, _ := s.Config["trainable"].([]any)
	list = slices.Clone(list)
	switch {
	case v == "none" && head != nil:
		list = slices.Delete(list, i, i+1)
	case v != "none" && head != nil:
		head["at"] = v
		delete(head, "num_labels")
	case v != "none":
		list = append(list, map[string]any{"add": "fc", "at": v, "sizes": []any{64.0}, "activation": "silu"})
		delete(s.Config, "unfreeze") // the engine refuses unfreeze together with added layers
	}
	s.setTrainable(list)
	return true
}

func (s *Studio) addedSizes() any {
	head, _ := s.added()
	list, _ := head["sizes"].([]any)
	var words []string
	for _, n := range list {
		words = append(words, spell(n))
	}
	return strings.Join(words, ", ")
}

func (s *Studio) setAddedSizes(v any) bool {
	sizes := []any{}
	for _, word := range strings.FieldsFunc(spell(v), func(c rune) bool { return strings.ContainsRune(", ，、[]", c) }) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return false
		}
		sizes = append(sizes, float64(n))
	}
	if head, _ := s.added(); head != nil {
		head["sizes"] = sizes
	}
	return true
}

func (s *Studio) setAddedLabels(v any) bool {
	head, _ := s.added()
	n, number := v.(float64)
	switch {
	case head == nil:
	case number && n == math.Trunc(n) && n > 1:
		head["num_labels"] = n
	case v == nil:
		delete(head, "num_labels") // the default: as many as the data has labels
	default:
		return false
	}
	return true
}

func addedKey(key string) func(*Studio) any {
	return func(s *Studio) any {
		head, _ := s.added()
		return head[key]
	}
}

func setAddedKey(key string) func(*Studio, any) bool {
	return func(s *Studio, v any) bool {
		if head, _ := s.added(); head != nil {
			head[key] = v
		}
		return true
	}
}
