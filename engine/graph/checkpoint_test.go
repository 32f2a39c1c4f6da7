package graph_test

import (
	"strings"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// stack is a chain of blocks, each with an update in place, dropout, a view, a value used twice and one that every
// later block reads; checkpointed says which of them keep nothing.
func stack(t *graph.Tape, in []graph.Var, checkpointed ...bool) graph.Var {
	x, w, norm, table, positions, seed := in[0], in[1], in[2], in[3], in[4], in[5]
	var aside graph.Var
	for i, c := range checkpointed {
		block := func() graph.Var {
			h := op.Linear(t, []op.Term{{X: op.RMSNorm(t, x, norm, 1e-5), W: w, Scale: 1}}, nil)
			op.RoPE(t, h, table, positions, 2, 4)
			h = op.Dropout(t, h, 0.3, uint32(i), seed)
			if aside == nil {
				aside = op.SwiGLU(t, h, x)
			}
			return op.Add(t, op.Add(t, x, op.SwiGLU(t, h, x)), op.SwiGLU(t, aside, h))
		}
		if c {
			x = t.Checkpoint(block)
		} else {
			x = block()
		}
	}
	return x
}

// The gradients of checkpointed blocks are those of the blocks, whichever of them are.
func TestCheckpoint(t *testing.T) {
	for name, checkpointed := range map[string][]bool{
		"all": {true, true, true}, "the first": {true, false, false}, "the last": {false, false, true}, "between": {false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			const n, c = 5, 8
			r := enginetest.NewRand(1)
			angles := enginetest.Input{Shape: tensor.Of(n, 2, 2), Floats: op.RopeTable([]float64{1, 0.1}, 1, 0, n), Frozen: true}
			enginetest.Check(t, r, enginetest.Case{
				Name: name, Tol: enginetest.Reduce(64),
				In: []enginetest.Input{r.F(n, c), r.F(c, c), r.F(c), angles, enginetest.Ints([]int32{0, 1, 2, 3, 4}, n), enginetest.Ints([]int32{3, 4}, 2)},
				Fn: func(t *graph.Tape, in []graph.Var) []graph.Var { return []graph.Var{stack(t, in, checkpointed...)} },
			})
		})
	}
}

// A checkpoint costs its own forward launches again, but for those that no gradient needs.
func TestCheckpointLaunches(t *testing.T) {
	launches := func(trains any, checkpoint bool) int {
		tape := graph.NewTape()
		x := tape.Extern(graph.Extern{Key: "x", Shape: tensor.Of(4), GradKey: trains})
		block := func() graph.Var { return op.Scale(tape, op.SwiGLU(tape, op.Scale(tape, x, 2), x), 3) }
		var y graph.Var
		if checkpoint {
			y = tape.Checkpoint(block)
		} else {
			y = block()
		}
		if trains != nil {
			dy := tape.New(y.Shape)
			tape.Clear(dy)
			tape.Seed(y, dy)
		}
		tape.Backward()
		return tape.Launches()
	}
	if with, without := launches("dx", true), launches("dx", false); with != without+1 { // the first Scale alone
		t.Errorf("%d launches with a checkpoint, %d without", with, without)
	}
	if with, without := launches(nil, true), launches(nil, false); with != without {
		t.Errorf("%d launches with a checkpoint where nothing trains, %d without", with, without)
	}
}

func TestCheckpointRefuses(t *testing.T) {
	for part, f := range map[string]func(t *graph.Tape, x graph.Var){
		"inside a checkpoint": func(t *graph.Tape, x graph.Var) {
			t.Checkpoint(func() graph.Var { return t.Checkpoint(func() graph.Var { return op.Scale(t, x, 2) }) })
		},
		"which is older": func(t *graph.Tape, x graph.Var) {
			y := op.Scale(t, x, 2)
			t.Checkpoint(func() graph.Var { op.AddTo(t, x, y, 1); return op.Scale(t, y, 2) })
		},
		"after a checkpoint has read it": func(t *graph.Tape, x graph.Var) {
			y := op.Scale(t, x, 2)
			t.Checkpoint(func() graph.Var { return op.Scale(t, y, 2) })
			op.AddTo(t, x, y, 1)
		},
	} {
		tape := graph.NewTape()
		x := tape.Extern(graph.Extern{Key: "x", Shape: tensor.Of(4), GradKey: "dx", Name: "x"})
		if err := graph.Record(func() { f(tape, x) }); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one that says %q", err, part)
		}
	}
}
