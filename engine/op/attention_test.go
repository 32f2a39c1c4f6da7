package op

import (
	"fmt"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// packedPositions are those of rows of T positions that hold documents of random lengths.
func packedPositions(r *enginetest.Rand, B, T int) []int32 {
	var p []int32
	for range B {
		for at, start := 0, 0; at < T; at++ {
			if at > 0 && r.IntN(9) == 0 {
				start = at
			}
			p = append(p, int32(at-start))
		}
	}
	return p
}

func attentionCase(r *enginetest.Rand, s AttentionShape, packed bool) enginetest.Case {
	positions := packedPositions(r, s.B, s.T)
	if !packed {
		for i := range positions {
			positions[i] = int32(i % s.T)
		}
	}
	return enginetest.Case{
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

// Head widths, ratios of heads, prefixes and lengths of all kinds; every variant that fits runs in a browser.
func TestAttention(t *testing.T) {
	for seed, s := range []AttentionShape{
		{B: 1, T: 1, Heads: 1, KVHeads: 1, HeadDim: 2},
		{B: 2, T: 5, Heads: 4, KVHeads: 2, HeadDim: 8},
		{B: 1, T: 67, P: 3, Heads: 3, KVHeads: 1, HeadDim: 6},
		{B: 2, T: 33, P: 1, Heads: 9, KVHeads: 3, HeadDim: 16},
		{B: 1, T: 40, Heads: 2, KVHeads: 2, HeadDim: 64},
		{B: 1, T: 9, P: 5, Heads: 2, KVHeads: 1, HeadDim: 128},
	} {
		for _, packed := range []bool{false, true} {
			s.Scale = 0.3
			r := enginetest.NewRand(uint64(seed))
			c := attentionCase(r, s, packed)
			c.Name = fmt.Sprintf("%+v packed %v", s, packed)
			enginetest.Check(t, r, c)
		}
	}
}

// Only what is wanted gets a gradient.
func TestAttentionFrozenInputs(t *testing.T) {
	for frozen := range 7 {
		r := enginetest.NewRand(1)
		c := attentionCase(r, AttentionShape{B: 1, T: 7, Heads: 2, KVHeads: 1, HeadDim: 4, Scale: 0.5}, false)
		for i := range 3 {
			c.In[i].Frozen = frozen>>i&1 == 1
		}
		c.Name = fmt.Sprintf("frozen %03b", frozen)
		enginetest.Check(t, r, c)
	}
}
