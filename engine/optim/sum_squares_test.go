package optim

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// Each gradient has its own partial sums, which add up to the sum of its squares.
func TestSumSquares(t *testing.T) {
	for seed := range uint64(6) {
		r := enginetest.NewRand(seed)
		lengths := []int{r.Dim(1, 300), perPart + r.Dim(1, 9000), r.Dim(1, 20)}
		var in []enginetest.Input
		parts := 0
		for _, n := range lengths {
			in = append(in, r.Frozen(n))
			parts += Parts(n)
		}
		in[0].DType = tensor.BF16
		c := enginetest.Case{
			Name: t.Name(), In: in, NoGradient: true, Tol: enginetest.Reduce(perPart),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var { return []graph.Var{SumSquares(t, in...)} },
		}
		enginetest.Check(t, r, c)
		for _, dev := range enginetest.Devices(t) {
			got := enginetest.Outputs(t, dev, c)[0]
			if len(got) != parts {
				t.Fatalf("seed %d on %s: %d partial sums, want %d", seed, dev.Info().Backend, len(got), parts)
			}
			for i, x := range in {
				want, sum := 0.0, 0.0
				for _, v := range x.Floats {
					if x.DType == tensor.BF16 {
						v = tensor.F32FromBF16(tensor.BF16FromF32(v))
					}
					want += float64(v) * float64(v)
				}
				for _, p := range got[:Parts(lengths[i])] {
					sum += p
				}
				got = got[Parts(lengths[i]):]
				if msg := c.Tol.Compare([]float64{sum}, []float64{want}); msg != "" {
					t.Errorf("seed %d on %s: gradient %d: %s", seed, dev.Info().Backend, i, msg)
				}
			}
		}
	}
}
