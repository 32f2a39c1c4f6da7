package op

import (
	"llamatab/engine/graph"
)

// Term is one addend of a linear map: Scale·X·Wᵀ, with X (…,in) and W (out,in).
type Term struct {
	X, W  graph.Var
	Scale float32
}

// Linear adds terms and, unless it is nil, a bias (out). A low-rank update is a second term.
//
//	y = Σ_i scale_i · X_i·W_iᵀ + bias
//	dX_i = scale_i · dy·W_i,   dW_i = scale_i · dyᵀ·X_i,   dbias = Σ_rows dy
//
// Shapes: X_i (…,in_i), W_i (out,in_i) → y (…,out). Nothing but the inputs is kept for the backward pass.
func Linear(t *graph.Tape, terms []Term, bias graph.Var) graph.Var {
	if len(terms) == 0 {
		graph.Fail("Linear: no terms")
	}
	lead := terms[0].X.Shape
	lead = lead[:len(lead)-1]
	y := t.New(append(lead[:len(lead):len(lead)], terms[0].W.Shape[0]))
	for i, term := range terms {
		if i == 0 {
			launchMatmul(t, formNT, term.X, term.W, bias, y, term.Scale, false)
		} else {
			matmulNT(t, term.X, term.W, y, term.Scale, true)
		}
	}
	t.OnBackward(y, func(dy graph.Var) {
		for _, term := range terms {
			t.Accumulate(term.X, func(dx graph.Var) { matmulNN(t, dy, term.W, dx, term.Scale, false) })
			t.Accumulate(term.W, func(dw graph.Var) { matmulTN(t, dy, term.X, dw, term.Scale, false) })
		}
		if bias != nil {
			t.Accumulate(bias, func(db graph.Var) { SumRows(t, dy, db) })
		}
	})
	return y
}
