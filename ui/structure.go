package ui

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Structure are the settings of what is added to the model and of what trains when. They are no keys of run.json of
// their own: each is read from trainable or unfreeze and written there.
func (s *Studio) Structure() []*Field {
	paths := []string{"added.at"}
	switch added, _ := s.added(); {
	case added == nil:
	case added["at"] == "classify":
		paths = append(paths, "added.sizes", "added.activation", "added.num_labels")
	default:
		paths = append(paths, "added.sizes", "added.activation")
	}
	paths = append(paths, "unfreeze.way")
	if blocks, _, ok := s.fromTheHead(); ok && blocks > 0 {
		paths = append(paths, "unfreeze.blocks", "unfreeze.every")
	}
	return s.list(paths)
}

// derived is a setting that is part of another key's value.
type derived struct {
	choices []string
	none    any // where nothing is set; its type is that of the setting
	get     func(*Studio) any
	set     func(*Studio, any) bool // false: no value of the setting
}

// derivedKeys are these settings by the paths under which the page knows them.
var derivedKeys map[string]derived

func init() { // the functions use fields, which use the table
	derivedKeys = map[string]derived{
		"added.at":         {[]string{"none", "between", "classify"}, "none", (*Studio).addedAt, (*Studio).setAddedAt},
		"added.sizes":      {nil, "", (*Studio).addedSizes, (*Studio).setAddedSizes},
		"added.activation": {[]string{"silu", "relu", "gelu", "tanh"}, "silu", addedKey("activation"), setAddedKey("activation")},
		"added.num_labels": {nil, "", addedKey("num_labels"), (*Studio).setAddedLabels},
		"unfreeze.way":     {[]string{"none", "head", "own"}, "none", (*Studio).unfreezeWay, (*Studio).setUnfreezeWay},
		"unfreeze.blocks":  {nil, 2.0, func(s *Studio) any { b, _, _ := s.fromTheHead(); return float64(b) }, (*Studio).setUnfreezeBlocks},
		"unfreeze.every":   {nil, 50.0, func(s *Studio) any { _, n, _ := s.fromTheHead(); return float64(n) }, (*Studio).setUnfreezeEvery},
	}
}

// --- layers that are added ---

// added is the entry of trainable that adds layers, and its place there; nil where there is none.
func (s *Studio) added() (map[string]any, int) {
	list, _ := s.Config["trainable"].([]any)
	for i, p := range list {
		if head, ok := p.(map[string]any); ok && head["add"] != nil {
			return head, i
		}
	}
	return nil, -1
}

func (s *Studio) addedAt() any {
	if head, _ := s.added(); head != nil {
		return head["at"]
	}
	return "none"
}

// setAddedAt adds layers or takes them away. What is wide enough to learn from and narrow enough to cost little is 64.
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
		delete(s.Config, "unfreeze") // says for every step what trains: nothing can stand beside it
	}
	s.setTrainable(list)
	return true
}

func (s *Studio) setTrainable(list []any) {
	if len(list) == 0 {
		delete(s.Config, "trainable")
	} else {
		s.Config["trainable"] = list
	}
	delete(s.raw, "trainable")
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
		delete(head, "num_labels") // as many as the data has
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

// classifies reports whether the run tells classes of texts apart.
func (s *Studio) classifies() bool {
	task, _ := s.Config.Get("peft.task_type")
	return task == "SEQ_CLS" || s.trains("score") || s.addedAt() == "classify"
}

// --- what trains when ---

// fromTheHead reads unfreeze as the schedule that unfreezeFromTheHead makes: output head and final norm first, then one
// more block every so many steps. An empty one is that of no blocks.
func (s *Studio) fromTheHead() (blocks, every int, ok bool) {
	list, _ := s.Config["unfreeze"].([]any)
	if len(list) == 0 {
		return 0, 0, true
	}
	if len(list) > 1 {
		second, _ := list[1].(map[string]any)
		n, _ := second["step"].(float64)
		every = int(n)
	}
	blocks = len(list) - 1
	want := Tree{"unfreeze": unfreezeFromTheHead(blocks, every)}
	return blocks, every, blocks > 0 && string(want.JSON()) == string(Tree{"unfreeze": list}.JSON())
}

// unfreezeFromTheHead is gradual unfreezing, as the engine's presets have it.
func unfreezeFromTheHead(blocks, every int) []any {
	var stages []any
	for k := range blocks + 1 {
		parts := []any{"lm_head", "norm"}
		if k > 0 {
			parts = append(parts, fmt.Sprintf("layers:last:%d", k))
		}
		stages = append(stages, map[string]any{"step": float64(k * every), "trainable": parts})
	}
	return stages
}

func (s *Studio) unfreezeWay() any {
	switch blocks, _, ok := s.fromTheHead(); {
	case !ok:
		return "own"
	case blocks > 0:
		return "head"
	}
	return "none"
}

// setUnfreezeWay starts or ends a schedule. A new one reaches its last block when a third of the steps is left.
func (s *Studio) setUnfreezeWay(v any) bool {
	switch v {
	case "none":
		delete(s.Config, "unfreeze")
	case "head":
		every := 50
		if n, ok := s.Config.Get("training.max_steps"); ok {
			if steps, _ := n.(float64); steps >= 3 {
				every = int(steps) / 3
			}
		}
		s.unfreeze(2, every)
	}
	delete(s.raw, "unfreeze")
	return true
}

func (s *Studio) unfreeze(blocks, every int) {
	s.Config["unfreeze"] = unfreezeFromTheHead(blocks, every)
	delete(s.Config, "trainable") // the schedule says what trains
}

func (s *Studio) setUnfreezeBlocks(v any) bool {
	n, ok := whole(v)
	_, every, _ := s.fromTheHead()
	if ok {
		s.unfreeze(n, every)
	}
	return ok
}

func (s *Studio) setUnfreezeEvery(v any) bool {
	n, ok := whole(v)
	blocks, _, _ := s.fromTheHead()
	if ok {
		s.unfreeze(blocks, n)
	}
	return ok
}

// whole is a value as a positive whole number.
func whole(v any) (int, bool) {
	n, _ := v.(float64)
	return int(n), n >= 1 && n < 1e6 && n == math.Trunc(n)
}
