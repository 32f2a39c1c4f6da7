package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestAddBias(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C := r.Dim(1, 70), r.Dim(1, 70)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, C), r.F(C)},
			Tol: enginetest.Reduce(N),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				y := Scale(t, in[0], 1.5) // an input must not be changed in place
				AddBias(t, y, in[1])
				return []graph.Var{y}
			},
		}
	})
}
