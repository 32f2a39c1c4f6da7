package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// The input of the added term is also the input of the tensor that it is added to, so both paths add to one gradient.
func TestAddLinear(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, in, out := r.Dim(1, 40), r.Dim(1, 70), r.Dim(1, 70)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, in), r.F(out, in), r.F(out, in)},
			Tol: enginetest.Reduce(max(N, in, out)),
			Fn: func(t *graph.Tape, v []graph.Var) []graph.Var {
				x, w, added := v[0], v[1], v[2]
				y := Linear(t, []Term{{x, w, 1}}, nil)
				AddLinear(t, y, Term{x, added, -0.75})
				return []graph.Var{y}
			},
		}
	})
}
