package op

import "llamatab/engine/graph"

// AddLinear adds Scale·X·Wᵀ to y in place. No op before it may read y in its backward pass.
//
// Shapes: X (…,in), W (out,in), y (…,out).
func AddLinear(t *graph.Tape, y graph.Var, term Term) {
	matmulNT(t, term.X, term.W, y, term.Scale, true)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(term.X, func(dx graph.Var) { matmulNN(t, dy, term.W, dx, term.Scale, false) })
		t.Accumulate(term.W, func(dw graph.Var) { matmulTN(t, dy, term.X, dw, term.Scale, false) })
	})
}
