package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestScaleMatrix(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		M, N := r.Dim(1, 70), r.Dim(1, 70)
		return enginetest.Case{
			In: []enginetest.Input{r.F(M, N), r.F(M), r.F(N, 1)}, NoGradient: true,
			Tol: enginetest.Elementwise,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				rows, columns := Scale(t, in[0], 1), Scale(t, in[0], 1)
				ScaleRows(t, rows, in[1])
				ScaleColumnsInPlace(t, columns, in[2])
				return []graph.Var{rows, columns}
			},
		}
	})
}
