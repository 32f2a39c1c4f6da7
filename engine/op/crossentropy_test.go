package op

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// targets are n tokens below v, about a third of them not counted.
func targets(r *enginetest.Rand, n, v int) enginetest.Input {
	ids := make([]int32, n)
	for i := range ids {
		if ids[i] = int32(r.IntN(v)); r.IntN(3) == 0 {
			ids[i] = -1 - int32(r.IntN(100))
		}
	}
	return enginetest.Ints(ids, n)
}

func TestLinearCrossEntropy(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C, V := r.Dim(1, 150), r.Dim(1, 20), r.Dim(1, 200)
		return enginetest.Case{
			In: []enginetest.Input{r.F(N, C), r.F(V, C), targets(r, N, V), r.F(V)}, Tol: enginetest.Reduce(C + V), Ones: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{LinearCrossEntropy(t, []Term{{in[0], in[1], 0.7}}, in[3], in[2], 64, 0)}
			},
		}
	})
}

// TestLinearCrossEntropyLowRank has a frozen bfloat16 head with a low-rank adapter. Both read the same x, and so do other
// ops.
func TestLinearCrossEntropyLowRank(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C, V, R := r.Dim(1, 130), r.Dim(1, 20), r.Dim(2, 70), r.Dim(1, 4)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, C), r.BF16(V, C), r.F(R, C), r.F(V, R), targets(r, N, V)},
			Tol: enginetest.Reduce((C + V) * R), Ones: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				x := Scale(t, in[0], 0.5)
				low := Linear(t, []Term{{x, in[2], 1}}, nil)
				return []graph.Var{LinearCrossEntropy(t, []Term{{x, in[1], 1}, {low, in[3], 0.5}}, nil, in[4], 64, 0), Scale(t, x, 2)}
			},
		}
	})
}

// TestLinearCrossEntropyTied uses one table as embedding and as head, and x in two terms.
func TestLinearCrossEntropyTied(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C, V := r.Dim(1, 130), r.Dim(1, 20), r.Dim(2, 70)
		_, in := lookup(r, N, V)
		return enginetest.Case{
			In: append(in, r.F(V, C), r.F(V, C), targets(r, N, V)), Tol: enginetest.Reduce(C + V), Ones: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				x := Embedding(t, in[3], Lookup{in[0], in[1], in[2]})
				return []graph.Var{LinearCrossEntropy(t, []Term{{x, in[3], 1}, {x, in[4], -0.5}}, nil, in[5], 128, 0)}
			},
		}
	})
}

// TestCrossEntropyFrozen computes the loss alone, for logits whose exp overflows.
func TestCrossEntropyFrozen(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C, V := r.Dim(1, 130), r.Dim(1, 8), r.Dim(1, 300)
		x := r.F(N, C)
		for i := range x.Floats {
			x.Floats[i] *= 1000
		}
		return enginetest.Case{
			In: []enginetest.Input{x, r.F(V, C), targets(r, N, V)}, Tol: enginetest.Reduce(N + C + V), NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{LinearCrossEntropy(t, []Term{{in[0], in[1], 1}}, nil, in[2], 64, 0)}
			},
		}
	})
}

// One activation that is not finite makes the loss not finite, unless its row is not counted.
func TestCrossEntropyNonFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, token := range []int32{2, -1} {
			r := enginetest.NewRand(2)
			x := r.F(3, 4)
			x.Floats[5] = float32(bad)
			c := enginetest.Case{
				In: []enginetest.Input{x, r.F(65, 4), enginetest.Ints([]int32{1, token, 3}, 3)}, NoGradient: true,
				Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
					return []graph.Var{LinearCrossEntropy(t, []Term{{in[0], in[1], 1}}, nil, in[2], 64, 0)}
				},
			}
			for _, dev := range enginetest.Devices(t) {
				loss := enginetest.Outputs(t, dev, c)[0][0]
				if lost := math.IsNaN(loss - loss); lost != (token >= 0) {
					t.Errorf("%s: %v in a row of target %d gives loss %v", dev.Info().Backend, bad, token, loss)
				}
			}
		}
	}
}

// TestSmoothedCrossEntropy has the reference gradient by central differences, and the loss of transformers' LabelSmoother.
func TestSmoothedCrossEntropy(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C, V, smoothing := r.Dim(1, 150), r.Dim(1, 20), r.Dim(2, 200), r.Float32()*0.9+0.05
		return enginetest.Case{
			In: []enginetest.Input{r.F(N, C), r.F(V, C), targets(r, N, V), r.F(V)}, Tol: enginetest.Reduce(C + V), Ones: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{LinearCrossEntropy(t, []Term{{in[0], in[1], 0.7}}, in[3], in[2], 64, smoothing)}
			},
		}
	})
	// One feature of 1 makes the head's weights the logits of every row.
	logits := []float32{2, -1, 0.5, 3}
	const smoothing = 0.25
	c := enginetest.Case{
		In: []enginetest.Input{{Shape: []int{3, 1}, Floats: []float32{1, 1, 1}}, {Shape: []int{4, 1}, Floats: logits}, enginetest.Ints([]int32{0, -1, 2}, 3)}, NoGradient: true,
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
			return []graph.Var{LinearCrossEntropy(t, []Term{{in[0], in[1], 1}}, nil, in[2], 64, smoothing)}
		},
	}
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l))
	}
	nll, smoothed := 0.0, 0.0
	for _, target := range []int{0, 2} {
		for v, l := range logits {
			p := math.Log(sum) - float64(l) // −log p
			smoothed += p / float64(len(logits))
			if v == target {
				nll += p
			}
		}
	}
	want := (1-smoothing)*nll + smoothing*smoothed
	for _, dev := range enginetest.Devices(t) {
		if got := enginetest.Outputs(t, dev, c)[0][0]; math.Abs(got-want) > 1e-5 {
			t.Errorf("%s: loss %v, want %v", dev.Info().Backend, got, want)
		}
	}
}

func TestChunkRows(t *testing.T) {
	for _, c := range []struct{ n, vocab, want int }{
		{1, 10, 64}, {64, 4096, 64}, {65, 4096, 128}, {2048, 4096, 2048}, {8192, 4096, 4096},
		{1000, 32000, 512}, {2048, 128256, 128}, {100, 128256, 128}, {512, 1 << 20, 64},
	} {
		if got := ChunkRows(c.n, c.vocab); got != c.want {
			t.Errorf("ChunkRows(%d, %d) = %d, want %d", c.n, c.vocab, got, c.want)
		}
	}
}
