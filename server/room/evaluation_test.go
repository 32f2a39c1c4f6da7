package room

import (
	"strings"
	"testing"
	"time"

	"llamatab/engine/fsdp"
	"llamatab/engine/tensor"
)

// evaluatedRun is a room's config whose run of four steps is evaluated after every second.
func evaluatedRun() Config {
	return Config{Run: fsdp.Run{ID: "r", Strategy: fsdp.NoShard, Wrap: "none", Params: []fsdp.Param{{Name: "p", Shape: tensor.Of(3)}}, Slots: 1, Steps: 4,
		ReduceDType: "float32", ParamDType: "float32", Eval: &fsdp.Evaluation{Every: 2, Tokens: []int{5, 3}}}}
}

func evaluatedAt(version uint64, loss float64) Record {
	return Record{Kind: Evaluated, Step: version, Eval: &fsdp.Evaluated{Version: version, Loss: loss, Tokens: 8, Best: loss, BestStep: version}}
}

func committedAt(step uint64) Record {
	return Record{Kind: Committed, Step: step, Applied: true, Factor: 1, Updates: int(step) + 1, Reduced: "x"}
}

// opened is a room whose log holds records after its start.
func opened(records ...Record) (*Room, error) {
	return New(evaluatedRun(), append([]Record{OpenedRecord(evaluatedRun(), "code", nil), {Kind: Started}}, records...))
}

// TestEvaluationsInTheLog: an evaluation stands in the log once, where it is due, with what it found.
func TestEvaluationsInTheLog(t *testing.T) {
	for name, tail := range map[string][]Record{
		"":               {evaluatedAt(2, 1), committedAt(2)},
		"twice":          {evaluatedAt(2, 1), evaluatedAt(2, 1)},
		"ahead":          {evaluatedAt(4, 1)},
		"not due":        {evaluatedAt(2, 1), committedAt(2), evaluatedAt(3, 1)},
		"empty":          {{Kind: Evaluated, Step: 2}},
		"of another one": {{Kind: Evaluated, Step: 2, Eval: &fsdp.Evaluated{Version: 1}}},
	} {
		_, err := opened(append([]Record{committedAt(0), committedAt(1)}, tail...)...)
		if name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), "an evaluation of version")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// evaluating is a room in the middle of its first evaluation, with two tabs that hold what trains.
func evaluating(t *testing.T) (r *Room, handle func(e Event) []Effect) {
	t.Helper()
	r, err := opened(committedAt(0), committedAt(1))
	if err != nil {
		t.Fatal(err)
	}
	handle = func(e Event) []Effect { return r.Handle(time.Unix(0, 0), e) }
	for tab := range uint32(2) {
		handle(Joined{Tab: tab + 1})
		handle(Attached{tab + 1})
	}
	for tab := range uint32(2) {
		handle(GotMessage{tab + 1, fsdp.Status{Seq: 1, Held: []fsdp.Held{{Shard: 0, Version: 2}}}})
	}
	if r.Phase() != Evaluating {
		t.Fatalf("the room is %s", r.Phase())
	}
	return r, handle
}

// lastOrders are the last orders for a tab among effects.
func lastOrders(effects []Effect, tab uint32) (o fsdp.Orders) {
	for _, e := range effects {
		if s, ok := e.(Send); ok && s.Tab == tab {
			if m, ok := s.Message.(fsdp.Orders); ok {
				o = m
			}
		}
	}
	return o
}

