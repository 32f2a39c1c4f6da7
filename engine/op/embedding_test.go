package op

import (
	"slices"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func lookup(r *enginetest.Rand, n, v int) (ids []int32, in []enginetest.Input) {
	ids = make([]int32, n)
	for i := range ids {
		ids[i] = int32(r.IntN(v))
	}
	order, starts := LookupIndex(ids)
	return ids, []enginetest.Input{enginetest.Ints(ids, n), enginetest.Ints(order, n), enginetest.Ints(starts, n+1)}
}

func TestEmbedding(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N, V, C := r.Dim(1, 70), r.Dim(1, 40), r.Dim(1, 70)
		_, in := lookup(r, N, V)
		return enginetest.Case{
			In:  append(in, r.F(V, C), r.BF16(V, C)),
			Tol: enginetest.Reduce(N),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				lk := Lookup{in[0], in[1], in[2]}
				computed := Scale(t, in[3], 2) // its gradient holds nothing yet
				return []graph.Var{Embedding(t, in[3], lk), Embedding(t, in[4], lk), Embedding(t, computed, lk)}
			},
		}
	})
}

func TestLookupIndex(t *testing.T) {
	for _, c := range []struct{ ids, order, starts []int32 }{
		{[]int32{5}, []int32{0}, []int32{0, 1}},
		{[]int32{7, 2, 7, 2, 9}, []int32{1, 3, 0, 2, 4}, []int32{0, 2, 4, 5, 5, 5}},
		{[]int32{3, 3, 3}, []int32{0, 1, 2}, []int32{0, 3, 3, 3}},
		{[]int32{2, 1, 0}, []int32{2, 1, 0}, []int32{0, 1, 2, 3}},
		{nil, []int32{}, []int32{0}},
	} {
		if order, starts := LookupIndex(c.ids); !slices.Equal(order, c.order) || !slices.Equal(starts, c.starts) {
			t.Errorf("LookupIndex(%v) = %v, %v, want %v, %v", c.ids, order, starts, c.order, c.starts)
		}
	}
}
