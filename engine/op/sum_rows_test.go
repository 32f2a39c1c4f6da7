package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

func TestSumRows(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C := r.Dim(1, 130), r.Dim(1, 130)
		return enginetest.Case{
			In: []enginetest.Input{r.F(N, C)}, Tol: enginetest.Reduce(N), NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				out := t.New(tensor.Of(C))
				SumRows(t, in[0], out)
				return []graph.Var{out}
			},
		}
	})
}
