package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

func TestSum(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N := r.Dim(1, 1000)
		return enginetest.Case{
			In: []enginetest.Input{r.F(N)}, Tol: enginetest.Reduce(N), NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				out := t.New(tensor.Of(1))
				Sum(t, in[0], out)
				return []graph.Var{out}
			},
		}
	})
}
