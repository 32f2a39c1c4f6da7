package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestScale(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C := r.Dim(1, 70), r.Dim(1, 70)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, C)},
			Tol: enginetest.Elementwise,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{Scale(t, in[0], -0.3), Scale(t, in[0], 1.5)}
			},
		}
	})
}

func TestAddTo(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		return enginetest.Case{
			In:         []enginetest.Input{r.F(r.Dim(1, 300))},
			Tol:        enginetest.Elementwise,
			NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				y := Scale(t, in[0], 3)
				AddTo(t, in[0], y, 0.5)
				return []graph.Var{y}
			},
		}
	})
}
