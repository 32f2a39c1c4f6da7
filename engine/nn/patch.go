package nn

import (
	"llamatab/engine/graph"
	"llamatab/engine/op"
)

// Patch is what a fine-tuning method changes about a decoder. Models never mention methods. A decoder has one patch at a time,
// Decoder.Patch, and is the base model without one. A recording keeps the patch that the decoder had when its Input was made,
// so methods can be switched between recordings.
type Patch struct {
	// Linears are the projections that an adapter replaces.
	Linears map[*Linear]Adapter
	// Embed changes the embeddings of a batch (N, Hidden), nil for no change.
	Embed func(t *graph.Tape, in *Input, x graph.Var) graph.Var

	// Virtual is the number of virtual tokens before each sequence. The positions of the sequence follow theirs. The virtual
	// tokens are the rows of Prompt or of Prefix: one of the two is set if Virtual > 0.
	Virtual int
	// Prompt records the embeddings of the virtual tokens (Virtual, Hidden).
	Prompt func(t *graph.Tape) graph.Var
	// Prefix records their keys and values (Virtual, Layers·2·KVHeads·HeadDim): for each layer the keys, then the
	// values. Keys are used as they stand, without a rotation.
	Prefix func(t *graph.Tape) graph.Var

	// Attended adds to a layer's attention output before the residual sum, nil for no change. q are the rotated queries.
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

// patch is the decoder's patch, an empty one if it has none.
func (d *Decoder) patch() *Patch {
	if d.Patch == nil {
		return &Patch{}
	}
	return d.Patch
}

// Adapter replaces a projection.
type Adapter interface {
	// Project records the adapted projection of x. The projection without the adapter is l.Product plus l.Bias.
	Project(t *graph.Tape, in *Input, l *Linear, x graph.Var) graph.Var
}

// Additive is an adapter that only adds a term to the product. The output head takes no other adapter, because its product is
// computed in chunks of rows.
type Additive interface {
	Adapter
	Term(t *graph.Tape, in *Input, x graph.Var) op.Term
}
