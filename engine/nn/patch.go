package nn

import (
	"llamatab/engine/graph"
	"llamatab/engine/op"
)

// Patch is what a fine-tuning method changes about a decoder: the places where it may act. Models never mention methods.
// A decoder has one patch at a time, Decoder.Patch, which a recording takes over when its Input is made; without one it is
// the base model. So methods can be switched between recordings.
type Patch struct {
	// Linears are the projections that compute something else.
	Linears map[*Linear]Adapter
	// Embed, where set, changes the embeddings of a batch (N, Hidden).
	Embed func(t *graph.Tape, in *Input, x graph.Var) graph.Var

	// Virtual is the number of virtual tokens before each sequence, whose positions come after theirs. They are rows of
	// Prompt or of Prefix, of which one is set where there are any.
	Virtual int
	// Prompt records the embeddings of the virtual tokens (Virtual, Hidden).
	Prompt func(t *graph.Tape) graph.Var
	// Prefix records their keys and values (Virtual, Layers·2·KVHeads·HeadDim): for each layer the keys, then the
	// values. Keys are used as they stand, without a rotation.
	Prefix func(t *graph.Tape) graph.Var

	// Attended, where set, adds to a layer's attention output before the residual sum, given the rotated queries.
	Attended func(t *graph.Tape, in *Input, layer int, q, attended graph.Var) graph.Var
}

// prompt is the number of rows before each sequence's embeddings.
func (p *Patch) prompt() int {
	if p.Prompt == nil {
		return 0
	}
	return p.Virtual
}

// Prompt is the number of rows that the patch puts before the embeddings of each sequence.
func (d *Decoder) Prompt() int { return d.patch().prompt() }

// Virtual is the number of positions that the patch takes before the first token's.
func (d *Decoder) Virtual() int { return d.patch().Virtual }

// patch is the decoder's, an empty one for none.
func (d *Decoder) patch() *Patch {
	if d.Patch == nil {
		return &Patch{}
	}
	return d.Patch
}

// Adapter replaces a projection.
type Adapter interface {
	// Project records the adapted projection of x. What it adapts is l.Product and l.Bias.
	Project(t *graph.Tape, in *Input, l *Linear, x graph.Var) graph.Var
}

// Additive is an adapter that only adds a term to the product. It is the one kind that fits the output head, whose logits
// are never there as a whole.
type Additive interface {
	Adapter
	Term(t *graph.Tape, in *Input, x graph.Var) op.Term
}
