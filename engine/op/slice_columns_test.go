package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestSliceColumns(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, W := r.Dim(1, 20), r.Dim(1, 70)
		from := r.IntN(W)
		C := 1 + r.IntN(W-from)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, W)},
			Tol: enginetest.Elementwise,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				// A value that is no input has no gradient before the backward pass.
				return []graph.Var{SliceColumns(t, in[0], from, C), SliceColumns(t, Scale(t, in[0], 2), from, C), SliceColumns(t, in[0], 0, W)}
			},
		}
	})
}
