package op

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

func TestPrepend(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		B, P, T, C := r.Dim(1, 5), r.Dim(1, 9), r.Dim(1, 17), r.Dim(1, 40)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(P, C), r.F(B*T, C)},
			Tol: enginetest.Reduce(B),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				y := Prepend(t, in[0], in[1], B)
				return []graph.Var{y, WithoutFirst(t, y, B, P), Prepend(t, in[0], in[1], B)}
			},
		}
	})
}

// What was put before sequences and taken away again leaves them as they were.
func TestPrependIsUndone(t *testing.T) {
	const B, P, T, C = 3, 2, 5, 7
	r := enginetest.NewRand(1)
	rows, x := r.Frozen(P, C), r.Frozen(B*T, C)
	for _, dev := range enginetest.Devices(t) {
		y := enginetest.Outputs(t, dev, enginetest.Case{
			In: []enginetest.Input{rows, x}, NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{WithoutFirst(t, Prepend(t, in[0], in[1], B), B, P)}
			},
		})[0]
		if msg := enginetest.Exact.Compare(y, wide(x.Floats)); msg != "" {
			t.Errorf("%s: %s", dev.Info().Backend, msg)
		}
	}
}

func TestSliceColumns(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, W := r.Dim(1, 20), r.Dim(1, 70)
		from := r.IntN(W)
		C := 1 + r.IntN(W-from)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, W)},
			Tol: enginetest.Elementwise,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				// Of a value that is no input, the gradient starts out as nothing.
				return []graph.Var{SliceColumns(t, in[0], from, C), SliceColumns(t, Scale(t, in[0], 2), from, C), SliceColumns(t, in[0], 0, W)}
			},
		}
	})
}

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

// slotCase has queries, slots and a gate; those for which frozen has a bit get no gradient.
func slotCase(r *enginetest.Rand, frozen int) enginetest.Case {
	G, D := r.Dim(1, 5), 2*r.Dim(1, 20)
	s := AttentionShape{KVHeads: r.Dim(1, 3), HeadDim: D, Scale: float32(1 / math.Sqrt(float64(D)))}
	s.Heads = s.KVHeads * G
	N, K := r.Dim(1, 20), r.Dim(1, 17)
	in := []enginetest.Input{r.F(N, s.Heads*D), r.F(K, s.KVHeads*D), r.F(K, s.KVHeads*D), r.F(1)}
	for i := range in {
		in[i].Frozen = frozen>>i&1 == 1
	}
	return enginetest.Case{
		In: in, Tol: enginetest.Reduce(D * N),
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
			return []graph.Var{SlotAttention(t, in[0], in[1], in[2], in[3], s), SlotAttention(t, in[0], in[1], in[2], in[3], s)}
		},
	}
}

func TestSlotAttention(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case { return slotCase(r, 0) })
	for frozen := range 15 {
		r := enginetest.NewRand(uint64(frozen))
		enginetest.Check(t, r, slotCase(r, frozen))
	}
}

// The gain makes the rows of the adapted weight as long as m says, and the norm counts as a constant.
func TestDoRAGain(t *testing.T) {
	for _, stored := range []tensor.DType{tensor.F32, tensor.BF16} {
		enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
			O, I, R := r.Dim(1, 40), 2*r.Dim(1, 50), r.Dim(1, 9)
			w := r.Frozen(O, I)
			w.DType = stored
			return enginetest.Case{
				In:  []enginetest.Input{w, r.Frozen(R, I), r.Frozen(O, R), r.F(O)},
				Tol: enginetest.Reduce(I * R),
				Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
					return []graph.Var{DoRAGain(t, in[0], in[1], in[2], in[3], 0.3)}
				},
			}
		})
	}
	r := enginetest.NewRand(1)
	const O, I, R, s = 7, 12, 3, 0.7
	w, a, b, m := r.Floats(O*I, 1), r.Floats(R*I, 1), r.Floats(O*R, 1), r.Floats(O, 1)
	frozen := func(x []float32, shape ...int) enginetest.Input {
		return enginetest.Input{Shape: tensor.Of(shape...), Floats: x, Frozen: true}
	}
	for _, dev := range enginetest.Devices(t) {
		gain := enginetest.Outputs(t, dev, enginetest.Case{
			In:         []enginetest.Input{frozen(w, O, I), frozen(a, R, I), frozen(b, O, R), frozen(m, O)},
			NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{DoRAGain(t, in[0], in[1], in[2], in[3], s)}
			},
		})[0]
		for o := range O {
			norm := 0.0
			for i := range I {
				x := float64(w[o*I+i])
				for j := range R {
					x += s * float64(b[o*R+j]) * float64(a[j*I+i])
				}
				norm += x * x
			}
			if want := float64(m[o]) / math.Sqrt(norm); math.Abs(gain[o]-want) > 1e-5*math.Abs(want) {
				t.Errorf("%s: gain %d is %v, want %v", dev.Info().Backend, o, gain[o], want)
			}
		}
	}
}

func TestAddBias(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C := r.Dim(1, 70), r.Dim(1, 70)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, C), r.F(C)},
			Tol: enginetest.Reduce(N),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				y := Scale(t, in[0], 1.5) // what is changed in place must not be an input
				AddBias(t, y, in[1])
				return []graph.Var{y}
			},
		}
	})
}
