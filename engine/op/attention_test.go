package op

import (
	"fmt"
	"math"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// packed makes positions that restart at random places in each of B rows of T.
func packed(r *enginetest.Rand, B, T int) []int32 {
	positions := make([]int32, B*T)
	for n := range positions {
		if n%T > 0 && r.IntN(8) > 0 {
			positions[n] = positions[n-1] + 1
		}
	}
	return positions
}

// counting makes positions 0 to T−1 in each of B rows.
func counting(B, T int) []int32 {
	positions := make([]int32, B*T)
	for n := range positions {
		positions[n] = int32(n % T)
	}
	return positions
}

func attentionInputs(r *enginetest.Rand, s AttentionShape, positions []int32) []enginetest.Input {
	keys, width := s.B*(s.P+s.T), s.KVHeads*s.HeadDim
	return []enginetest.Input{r.F(s.B*s.T, s.Heads*s.HeadDim), r.F(keys, width), r.F(keys, width), enginetest.Ints(positions, s.B*s.T)}
}

func TestAttention(t *testing.T) {
	for i, s := range []AttentionShape{
		{B: 1, T: 1, Heads: 1, KVHeads: 1, HeadDim: 2},
		{B: 2, T: 13, P: 3, Heads: 3, KVHeads: 1, HeadDim: 6},
		{B: 1, T: 33, Heads: 4, KVHeads: 4, HeadDim: 8},
		{B: 2, T: 70, P: 5, Heads: 9, KVHeads: 3, HeadDim: 16},
		{B: 1, T: 17, P: 1, Heads: 15, KVHeads: 5, HeadDim: 10},
		{B: 1, T: 40, Heads: 4, KVHeads: 2, HeadDim: 64},
		{B: 1, T: 11, P: 2, Heads: 2, KVHeads: 1, HeadDim: 128},
	} {
		s.Scale = float32(1 / math.Sqrt(float64(s.HeadDim)))
		for _, pack := range []bool{false, true} {
			r := enginetest.NewRand(uint64(i))
			positions := counting(s.B, s.T)
			if pack {
				positions = packed(r, s.B, s.T)
			}
			enginetest.Check(t, r, enginetest.Case{
				Name: fmt.Sprintf("%+v packed %v", s, pack), In: attentionInputs(r, s, positions), Tol: enginetest.Reduce(s.T * s.HeadDim),
				Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
					return []graph.Var{Attention(t, in[0], in[1], in[2], in[3], s)}
				},
			})
			if t.Failed() {
				return
			}
		}
	}
}

// Only what is wanted is written, and what is used twice is added to.
func TestAttentionPartialGradients(t *testing.T) {
	s := AttentionShape{B: 2, T: 9, Heads: 4, KVHeads: 2, HeadDim: 4, Scale: 0.5}
	for frozen := range 8 {
		r := enginetest.NewRand(uint64(frozen))
		in := attentionInputs(r, s, counting(s.B, s.T))
		for i := range 3 {
			in[i].Frozen = frozen>>i&1 == 1
		}
		enginetest.Check(t, r, enginetest.Case{
			Name: fmt.Sprintf("frozen %03b", frozen), In: in, Tol: enginetest.Reduce(s.T * s.HeadDim),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{
					Attention(t, in[0], in[1], in[2], in[3], s),
					Attention(t, in[0], in[1], in[2], in[3], s),
				}
			},
		})
	}
}

// The largest scores that float32 can be expected to meet neither overflow nor lose the smaller ones' share.
func TestAttentionLargeScores(t *testing.T) {
	s := AttentionShape{B: 1, T: 20, Heads: 2, KVHeads: 1, HeadDim: 8, Scale: 1}
	r := enginetest.NewRand(1)
	in := attentionInputs(r, s, counting(s.B, s.T))
	for i := range in[0].Floats {
		in[0].Floats[i] *= 100
	}
	enginetest.Check(t, r, enginetest.Case{
		// Scores near 1000 are rounded by 6e-5 and so, by exp, is the share.
		Name: "large scores", In: in, Tol: enginetest.Tolerance{Rel: 5e-4}, NoGradient: true,
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
			return []graph.Var{Attention(t, in[0], in[1], in[2], in[3], s)}
		},
	})
}

