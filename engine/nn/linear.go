package nn

import (
	"llamatab/engine/graph"
	"llamatab/engine/op"
)

// Linear is y = x·Wᵀ + b, with whatever methods have attached to it.
type Linear struct {
	Path    string // the module's name in the model, "model.layers.3.self_attn.q_proj"
	In, Out int
	Weight  *Param // (Out, In)
	Bias    *Param // (Out), nil for none

	adapters []Adapter
}

// Adapter is the first of the decoder's slots: it replaces a projection W·x by W·x + Scale·B·(…).
type Adapter interface {
	// Term returns what to add to the projection of x.
	Term(t *graph.Tape, in *Input, x graph.Var) op.Term
}

// Attach adds an adapter to the projection.
func (l *Linear) Attach(a Adapter) { l.adapters = append(l.adapters, a) }

// Terms lists the addends of the projection of x, the base weight's first.
func (l *Linear) Terms(t *graph.Tape, in *Input, x graph.Var) []op.Term {
	terms := []op.Term{{X: x, W: l.Weight.Var(t), Scale: 1}}
	for _, a := range l.adapters {
		terms = append(terms, a.Term(t, in, x))
	}
	return terms
}

// Forward records the projection of x (…,In) → (…,Out).
func (l *Linear) Forward(t *graph.Tape, in *Input, x graph.Var) graph.Var {
	var bias graph.Var
	if l.Bias != nil {
		bias = l.Bias.Var(t)
	}
	return op.Linear(t, l.Terms(t, in, x), bias)
}
