package nn

import (
	"llamatab/engine/graph"
	"llamatab/engine/op"
)

// Linear is a projection y = x·Wᵀ + b. A patch may replace it by an Adapter.
type Linear struct {
	Path    string // the module's name in the model, "model.layers.3.self_attn.q_proj"
	In, Out int
	Weight  *Param // (Out, In)
	Bias    *Param // (Out), nil for none
}

// Product records x·Wᵀ and further terms → (…,Out), without the bias.
func (l *Linear) Product(t *graph.Tape, x graph.Var, further ...op.Term) graph.Var {
	return op.Linear(t, append([]op.Term{l.Base(t, x)}, further...), nil)
}

// Base is the term x·Wᵀ of the base weight.
func (l *Linear) Base(t *graph.Tape, x graph.Var) op.Term {
	return op.Term{X: x, W: l.Weight.Var(t), Scale: 1}
}

// Plain records the projection of x (…,In) → (…,Out) with further terms.
func (l *Linear) Plain(t *graph.Tape, x graph.Var, further ...op.Term) graph.Var {
	var bias graph.Var
	if l.Bias != nil {
		bias = l.Bias.Var(t)
	}
	return op.Linear(t, append([]op.Term{l.Base(t, x)}, further...), bias)
}

// Forward records the projection of x (…,In) → (…,Out), by the adapter of the input's patch if there is one.
func (l *Linear) Forward(t *graph.Tape, in *Input, x graph.Var) graph.Var {
	if a, ok := in.patch.Linears[l]; ok {
		return a.Project(t, in, l, x)
	}
	return l.Plain(t, x)
}

// Terms lists the terms of the product with x, the base weight's first, for an op that computes the sum itself. An adapter
// that is not Additive fails the recording.
func (l *Linear) Terms(t *graph.Tape, in *Input, x graph.Var) []op.Term {
	terms := []op.Term{l.Base(t, x)}
	if a, ok := in.patch.Linears[l]; ok {
		additive, ok := a.(Additive)
		if !ok {
			graph.Fail("%s: an adapter that is not additive", l.Path)
		}
		terms = append(terms, additive.Term(t, in, x))
	}
	return terms
}
