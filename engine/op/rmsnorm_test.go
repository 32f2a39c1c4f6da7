package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestRMSNorm(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C := r.Dim(1, 70), r.Dim(1, 300)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, C), r.F(C)},
			Tol: enginetest.Reduce(C + N),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{RMSNorm(t, in[0], in[1], 1e-5)}
			},
		}
	})
}
