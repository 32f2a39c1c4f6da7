package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// matmulCase is a random product of any form: odd sizes, both storages of B, with and without bias and accumulation.
func matmulCase(r *enginetest.Rand, M, N, K int) enginetest.Case {
	f := []form{formNT, formNN, formTN}[r.IntN(3)]
	a, b := tensor.Of(M, K), tensor.Of(K, N)
	if f.transA {
		a = tensor.Of(K, M)
	}
	if f.transB {
		b = tensor.Of(N, K)
	}
	weights := r.Frozen(b...)
	if !f.transA && r.IntN(2) == 0 {
		weights = r.BF16(b...)
	}
	withBias, accumulate, alpha := r.IntN(2) == 0, r.IntN(2) == 0, float32(r.NormFloat64())
	return enginetest.Case{
		In:         []enginetest.Input{r.Frozen(a...), weights, r.Frozen(N), r.Frozen(M, N)},
		Tol:        enginetest.Reduce(K),
		NoGradient: true,
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
			c := t.New(tensor.Of(M, N))
			t.Copy(c, in[3])
			bias := in[2]
			if !withBias {
				bias = nil
			}
			launchMatmul(t, f, in[0], in[1], bias, c, alpha, accumulate)
			return []graph.Var{c}
		},
	}
}

func TestMatmul(t *testing.T) {
	for range 4 {
		enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
			return matmulCase(r, r.Dim(1, 140), r.Dim(1, 140), r.Dim(1, 140))
		})
	}
}

// Rows of whole fours, which further variants are for.
func TestMatmulFours(t *testing.T) {
	for range 4 {
		enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
			return matmulCase(r, 4*r.Dim(1, 35), 4*r.Dim(1, 35), 4*r.Dim(1, 35))
		})
	}
}

func TestMatmulRefusesShapes(t *testing.T) {
	err := graph.Record(func() {
		tape := graph.NewTape()
		matmulNT(tape, tape.New(tensor.Of(2, 3)), tape.New(tensor.Of(4, 5)), tape.New(tensor.Of(2, 4)), 1, false)
	})
	if err == nil {
		t.Fatal("a product of (2, 3) by the transpose of (4, 5) was recorded")
	}
}
