package op

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

// slotCase has queries, slots and a gate. Input i is frozen where bit i of frozen is set.
func slotCase(r *enginetest.Rand, frozen int) enginetest.Case {
	G, D := r.Dim(1, 5), 2*r.Dim(1, 20)
	s := AttentionShape{KVHeads: r.Dim(1, 3), HeadDim: D, Scale: float32(1 / math.Sqrt(float64(D)))}
	s.Heads = s.KVHeads * G
	N, K := r.Dim(1, 20), r.Dim(1, 17)
	in := []enginetest.Input{r.F(N, s.Heads*D), r.F(K, s.KVHeads*D), r.F(K, s.KVHeads*D), r.F(1)}
	for i := range in {
		in[i].Frozen = frozen>>i&1 == 1
	}
	return enginetest.Case{
		In: in, Tol: enginetest.Reduce(D * N),
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
			return []graph.Var{SlotAttention(t, in[0], in[1], in[2], in[3], s), SlotAttention(t, in[0], in[1], in[2], in[3], s)}
		},
	}
}

func TestSlotAttention(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case { return slotCase(r, 0) })
	for frozen := range 15 {
		r := enginetest.NewRand(uint64(frozen))
		enginetest.Check(t, r, slotCase(r, frozen))
	}
}
