package op

import (
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// AddLinear adds Scale·X·Wᵀ to y in place. Nothing before it may need y as it was.
//
// Shapes: X (…,in), W (out,in), y (…,out).
func AddLinear(t *graph.Tape, y graph.Var, term Term) {
	matmulNT(t, term.X, term.W, y, term.Scale, true)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(term.X, func(dx graph.Var) { matmulNN(t, dy, term.W, dx, term.Scale, false) })
		t.Accumulate(term.W, func(dw graph.Var) { matmulTN(t, dy, term.X, dw, term.Scale, false) })
	})
}

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
