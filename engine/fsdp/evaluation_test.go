package fsdp

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"llamatab/engine/tensor"
)

func TestDue(t *testing.T) {
	for _, c := range []struct {
		e    *Evaluation
		want string // by version
	}{
		{nil, "......."}, {&Evaluation{Every: 2}, "..x.x.x"}, {&Evaluation{Every: 3, First: true}, "x..x..x"}, {&Evaluation{First: true}, "x......"},
	} {
		for version := range uint64(7) {
			if got := c.e.Due(version); got != (c.want[version] == 'x') {
				t.Errorf("%+v: version %d is due: %v", c.e, version, got)
			}
		}
	}
}

// TestEvaluationOfOthers: a run from elsewhere cannot ask for an evaluation that makes no sense.
func TestEvaluationOfOthers(t *testing.T) {
	for want, e := range map[string]Evaluation{
		"every -1 steps": {Every: -1, First: true, Tokens: []int{1}}, "every 0 steps": {Tokens: []int{1}}, "in 0 slots": {Every: 1},
		"in 16385 slots": {Every: 1, Tokens: make([]int, MaxSlots+1)}, "less than no tokens": {Every: 1, Tokens: []int{3, -1}},
		"beyond all measure": {Every: 1, Tokens: []int{1 << 40}}, "-2 classes": {Every: 1, Tokens: []int{1}, Classes: -2},
	} {
		run := Run{ID: "r", Strategy: NoShard, Wrap: "none", Params: []Param{{Name: "p", Shape: tensor.Of(2)}}, Slots: 1, Steps: 1, ReduceDType: "float32", ParamDType: "float32", Eval: &e}
		if _, err := run.Table(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

// TestFaults: results that cannot be right are told from those that can.
func TestFaults(t *testing.T) {
	loss, classes := &Evaluation{Every: 1, Tokens: []int{4, 7}}, &Evaluation{Every: 1, Tokens: []int{3}, Classes: 2}
	counted := func(v ...ConfusionCount) Ready { return Ready{Loss: 1, Tokens: 3, Confusion: v} }
	for _, c := range []struct {
		e    *Evaluation
		r    Ready
		want string
	}{
		{loss, Ready{Work: Work{Slot: 1}, Loss: 8, Tokens: 7}, ""},
		{loss, Ready{Loss: -1e-6, Tokens: 4}, ""},
		{loss, Ready{Loss: -5, Tokens: 4}, "less than any"},
		{loss, Ready{Loss: 1, Tokens: 7}, "counts 7 tokens where there are 4"},
		{loss, Ready{Loss: math.Inf(1), Tokens: 4}, "not a finite"},
		{loss, Ready{Loss: math.NaN(), Tokens: 4}, "not a finite"},
		{loss, Ready{Loss: 1e30, Tokens: 4}, "not a finite"},
		{loss, Ready{Invalid: true, Tokens: 4}, "not a finite"},
		{loss, Ready{Loss: 1, Tokens: 4, Confusion: []ConfusionCount{{0, 0, 4}}}, "taken for class 0"},
		{classes, counted(ConfusionCount{0, 1, 1}, ConfusionCount{1, 1, 2}), ""},
		{classes, counted(ConfusionCount{0, 1, 1}), "judges 1 rows of 3"},
		{classes, counted(ConfusionCount{0, 2, 3}), "taken for class 2"},
		{classes, counted(ConfusionCount{-1, 0, 3}), "rows of class -1"},
		{classes, counted(ConfusionCount{0, 0, 4}, ConfusionCount{0, 1, -1}), "4 rows of class 0"},
		{classes, counted(ConfusionCount{0, 0, 3}, ConfusionCount{0, 1, -1}), "-1 rows of class 0"},
		{classes, counted(), "judges 0 rows of 3"},
	} {
		if got := c.e.Fault(c.r); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.r, got, c.want)
		}
	}
}

// TestSum adds slots up by hand.
func TestSum(t *testing.T) {
	e := &Evaluation{Every: 2, Tokens: []int{2, 3}, Classes: 3}
	slots := []Ready{{Loss: 1, Tokens: 2, Confusion: []ConfusionCount{{0, 0, 1}, {1, 0, 1}}}, {Loss: 4, Tokens: 3, Confusion: []ConfusionCount{{1, 1, 2}, {1, 0, 1}}}}
	// Class 0: precision 1/3, recall 1; class 1: precision 1, recall 1/2; class 2 does not occur.
	accuracy, zero, one := 3.0/5, 2.0/4, 4.0/6
	f1 := (zero + one) / 2
	first := e.Sum(2, slots, Evaluated{})
	if want := (Evaluated{Version: 2, Loss: 1, Tokens: 5, Accuracy: &accuracy, F1: &f1, Best: 1, BestStep: 2}); !reflect.DeepEqual(first, want) {
		t.Errorf("%+v, want %+v", first, want)
	}
	slots[1].Loss = 5
	if worse := e.Sum(4, slots, first); worse.Loss != 1.2 || worse.Best != 1 || worse.BestStep != 2 {
		t.Errorf("a worse one is %+v", worse)
	}
	slots[0].Loss = -3
	if better := e.Sum(6, slots, first); better.Best != 0.4 || better.BestStep != 6 {
		t.Errorf("a better one is %+v", better)
	}
	if start := e.Sum(0, slots, Evaluated{}); start.BestStep != 0 || start.Best != 0 {
		t.Errorf("the one before training is the best after a step: %+v", start)
	}
	slots[1] = Ready{Invalid: true}
	if bad := e.Sum(8, slots, first); !bad.Invalid || bad.Loss != 0 || bad.Tokens != 5 || bad.Accuracy != nil || bad.BestStep != 2 {
		t.Errorf("without a finite loss it is %+v", bad)
	}
	if none := (&Evaluation{Every: 1, Tokens: []int{0}}).Sum(1, []Ready{{}}, Evaluated{}); !none.Invalid {
		t.Errorf("of no tokens it is %+v", none)
	}
}

// listener is an engine that only hears.
type listener struct {
	Engine
	heard []string
}

func (l *listener) hear(what string, about any) {
	l.heard = append(l.heard, fmt.Sprint(what, " ", about))
}
func (l *listener) Committed(c Commit)    { l.hear("step", c.Step) }
func (l *listener) Evaluated(e Evaluated) { l.hear("eval", e.Version) }
func (l *listener) Finished()             { l.hear("finished", true) }
func (l *listener) Compute(w Work)        { l.hear("compute", w.Eval) }
func (l *listener) Forget(w Work)         { l.hear("forget", w.Eval) }

type silence struct{ last Status }

func (s *silence) Send(m Message) {
	if status, ok := m.(Status); ok {
		s.last = status
	}
}
func (s *silence) SendPiece(Header, Piece) {}

// listening is the worker of a run of four steps, evaluated before the first and after every second.
func listening(t *testing.T) (*Worker, *listener, *silence) {
	t.Helper()
	run := Run{ID: "r", Strategy: FullShard, Wrap: "none", Params: []Param{{Name: "p", Shape: tensor.Of(2)}}, Slots: 1, Shards: 1, Steps: 4, ReduceDType: "float32", ParamDType: "float32",
		Eval: &Evaluation{Every: 2, First: true, Tokens: []int{1}}}
	table, err := run.Table()
	if err != nil {
		t.Fatal(err)
	}
	l, out := &listener{}, &silence{}
	w := NewWorker(&run, table, l, out)
	w.Connected(time.Unix(0, 0))
	return w, l, out
}

// TestSameSlot: a slot of an evaluation and one of the step after it have the same numbers, and are not taken for each other.
func TestSameSlot(t *testing.T) {
	w, l, out := listening(t)
	now := time.Unix(0, 0)
	held, trained := Work{Epoch: 1, Eval: true}, Work{Epoch: 2}
	w.Receive(now, Orders{Seq: 1, Gather: true, Work: []Work{held}})
	w.Computed(now, Ready{Work: held, Loss: 3, Tokens: 1})
	w.Receive(now, Orders{Seq: 2, Gather: true, Work: []Work{trained}, Evals: []Evaluated{{}}}) // the orders between were lost
	w.Computed(now, Ready{Work: held})                                                          // nobody computes that any more
	w.Computed(now, Ready{Work: trained, Loss: 5, Tokens: 2})
	if got, want := strings.Join(l.heard, ", "), "compute true, forget true, eval 0, compute false"; got != want {
		t.Errorf("it is told %s, want %s", got, want)
	}
	if len(out.last.Slots) != 1 || out.last.Slots[0].Loss != 5 || out.last.Slots[0].Eval {
		t.Errorf("it says that these are ready: %+v", out.last.Slots)
	}
}

// TestReportOrder: the worker reports steps and evaluations in order, and an evaluation that the tab has missed before what
// came after.
func TestReportOrder(t *testing.T) {
	w, l, out := listening(t)
	now, seq := time.Unix(0, 0), uint64(0)
	say := func(o Orders, want string) {
		t.Helper()
		seq++
		o.Seq, l.heard = seq, nil
		now = now.Add(beat)
		w.Receive(now, o)
		if got := strings.Join(l.heard, ", "); got != want {
			t.Errorf("orders %d: it hears of %q, want %q", seq, got, want)
		}
	}
	step := func(n uint64) Commit { return Commit{Step: n} }
	eval := func(n uint64) Evaluated { return Evaluated{Version: n} }
	say(Orders{}, "")
	say(Orders{Evals: []Evaluated{eval(0)}}, "eval 0")
	say(Orders{Version: 1, Commits: []Commit{step(0)}, Evals: []Evaluated{eval(0)}}, "step 0")
	say(Orders{Version: 2, Commits: []Commit{step(1)}}, "step 1")
	if out.last.Awaits != 2 {
		t.Errorf("it awaits the evaluation of version %d, want 2", out.last.Awaits)
	}
	say(Orders{Version: 3, Commits: []Commit{step(2)}}, "") // the orders between were lost
	say(Orders{Version: 4, Commits: []Commit{step(3)}, Evals: []Evaluated{eval(0), eval(2)}}, "eval 2, step 2, step 3")
	say(Orders{Version: 4, Done: true, Commits: []Commit{step(3)}}, "")
	say(Orders{Version: 4, Done: true, Commits: []Commit{step(3)}, Evals: []Evaluated{eval(4)}}, "eval 4, finished true")
	if out.last.Awaits != 0 {
		t.Errorf("in the end it awaits the evaluation of version %d", out.last.Awaits)
	}
}