// TestEvaluationByHand: the slots of an evaluation are given out, what cannot be right is computed by another tab, the
// outcome is logged before anybody hears of it, and then the step begins.
func TestEvaluationByHand(t *testing.T) {
	r, handle := evaluating(t)
	seq := uint64(1)
	say := func(tab uint32, slot int, loss float64, tokens int) []Effect {
		t.Helper()
		for _, w := range r.tabs[tab].work {
			if w.Slot == slot && w.Eval && w.Step == 2 {
				seq++
				return handle(GotMessage{tab, fsdp.Status{Seq: seq, Held: []fsdp.Held{{Shard: 0, Version: 2}}, Slots: []fsdp.Ready{{Work: w, Loss: loss, Tokens: tokens}}}})
			}
		}
		t.Fatalf("tab %d is to compute %+v, not slot %d of the evaluation", tab, r.tabs[tab].work, slot)
		return nil
	}
	say(1, 0, 2, 4) // there are 5
	if r.Stats.NotFinite != 1 || r.slots[0].done() {
		t.Errorf("a wrong count is taken: %+v", r.slots[0])
	}
	say(2, 0, 2.5, 5)
	effects := say(1, 1, 1.5, 3)
	var rec Record
	for _, e := range effects {
		if a, ok := e.(Append); ok {
			rec = a.Record
		}
	}
	if rec.Kind != Evaluated || rec.Step != 2 || rec.Eval.Loss != 0.5 || rec.Eval.Tokens != 8 || rec.Eval.BestStep != 2 || len(rec.Slots) != 2 || rec.Slots[0][0] != 2 || rec.Slots[1][0] != 1 {
		t.Errorf("the record is %+v", rec)
	}
	if o := lastOrders(effects, 1); len(o.Evals) > 0 || len(r.evals) > 0 {
		t.Errorf("tab 1 hears of %+v before the log has it", o.Evals)
	}
	if o := lastOrders(handle(Logged{Record: rec}), 1); len(o.Evals) != 1 || o.Evals[0] != *rec.Eval {
		t.Errorf("tab 1 hears of %+v", o.Evals)
	}
	if r.Phase() != Computing || len(r.slots) != 1 || r.Step() != 2 {
		t.Errorf("after the evaluation the room is %s at step %d with %d slots", r.Phase(), r.Step(), len(r.slots))
	}
}

// TestNoFiniteLoss: where two tabs find no finite loss there is none, and the run goes on.
func TestNoFiniteLoss(t *testing.T) {
	r, handle := evaluating(t)
	for seq := uint64(2); r.Phase() == Evaluating && seq < 20; seq++ {
		for _, tab := range r.inOrder() {
			s := fsdp.Status{Seq: seq, Held: []fsdp.Held{{Shard: 0, Version: 2}}}
			for _, w := range tab.work {
				s.Slots = append(s.Slots, fsdp.Ready{Work: w, Invalid: w.Slot == 1, Loss: 1, Tokens: r.run.Eval.Tokens[w.Slot]})
			}
			for _, e := range handle(GotMessage{tab.id, s}) {
				if a, ok := e.(Append); ok {
					handle(Logged{Record: a.Record})
				}
			}
		}
	}
	if e := r.evals[2]; !e.Invalid || e.Loss != 0 || e.BestStep != 0 || e.Tokens != 8 || r.Phase() != Computing {
		t.Errorf("the evaluation is %+v, the room %s", e, r.Phase())
	}
}

// TestMissedEvaluation: who was away, and awaits an evaluation of long ago, is told of it.
func TestMissedEvaluation(t *testing.T) {
	r, err := opened(committedAt(0), committedAt(1), evaluatedAt(2, 1), committedAt(2))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(0, 0)
	held := []fsdp.Held{{Shard: 0, Version: 3}}
	r.Handle(now, Joined{Tab: 1})
	r.Handle(now, Attached{1})
	if seen := lastOrders(r.Handle(now, GotMessage{1, fsdp.Status{Seq: 1, Held: held}}), 1); len(seen.Evals) > 0 {
		t.Fatalf("it is told of %+v", seen.Evals)
	}
	o := lastOrders(r.Handle(now, GotMessage{1, fsdp.Status{Seq: 2, Seen: r.tabs[1].sent.Seq, Held: held, Awaits: 2}}), 1)
	if len(o.Evals) != 1 || o.Evals[0].Version != 2 {
		t.Errorf("it awaits version 2 and is told of %+v", o.Evals)
	}
}
