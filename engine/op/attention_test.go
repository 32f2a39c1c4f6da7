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
		s.Scale = 0.3
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			for _, packed := range []bool{false, true} {
				r := enginetest.NewRand(uint64(seed))
				enginetest.Check(t, r, attentionCase(r, s, packed))
			}
		})
	}
}

// Head widths, ratios of heads, prefixes and lengths of all kinds; every variant that fits runs in a browser. The long tests
// have more widths, as the shaders of each are others and a software adapter compiles them for seconds.
func TestAttention(t *testing.T) {
	checkAttention(t,
		AttentionShape{B: 1, T: 1, Heads: 1, KVHeads: 1, HeadDim: 2},
		AttentionShape{B: 2, T: 5, Heads: 4, KVHeads: 2, HeadDim: 8},
		AttentionShape{B: 3, T: 2, P: 5, Heads: 2, KVHeads: 1, HeadDim: 8},
		AttentionShape{B: 1, T: 67, P: 3, Heads: 15, KVHeads: 5, HeadDim: 6},
		AttentionShape{B: 2, T: 33, P: 1, Heads: 9, KVHeads: 3, HeadDim: 8},
		AttentionShape{B: 1, T: 40, Heads: 2, KVHeads: 2, HeadDim: 32},
	)
}

// A sliding window hides what lies before the last keys, of a prefix, too.
func TestAttentionWindow(t *testing.T) {
	checkAttention(t,
		AttentionShape{B: 2, T: 71, Window: 9, Heads: 6, KVHeads: 2, HeadDim: 8},
		AttentionShape{B: 1, T: 30, P: 6, Window: 8, Heads: 2, KVHeads: 2, HeadDim: 8},
	)
}

// Queries of a window have the outputs that each has alone over the keys of its window.
func TestAttentionWindowEqualsAlone(t *testing.T) {
	s := AttentionShape{B: 1, T: 12, P: 2, Heads: 6, KVHeads: 2, HeadDim: 4, Scale: 0.5}
	in := attentionCase(enginetest.NewRand(7), s, false).In
	q, k, v := wide(in[0].Floats), wide(in[1].Floats), wide(in[2].Floats)
	qw, kw := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim
	for _, s.Window = range []int{1, 2, 5, 13, 14, 15} {
		got := attentionOutput(q, k, v, counting(s.T), s)
		for i := range s.T {
			last := s.P + i // the query's own key
			first := max(last-s.Window+1, 0)
			alone := s
			alone.T, alone.P, alone.Window = 1, last-first, 0
			want := attentionOutput(q[i*qw:][:qw], k[first*kw:(last+1)*kw], v[first*kw:(last+1)*kw], []int32{0}, alone)
			if msg := enginetest.Exact.Compare(got[i*qw:][:qw], want); msg != "" {
				t.Errorf("window %d, query %d: %s", s.Window, i, msg)
			}
		}
	}
}

// The number of operations counts the pairs of a query and a key that it sees.
func TestAttentionFlops(t *testing.T) {
	for _, s := range []AttentionShape{
		{B: 1, T: 9, Heads: 2, KVHeads: 1, HeadDim: 2}, {B: 3, T: 9, P: 4, Heads: 2, KVHeads: 1, HeadDim: 2},
		{B: 1, T: 9, P: 4, Window: 1, Heads: 2, KVHeads: 1, HeadDim: 2}, {B: 1, T: 9, P: 4, Window: 3, Heads: 2, KVHeads: 1, HeadDim: 2},
		{B: 1, T: 9, P: 4, Window: 7, Heads: 2, KVHeads: 1, HeadDim: 2}, {B: 2, T: 9, P: 4, Window: 12, Heads: 2, KVHeads: 1, HeadDim: 2},
		{B: 2, T: 9, P: 4, Window: 14, Heads: 2, KVHeads: 1, HeadDim: 2},
	} {
		d, pairs := s.dims("test"), 0
		positions := make([]uint32, s.B*s.T)
		for i := range positions {
			positions[i] = uint32(i % s.T)
		}
		d.eachPair(positions, func(int, int) { pairs++ })
		if got, want := attentionFlops(5)(d), float64(5*s.HeadDim*pairs); got != want {
			t.Errorf("%+v: %v operations, want %v", s, got, want)
		}
		if s.Window > 0 && s.P > 0 {
			continue // refused in packed rows
		}
		pairs = 0
		copy(positions, []uint32{0, 1, 2, 3, 0, 1, 0, 1, 2})
		packed := s
		packed.B = 1
		packed.dims("test").eachPair(positions, func(int, int) { pairs++ })
		seen := func(int) float64 { return 10 + 3 + 6 } // documents of 4, 2 and 3
		if got, want := PackedFlops(seen)(d, attentionFlops(5)(d)), float64(5*s.B*s.HeadDim*pairs); math.Abs(got-want) > 1e-9*want {
			t.Errorf("%+v packed: %v operations, want %v", s, got, want)
		}
	}
	if got := PackedFlops(nil)(matmulDims{}, 7); got != 7 {
		t.Errorf("a product of matrices in packed rows: %v operations, want 7", got)
	}
}

// Frozen inputs get no gradient. An input of two calls gets the sum of both gradients.
func TestAttentionFrozenInputs(t *testing.T) {
	s := AttentionShape{B: 2, T: 7, Heads: 2, KVHeads: 1, HeadDim: 8, Scale: 0.5}
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

// Scores in the thousands neither overflow nor lose the share of smaller scores.
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

// Documents packed into one row have the outputs that each has alone, and later positions have no influence.
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
