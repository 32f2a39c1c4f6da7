package op

import (
	"math"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestDropout(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, C, p := r.Dim(1, 30), r.Dim(1, 70), r.Float32()*0.9
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N, C), enginetest.Ints([]int32{int32(r.Uint32()), 3}, 2)},
			Tol: enginetest.Elementwise,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{Dropout(t, in[0], p, 1, in[1]), Dropout(t, in[0], p, 2, in[1]), Dropout(t, Scale(t, in[0], 1), 0, 3, in[1])}
			},
		}
	})
}

// TestRandom bounds what a mask is asked for: as many zeros as p says, in every site, step and micro-batch, and none
// that follow from their neighbours or from the same element of another mask. All bounds are 5 standard deviations.
func TestRandom(t *testing.T) {
	const n = 1 << 16
	bits := func(x, y, site uint32, threshold uint32) []float64 {
		b := make([]float64, n)
		for i := range b {
			if device.Random(x, y, site, uint32(i)) < threshold {
				b[i] = 1
			}
		}
		return b
	}
	for _, p := range []float64{0.05, 0.1, 0.5} {
		threshold := uint32(p * (1 << 32))
		base := bits(1, 0, 0, threshold)
		others := map[string][]float64{
			"next element": append(base[1:n:n], base[0]), "64 on": append(base[64:n:n], base[:64]...),
			"next step": bits(2, 0, 0, threshold), "next micro-batch": bits(1, 1, 0, threshold), "next site": bits(1, 0, 1, threshold),
		}
		for name, other := range others {
			mean, both := 0.0, 0.0
			for i := range base {
				mean += other[i] / n
				both += base[i] * other[i] / n
			}
			if d := math.Sqrt(p * (1 - p) / n); math.Abs(mean-p) > 5*d {
				t.Errorf("p %v, %s: %v are dropped", p, name, mean)
			}
			if d := math.Sqrt(p * p * (1 - p*p) / n); math.Abs(both-p*p) > 5*d {
				t.Errorf("p %v, %s: %v are dropped with the first, want %v", p, name, both, p*p)
			}
		}
	}
}

func TestDropoutRange(t *testing.T) {
	for _, p := range []float32{-0.1, 1, float32(math.NaN())} {
		err := graph.Record(func() {
			tape := graph.NewTape()
			Dropout(tape, tape.New([]int{3}), p, 0, tape.New([]int{2}))
		})
		if err == nil {
			t.Errorf("probability %v was accepted", p)
		}
	}
}
