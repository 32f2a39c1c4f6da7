package op

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// awkward are ties, NaN and the ends of the ranges of both formats, subnormal numbers included.
var awkward = []float32{0, float32(math.Copysign(0, -1)), 1, 1.00390625, 1.01171875, -1.00390625, math.Pi, 65504, 65519.996, 65520, -1e30,
	1.00048828125, 1.00146484375, 6.0975552e-05, 6.1005354e-05, 5.9604645e-08, 2.9802322e-08, 2.9802326e-08, -8.940697e-08,
	1e-40, -1e-40, math.SmallestNonzeroFloat32, math.MaxFloat32, -math.MaxFloat32, 3.3895e38, 3.3962e38,
	float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.Float32frombits(0xff800001)}

// TestPack packs into memory of its own and unpacks from there, and rounds in place.
func TestPack(t *testing.T) {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
		t.Run(d.String(), func(t *testing.T) {
			enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
				x := r.F(r.Dim(1, 400))
				copy(x.Floats, awkward[r.IntN(len(awkward)):])
				packed := enginetest.Input{Shape: x.Shape, DType: d, Floats: make([]float32, len(x.Floats)), Frozen: true}
				return enginetest.Case{
					In:         []enginetest.Input{x, packed},
					Tol:        enginetest.Exact,
					NoGradient: true,
					Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
						y := t.New(in[0].Shape)
						Pack(t, in[0], in[1])
						Unpack(t, in[1], y)
						t.Store(d)
						z := t.New(in[0].Shape)
						t.Copy(z, in[0])
						t.OnBackward(z, func(graph.Var) {}) // as an op's output, z is rounded before it is read
						return []graph.Var{y, z}
					},
				}
			})
		})
	}
}
