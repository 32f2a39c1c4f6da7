package op

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestNoise(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C := r.Dim(1, 30), r.Dim(1, 70)
		magnitude := int32(math.Float32bits(r.Float32()))
		return enginetest.Case{
			In: []enginetest.Input{r.F(N, C), enginetest.Ints([]int32{int32(r.Uint32()), 3}, 2), enginetest.Ints([]int32{magnitude}, 1)}, Tol: enginetest.Elementwise,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				x := Scale(t, in[0], 2)
				return []graph.Var{Noise(t, x, 1, in[1], in[2]), Noise(t, x, 2, in[1], in[2])}
			},
		}
	})
}

// TestNoiseIsUniform: mean and variance are those of a uniform distribution on [−m, m), and no value lies outside. The bounds
// are 5 standard deviations.
func TestNoiseIsUniform(t *testing.T) {
	const n, m = 1 << 16, 0.5
	c := enginetest.Case{
		In: []enginetest.Input{enginetest.NewRand(1).F(n), enginetest.Ints([]int32{8, 3}, 2), enginetest.Ints([]int32{int32(math.Float32bits(m))}, 1)}, NoGradient: true,
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
			return []graph.Var{Noise(t, in[0], 1, in[1], in[2]), Scale(t, in[0], 1)}
		},
	}
	for _, dev := range enginetest.Devices(t) {
		out := enginetest.Outputs(t, dev, c)
		sum, squares := 0.0, 0.0
		for i, y := range out[0] {
			u := y - out[1][i]
			if math.Abs(u) > m+1e-6 {
				t.Fatalf("%s: noise %v of magnitude %v", dev.Info().Backend, u, m)
			}
			sum, squares = sum+u, squares+u*u
		}
		// The variance of u is m²/3, that of u² is 4m⁴/45.
		if mean := sum / n; math.Abs(mean) > 5*m/math.Sqrt(3*n) {
			t.Errorf("%s: the mean is %v", dev.Info().Backend, mean)
		}
		if variance := squares / n; math.Abs(variance-m*m/3) > 5*m*m*math.Sqrt(4.0/45/n) {
			t.Errorf("%s: the variance is %v, want %v", dev.Info().Backend, variance, m*m/3)
		}
	}
}
