package ui

import (
	"fmt"
	"math"
)

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
	delete(s.invalid, "unfreeze")
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
