package graph_test

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// Sums hand their gradient on without a copy. These are the shapes of graphs in which that could go wrong: a value
// used twice, a gradient that two terms share and one of them adds to, a parameter used in several places.
func TestSharedGradients(t *testing.T) {
	for name, f := range map[string]func(t *graph.Tape, x, y graph.Var) graph.Var{
		"a value twice in a sum":      func(t *graph.Tape, x, y graph.Var) graph.Var { return op.Add(t, x, x) },
		"a sum of sums":               func(t *graph.Tape, x, y graph.Var) graph.Var { s := op.Add(t, x, y); return op.Add(t, s, s) },
		"a residual":                  func(t *graph.Tape, x, y graph.Var) graph.Var { return op.Add(t, x, op.Scale(t, x, 3)) },
		"a residual the other way":    func(t *graph.Tape, x, y graph.Var) graph.Var { return op.Add(t, op.Scale(t, x, 3), x) },
		"both terms scaled afterward": func(t *graph.Tape, x, y graph.Var) graph.Var { return twice(t, op.Scale(t, x, 2), op.Scale(t, y, 5)) },
		"a shared term changed by one": func(t *graph.Tape, x, y graph.Var) graph.Var {
			a, b := op.Scale(t, x, 2), op.Scale(t, y, 5)
			s := op.Add(t, a, b)                    // a and b share the gradient of s
			return op.Add(t, s, op.SwiGLU(t, a, s)) // and a gets more
		},
		"two residuals": func(t *graph.Tape, x, y graph.Var) graph.Var {
			h := op.Add(t, x, op.SwiGLU(t, x, y))
			return op.Add(t, h, op.SwiGLU(t, y, h))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := enginetest.NewRand(1)
			enginetest.Check(t, r, enginetest.Case{Name: name, In: []enginetest.Input{r.F(3, 5), r.F(3, 5)}, Tol: enginetest.Elementwise,
				Fn: func(t *graph.Tape, in []graph.Var) []graph.Var { return []graph.Var{f(t, in[0], in[1])} }})
		})
	}
}

func twice(t *graph.Tape, a, b graph.Var) graph.Var {
	s := op.Add(t, a, b)
	return op.Add(t, s, a)
}

func TestInferenceTapeWantsNothing(t *testing.T) {
	tape := graph.NewInferenceTape()
	x := tape.Extern(graph.Extern{Key: "x", Shape: tensor.Of(4), GradKey: "dx"})
	y := op.Scale(tape, op.Add(tape, x, x), 2)
	before := tape.Launches()
	tape.Backward()
	if y.WantsGrad() || tape.Launches() != before || tape.Grad(x) != nil || len(tape.Externs()) != 1 {
		t.Error("an inference tape has gradients")
	}
}

// A frozen input costs no backward launch.
func TestFrozenCostsNothing(t *testing.T) {
	launches := func(gradKey any) int {
		tape := graph.NewTape()
		x := tape.Extern(graph.Extern{Key: "x", Shape: tensor.Of(4), GradKey: gradKey})
		y := op.Scale(tape, x, 2)
		forward := tape.Launches()
		if gradKey != nil {
			tape.Seed(y, tape.New(y.Shape))
		}
		tape.Backward()
		return tape.Launches() - forward
	}
	if n := launches(nil); n != 0 {
		t.Errorf("%d launches for a frozen input", n)
	}
	if n := launches("dx"); n != 1 {
		t.Errorf("%d launches for an input that trains, want 1", n)
	}
}
