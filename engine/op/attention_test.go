package op

import (
	"fmt"
	"math"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// counting is 0, 1, … T−1, the positions of a row that holds one document.
func counting(T int) []int32 {
	p := make([]int32, T)
	for i := range p {
		p[i] = int32(i)
	}
	return p
}

// packedPositions are those of a row of T positions that holds documents of random lengths.
func packedPositions(r *enginetest.Rand, T int) []int32 {
	p := make([]int32, T)
	for i := 1; i < T; i++ {
		if r.IntN(9) > 0 {
			p[i] = p[i-1] + 1
		}
	}
	return p
}

func attentionCase(r *enginetest.Rand, s AttentionShape, packed bool) enginetest.Case {
	var positions []int32
	for range s.B {
		if packed {
			positions = append(positions, packedPositions(r, s.T)...)
		} else {
			positions = append(positions, counting(s.T)...)
		}
	}
	return enginetest.Case{
		Name: fmt.Sprintf("%+v packed %v", s, packed),
		In: []enginetest.Input{
			r.F(s.B*s.T, s.Heads*s.HeadDim), r.F(s.B*(s.P+s.T), s.KVHeads*s.HeadDim), r.F(s.B*(s.P+s.T), s.KVHeads*s.HeadDim),
			enginetest.Ints(positions, s.B*s.T),
		},
		Tol: enginetest.Reduce(s.HeadDim * (s.P + s.T)),
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
			return []graph.Var{Attention(t, in[0], in[1], in[2], in[3], s)}
		},
	}
}

func checkAttention(t *testing.T, shapes ...AttentionShape) {
	for seed, s := range shapes {
		for _, packed := range []bool{false, true} {
			s.Scale = 0.3
			r := enginetest.NewRand(uint64(seed))
			enginetest.Check(t, r, attentionCase(r, s, packed))
		}
	}
}

// Head widths, ratios of heads, prefixes and lengths of all kinds; every variant that fits runs in a browser.
func TestAttention(t *testing.T) {
	checkAttention(t,
		AttentionShape{B: 1, T: 1, Heads: 1, KVHeads: 1, HeadDim: 2},
		AttentionShape{B: 2, T: 5, Heads: 4, KVHeads: 2, HeadDim: 8},
		AttentionShape{B: 3, T: 2, P: 5, Heads: 2, KVHeads: 1, HeadDim: 8},
		AttentionShape{B: 1, T: 67, P: 3, Heads: 15, KVHeads: 5, HeadDim: 6},
		AttentionShape{B: 2, T: 33, P: 1, Heads: 9, KVHeads: 3, HeadDim: 16},
		AttentionShape{B: 1, T: 40, Heads: 2, KVHeads: 2, HeadDim: 64},
	)
}

// Only what is wanted gets a gradient, and what is used twice gets both.
func TestAttentionFrozenInputs(t *testing.T) {
	s := AttentionShape{B: 2, T: 7, Heads: 2, KVHeads: 1, HeadDim: 4, Scale: 0.5}
	for frozen := range 8 {
		r := enginetest.NewRand(1)
		c := attentionCase(r, s, false)
		for i := range 3 {
			c.In[i].Frozen = frozen>>i&1 == 1
		}
		c.Name = fmt.Sprintf("frozen %03b", frozen)
		c.Fn = func(t *graph.Tape, in []graph.Var) []graph.Var {
			return []graph.Var{Attention(t, in[0], in[1], in[2], in[3], s), Attention(t, in[0], in[1], in[2], in[3], s)}
		}
		enginetest.Check(t, r, c)
	}
}

// Scores in the thousands neither overflow nor lose what the smaller ones add.
func TestAttentionLargeScores(t *testing.T) {
	r := enginetest.NewRand(1)
	c := attentionCase(r, AttentionShape{B: 1, T: 20, Heads: 2, KVHeads: 1, HeadDim: 8, Scale: 1}, false)
	for i := range c.In[0].Floats {
		c.In[0].Floats[i] *= 300
	}
	// float32 rounds scores near 1000 by 6e-5, and exp turns that into as much of a share.
	c.Name, c.Tol, c.NoGradient = "large scores", enginetest.Tolerance{Rel: 5e-4}, true
	enginetest.Check(t, r, c)
}

// attentionOutput runs the reference.
func attentionOutput(q, k, v []float64, positions []int32, s AttentionShape) []float64 {
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
	in := attentionCase(enginetest.NewRand(7), s, false).In
	q, k, v := wide(in[0].Floats), wide(in[1].Floats), wide(in[2].Floats)
	got := attentionOutput(q, k, v, []int32{0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 5}, s)
	qw, kw := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim
	for _, doc := range [][2]int{{0, 5}, {5, 6}, {6, 12}} {
		from, to := doc[0], doc[1]
		alone := s
		alone.T = to - from
		want := attentionOutput(q[from*qw:to*qw], k[from*kw:to*kw], v[from*kw:to*kw], counting(to-from), alone)
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
				cache := Scale(t, in[1], 1) // what is changed in place must not be an input
				Scatter(t, in[0], cache, in[2], cacheLen)
				return []graph.Var{cache}
			},
		}
	})
}
