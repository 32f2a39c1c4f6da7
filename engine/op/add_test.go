package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// TestAdd covers the ways in which terms share a gradient: a term with another use, a frozen term, a term used twice, and
// sums of sums, whose terms share one Var until an op adds to it.
func TestAdd(t *testing.T) {
	for name, f := range map[string]func(t *graph.Tape, x, y, frozen graph.Var) graph.Var{
		"plain": func(t *graph.Tape, x, y, _ graph.Var) graph.Var { return Add(t, x, y) },
		"twice": func(t *graph.Tape, x, y, _ graph.Var) graph.Var {
			s := Scale(t, x, 0.5)
			return Add(t, Add(t, s, s), y)
		},
		"frozen": func(t *graph.Tape, x, y, frozen graph.Var) graph.Var { return Add(t, frozen, Add(t, y, frozen)) },
		"residual": func(t *graph.Tape, x, y, _ graph.Var) graph.Var {
			h := Scale(t, x, 0.5)
			h = Add(t, h, Scale(t, h, 3))
			h = Add(t, Scale(t, h, -2), h)
			return Add(t, h, SwiGLU(t, h, y))
		},
		"shared": func(t *graph.Tape, x, y, _ graph.Var) graph.Var {
			a, b := Scale(t, x, 0.5), Scale(t, y, 2)
			return Add(t, Add(t, a, b), Add(t, Scale(t, a, 3), Scale(t, b, 5)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
				N, C := r.Dim(1, 20), r.Dim(1, 70)
				return enginetest.Case{
					In:  []enginetest.Input{r.F(N, C), r.F(N, C), r.Frozen(N, C)},
					Tol: enginetest.Elementwise,
					Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
						return []graph.Var{f(t, in[0], in[1], in[2])}
					},
				}
			})
		})
	}
}
