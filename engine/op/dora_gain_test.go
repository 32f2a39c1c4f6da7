package op

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// Scaled by the gain, the rows of the adapted weight have the norms m. The norm counts as a constant.
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
