package ui

import (
	"math"

	"llamatab/engine/message"
)

// fromTheHead reads the key unfreeze as a schedule of message.UnfreezeFromTheHead: number of blocks and steps between them. An
// absent key is a schedule of no blocks. ok is false for any other schedule.
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
	return blocks, every, blocks > 0 && string(Tree{"unfreeze": unfreezeFromTheHead(blocks, every)}.JSON()) == string(Tree{"unfreeze": list}.JSON())
}

// unfreezeFromTheHead is message.UnfreezeFromTheHead as a value of run.json.
func unfreezeFromTheHead(blocks, every int) (stages []any) {
	for _, s := range message.UnfreezeFromTheHead(blocks, every) {
		var parts []any
		for _, part := range s.Trainable {
			parts = append(parts, part)
		}
		stages = append(stages, map[string]any{"step": float64(s.Step), "trainable": parts})
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

// setUnfreezeWay sets a schedule or removes it. A new one has two blocks and unfreezes the last when a third of the steps is left.
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

// whole converts a value to a positive integer.
func whole(v any) (int, bool) {
	n, _ := v.(float64)
	return int(n), n >= 1 && n < 1e6 && n == math.Trunc(n)
}
