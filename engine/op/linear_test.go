package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestLinear(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		B, T, in, rank, out := r.Dim(1, 3), r.Dim(1, 33), r.Dim(1, 70), r.Dim(1, 8), r.Dim(1, 70)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(B, T, in), r.F(out, in), r.F(rank, in), r.F(out, rank), r.F(out)},
			Tol: enginetest.Reduce(in * rank),
			Fn: func(t *graph.Tape, v []graph.Var) []graph.Var {
				x, w, a, b, bias := v[0], v[1], v[2], v[3], v[4]
				low := Linear(t, []Term{{x, a, 1}}, nil)
				return []graph.Var{Linear(t, []Term{{x, w, 1}, {low, b, 0.75}}, bias)}
			},
		}
	})
}

// TestLinearFrozen has a bfloat16 weight, through which the gradient flows on to x.
func TestLinearFrozen(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, in, out := r.Dim(1, 40), r.Dim(1, 70), r.Dim(1, 70)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, in), r.BF16(out, in)},
			Tol: enginetest.Reduce(max(in, out)),
			Fn: func(t *graph.Tape, v []graph.Var) []graph.Var {
				return []graph.Var{Linear(t, []Term{{v[0], v[1], -1.5}}, nil)}
			},
		}
	})
}
