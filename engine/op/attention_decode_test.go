package op

import (
	"math"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestAttentionDecode(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		G, D := r.Dim(1, 5), 2*[]int{1, 3, 4, 16, 32, 100}[r.IntN(6)]
		s := AttentionShape{B: r.Dim(1, 4), KVHeads: r.Dim(1, 3), HeadDim: D, Scale: float32(1 / math.Sqrt(float64(D)))}
		s.Heads = s.KVHeads * G
		cacheLen := r.Dim(1, 150)
		s.Window = r.IntN(2) * r.Dim(1, 160)
		position := make([]int32, s.B)
		for b := range position {
			position[b] = int32(r.IntN(cacheLen))
		}
		keys, width := s.B*cacheLen, s.KVHeads*D
		return enginetest.Case{
			In:  []enginetest.Input{r.F(s.B, s.Heads*D), r.F(keys, width), r.F(keys, width), enginetest.Ints(position, s.B)},
			Tol: enginetest.Reduce(cacheLen * D), NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{AttentionDecode(t, in[0], in[1], in[2], in[3], s, cacheLen)}
			},
		}
	})
}

// A token that attends to the cache has the output of the last row of the whole text.
func TestAttentionDecodeEqualsLastRow(t *testing.T) {
	for _, window := range []int{0, 1, 5, 15, 30} {
		decodeEqualsLastRow(t, AttentionShape{B: 1, T: 14, P: 3, Window: window, Heads: 6, KVHeads: 2, HeadDim: 4, Scale: 0.5})
	}
}

func decodeEqualsLastRow(t *testing.T, s AttentionShape) {
	t.Helper()
	const cacheLen = 20
	r := enginetest.NewRand(3)
	in := attentionCase(r, s, false).In
	q, k, v := wide(in[0].Floats), wide(in[1].Floats), wide(in[2].Floats)
	want := attentionOutput(q, k, v, counting(s.T), s)

	width := s.KVHeads * s.HeadDim
	var caches [2][]float64
	for i, x := range [][]float64{k, v} {
		caches[i] = wide(r.Floats(cacheLen*width, 1))
		position := make([]uint32, s.P+s.T)
		for n := range position {
			position[n] = uint32(n)
		}
		d := scatterDims{uint32(s.P + s.T), uint32(width), uint32(s.P + s.T), cacheLen}
		scatter.Ref(device.NewCall(&device.Launch{Dims: d}, []any{x, position, caches[i]}))
	}
	row := s.Heads * s.HeadDim
	got := make([]float64, row)
	window := uint32(cacheLen)
	if s.Window > 0 {
		window = min(window, uint32(s.Window))
	}
	d := decodeDims{1, cacheLen, window, uint32(s.Heads), uint32(s.KVHeads), uint32(s.HeadDim), s.Scale}
	attentionDecode.Ref(device.NewCall(&device.Launch{Dims: d}, []any{q[(s.T-1)*row:], caches[0], caches[1], []uint32{uint32(s.P + s.T - 1)}, got}))
	if msg := (enginetest.Tolerance{Rel: 1e-12}).Compare(got, want[(s.T-1)*row:]); msg != "" {
		t.Errorf("window %d: %s", s.Window, msg)
	}
}
