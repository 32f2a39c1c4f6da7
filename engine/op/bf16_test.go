package op

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// TestBF16 packs into memory of its own and unpacks from there, ties, NaN and the ends of the range included.
func TestBF16(t *testing.T) {
	special := []float32{0, float32(math.Copysign(0, -1)), 1, 1.00390625, 1.01171875, -1.00390625, math.Pi, 65504,
		1e-40, -1e-40, math.SmallestNonzeroFloat32, math.MaxFloat32, -math.MaxFloat32, 3.3895e38, 3.3962e38,
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.Float32frombits(0xff800001)}
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		x := r.F(r.Dim(1, 400))
		copy(x.Floats, special[r.IntN(len(special)):])
		return enginetest.Case{
			In:         []enginetest.Input{x, r.BF16(len(x.Floats))},
			Tol:        enginetest.Exact,
			NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				y := t.New(in[0].Shape)
				PackBF16(t, in[0], in[1])
				UnpackBF16(t, in[1], y)
				return []graph.Var{y}
			},
		}
	})
}
