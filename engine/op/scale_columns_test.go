package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestScaleColumns(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C := r.Dim(1, 70), r.Dim(1, 70)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, C), r.F(C), r.F(1, C)},
			Tol: enginetest.Reduce(N),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{ScaleColumns(t, in[0], in[1]), ScaleColumns(t, in[0], in[2]), ScaleColumns(t, in[0], in[1])}
			},
		}
	})
}
