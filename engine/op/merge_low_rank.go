package op

import (
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// MergeLowRank launches w += scale·left·right, or left·rightᵀ where right is stored transposed. It has no gradient.
//
// Shapes: w (M,N), left (M,r), right (r,N) or (N,r).
func MergeLowRank(t *graph.Tape, w, left, right graph.Var, transposed bool, scale float32) {
	t.Want("MergeLowRank", w, tensor.Of(w.Shape[0], w.Shape[1]))
	if transposed {
		matmulNT(t, left, right, w, scale, true)
	} else {
		matmulNN(t, left, right, w, scale, true)
	}
}