// forward runs the reference on one batch row.
func forward(q, k, v []float64, positions []int32, s AttentionShape) []float64 {
	o := make([]float64, len(q))
	at := make([]uint32, len(positions))
	for i, p := range positions {
		at[i] = uint32(p)
	}
	attentionForward.Ref(device.NewCall(&device.Launch{Dims: s.dims("test")}, []any{q, k, v, at, o, make([]float64, s.B*s.T*s.Heads)}))
	return o
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i := range x {
		y[i] = float64(x[i])
	}
	return y
}

// Documents packed into one row give what each gives alone, and what comes later does not matter.
func TestAttentionPackedEqualsSeparate(t *testing.T) {
	s := AttentionShape{B: 1, T: 12, Heads: 6, KVHeads: 2, HeadDim: 4, Scale: 0.5}
	r := enginetest.NewRand(7)
	in := attentionInputs(r, s, nil)
	q, k, v := wide(in[0].Floats), wide(in[1].Floats), wide(in[2].Floats)
	got := forward(q, k, v, []int32{0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 5}, s)
	qw, kw := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim
	for _, doc := range [][2]int{{0, 5}, {5, 6}, {6, 12}} {
		from, to := doc[0], doc[1]
		alone := s
		alone.T = to - from
		want := forward(q[from*qw:to*qw], k[from*kw:to*kw], v[from*kw:to*kw], counting(1, to-from), alone)
		if msg := enginetest.Exact.Compare(got[from*qw:to*qw], want); msg != "" {
			t.Errorf("document at %d: %s", from, msg)
		}
	}
}

func TestAttentionDecode(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		G, D := r.Dim(1, 5), 2*[]int{1, 3, 4, 16, 32, 100}[r.IntN(6)]
		s := AttentionShape{B: r.Dim(1, 4), KVHeads: r.Dim(1, 3), HeadDim: D, Scale: float32(1 / math.Sqrt(float64(D)))}
		s.Heads = s.KVHeads * G
		cacheLen := r.Dim(1, 150)
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

// A token read through the cache sees what it would see as the last row of the whole text.
func TestAttentionDecodeEqualsLastRow(t *testing.T) {
	s := AttentionShape{B: 1, T: 14, P: 3, Heads: 6, KVHeads: 2, HeadDim: 4, Scale: 0.5}
	const cacheLen = 20
	r := enginetest.NewRand(3)
	in := attentionInputs(r, s, nil)
	q, k, v := wide(in[0].Floats), wide(in[1].Floats), wide(in[2].Floats)
	want := forward(q, k, v, counting(1, s.T), s)

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
	d := decodeDims{1, cacheLen, uint32(s.Heads), uint32(s.KVHeads), uint32(s.HeadDim), s.Scale}
	attentionDecode.Ref(device.NewCall(&device.Launch{Dims: d}, []any{q[(s.T-1)*row:], caches[0], caches[1], []uint32{uint32(s.P + s.T - 1)}, got}))
	if msg := (enginetest.Tolerance{Rel: 1e-12}).Compare(got, want[(s.T-1)*row:]); msg != "" {
		t.Error(msg)
	}
}

func TestScatter(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		B, cacheLen, C := r.Dim(1, 5), r.Dim(1, 20), r.Dim(1, 70)
		rows := 1 + r.IntN(cacheLen)
		position := make([]int32, B*rows)
		for n := range position {
			position[n] = int32(n%rows + cacheLen - rows)
		}
		position[0] = []int32{0, -1, int32(cacheLen)}[r.IntN(3)]
		return enginetest.Case{
			In:         []enginetest.Input{r.F(B*rows, C), r.F(B*cacheLen, C), enginetest.Ints(position, B*rows)},
			NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				cache := fresh(t, in[1])
				Scatter(t, in[0], cache, in[2], cacheLen)
				return []graph.Var{cache}
			},
		}
	})
}
