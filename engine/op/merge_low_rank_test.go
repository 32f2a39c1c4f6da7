package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// Both ways of storing the right factor give the sum that is computed here element by element.
func TestMergeLowRank(t *testing.T) {
	const scale = 0.75
	for seed := range uint64(6) {
		r := enginetest.NewRand(seed)
		M, N, R := r.Dim(1, 70), r.Dim(1, 70), r.Dim(1, 9)
		w, left, right, rightT := r.Frozen(M, N), r.Frozen(M, R), r.Frozen(R, N), r.Frozen(N, R)
		for j := range N {
			for k := range R {
				rightT.Floats[j*R+k] = right.Floats[k*N+j]
			}
		}
		want := wide(w.Floats)
		for i := range M {
			for j := range N {
				for k := range R {
					want[i*N+j] += scale * float64(left.Floats[i*R+k]) * float64(right.Floats[k*N+j])
				}
			}
		}
		for _, dev := range enginetest.Devices(t) {
			merged := enginetest.Outputs(t, dev, enginetest.Case{
				Name: t.Name(), In: []enginetest.Input{w, left, right, rightT}, NoGradient: true,
				Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
					a, b := Scale(t, in[0], 1), Scale(t, in[0], 1) // an input must not be changed in place
					MergeLowRank(t, a, in[1], in[2], false, scale)
					MergeLowRank(t, b, in[1], in[3], true, scale)
					return []graph.Var{a, b}
				},
			})
			for i, got := range merged {
				if msg := enginetest.Reduce(R).Compare(got, want); msg != "" {
					t.Errorf("seed %d on %s, right factor transposed %v: %s", seed, dev.Info().Backend, i == 1, msg)
				}
			}
		}
	}
}
