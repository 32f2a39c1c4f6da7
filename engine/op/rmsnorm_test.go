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

// The runs of Qwen3 in testdata/golden hold the heads against torch.
func TestRMSNormHeads(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, heads, D := r.Dim(1, 30), r.Dim(1, 9), r.Dim(1, 70)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, heads*D), r.F(D)},
			Tol: enginetest.Reduce(D + N*heads),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{RMSNormHeads(t, in[0], in[1], heads, 1e-5)}
			},
		}
	})
}
