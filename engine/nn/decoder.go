package nn

import (
	"fmt"
	"math"

	"llamatab/engine/graph"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// Dims are the sizes of a decoder, named as in Hugging Face's config.json.
type Dims struct {
	Vocab, Hidden, Intermediate, Layers int
	Heads, KVHeads, HeadDim             int
	MaxPositions                        int
	RMSNormEps                          float32
	// InvFreq are the HeadDim/2 rotary frequencies, scaling applied, in radians a position.
	InvFreq []float64
	// RopeScale multiplies the cosines and sines of the rotations, 1 for most models.
	RopeScale float32
	// AttentionDropout is the probability with which training drops an attention weight. The decoder does not compute it, so
	// training refuses a model that has it.
	AttentionDropout float64
	// Tied says that the output head is the embedding.
	Tied bool
	// Classes is the number of classes of a classifier, 0 for a language model.
	Classes int
	// PadToken is the id that fills up rows (pad_token_id), nil for none. A classifier does not read its class at such a token.
	PadToken *int32
}

// Block is one transformer layer.
type Block struct {
	InputNorm, PostAttentionNorm *Param // (Hidden)
	Q, K, V, O                   *Linear
	QNorm, KNorm                 *Param // (HeadDim) of each query and key before the rotation; nil for none
	Gate, Up, Down               *Linear

	Window int  // length of the attention's sliding window: a query sees its own key and the Window−1 before it; 0 for all
	NoRoPE bool // queries and keys are not rotated: the layer knows no positions but by the causal mask
}

// Decoder is a pre-norm transformer decoder:
//
//	x += Attention(RMSNorm(x));  x += MLP(RMSNorm(x))   for each block;   logits = RMSNorm(x)·Wᵀ
type Decoder struct {
	Dims
	Embedding *Param // (Vocab, Hidden)
	Blocks    []Block
	Norm      *Param // (Hidden)
	Head      *Linear
	Added     *AddedHead // nil for none
	Patch     *Patch     // what a fine-tuning method changes, nil for nothing

	// LabelSmoothing is the part ε of the loss that is the mean over the vocabulary, as transformers' label_smoothing_factor.
	LabelSmoothing float32
	// NoiseAlpha is NEFTune's α, 0 for no noise. While training, the embeddings get noise of the magnitude α / √(T·Hidden), where
	// T is the length of the longest row of the batch.
	NoiseAlpha float64
}

// Input is a batch on a tape: B rows of T tokens, right-padded. A pad comes after every real token of its row, so causal
// attention never reads it and no mask is needed. A patch may put Prompt virtual rows before the tokens of each sequence:
// N = B·(Prompt+T).
type Input struct {
	B, T      int
	Prompt    int
	Train     bool      // dropout is on
	Recompute int       // blocks whose activations are computed again in the backward pass (gradient checkpointing)
	Lookup    op.Lookup // token ids (B·T), and their order for the embedding's gradient
	Positions graph.Var // (N) I32: positions of the tokens in their documents
	Targets   graph.Var // (N) I32: the next token, negative where it is not counted; of a classifier the class (B)
	Last      op.Lookup // the last real token of each row, in a classifier (B)
	Seed      graph.Var // (2) I32: the seed of the dropout masks
	Rope      graph.Var // (positions, HeadDim/2, 2): cosines and sines
	Prefix    graph.Var // keys and values that Patch.Prefix recorded, nil for none

	patch *Patch
}

// InputKey is the key of a part of the batch on a tape.
type InputKey string

// Keys of the parts of a batch, and of the table of rotations.
const (
	IDs       InputKey = "ids"
	Order     InputKey = "order"
	Starts    InputKey = "starts"
	Positions InputKey = "positions"
	Targets   InputKey = "targets"
	Seed      InputKey = "seed"
	Noise     InputKey = "noise" // the magnitude of the noise on the embeddings, the bits of a float32

	// Parts that only a classifier has.
	Class      InputKey = "class"
	Last       InputKey = "last"
	LastOrder  InputKey = "last order"
	LastStarts InputKey = "last starts"

	Rope InputKey = "rope"
)

// NewInput brings a batch of B rows of T tokens onto a tape. The recording uses the patch that the decoder has now. ropeRows is
// the number of positions in the table of rotations.
func (d *Decoder) NewInput(t *graph.Tape, B, T, ropeRows int) *Input {
	return d.newInput(t, B, T, d.Prompt(), ropeRows)
}

// NewToken brings one token of each of B rows onto a tape, for Decode.
func (d *Decoder) NewToken(t *graph.Tape, B, ropeRows int) *Input {
	return d.newInput(t, B, 1, 0, ropeRows)
}

func (d *Decoder) newInput(t *graph.Tape, B, T, prompt, ropeRows int) *Input {
	ints := func(k InputKey, n int) graph.Var {
		return t.Extern(graph.Extern{Key: k, Shape: tensor.Of(n), DType: tensor.I32, Name: string(k)})
	}
	tokens, N := B*T, B*(prompt+T)
	in := &Input{
		B: B, T: T, Prompt: prompt,
		Lookup:    op.Lookup{IDs: ints(IDs, tokens), Order: ints(Order, tokens), Starts: ints(Starts, tokens+1)},
		Positions: ints(Positions, N), Seed: ints(Seed, 2),
		Rope:  t.Extern(graph.Extern{Key: Rope, Shape: tensor.Of(ropeRows, d.HeadDim/2, 2), Name: string(Rope)}),
		patch: d.patch(),
	}
	if d.Classes == 0 {
		in.Targets = ints(Targets, N)
		return in
	}
	in.Targets, in.Last = ints(Class, B), op.Lookup{IDs: ints(Last, B), Order: ints(LastOrder, B), Starts: ints(LastStarts, B+1)}
	return in
}

// noiseSite is the site of the noise on the embeddings, beside those of dropout.
const noiseSite = 0x4e454654

// Embed records the embeddings of a batch → (N, Hidden).
func (d *Decoder) Embed(t *graph.Tape, in *Input) graph.Var {
	x := d.embedTokens(t, in)
	if in.patch.Prompt != nil {
		x = op.Prepend(t, in.patch.Prompt(t), x, in.B)
	}
	return x
}

func (d *Decoder) embedTokens(t *graph.Tape, in *Input) graph.Var {
	t.Enter(d.Embedding.Unit)
	x := op.Embedding(t, d.Embedding.Var(t), in.Lookup)
	if in.patch.Embed != nil {
		x = in.patch.Embed(t, in, x)
	}
	if in.Train && d.NoiseAlpha > 0 {
		// Jain et al. 2023, arXiv:2310.05914; transformers, neftune_post_forward_hook in integrations/neftune.py.
		x = op.Noise(t, x, noiseSite, in.Seed, t.Extern(graph.Extern{Key: Noise, Shape: tensor.Of(1), DType: tensor.I32, Name: string(Noise)}))
	}
	return x
}

// attend records the attention of a layer from its queries, keys and values, which are rotated where the layer rotates them.
type attend func(layer int, q, k, v graph.Var) graph.Var

// shape is the shape of an attention call of a layer.
func (d *Decoder) shape(in *Input, layer int) op.AttentionShape {
	return op.AttentionShape{
		B: in.B, T: in.Prompt + in.T, Window: d.Blocks[layer].Window, Heads: d.Heads, KVHeads: d.KVHeads, HeadDim: d.HeadDim, Scale: float32(1 / math.Sqrt(float64(d.HeadDim))),
	}
}

// Block records layer i → (N, Hidden).
func (d *Decoder) Block(t *graph.Tape, in *Input, i int, x graph.Var) graph.Var {
	return d.block(t, in, i, x, func(layer int, q, k, v graph.Var) graph.Var {
		s := d.shape(in, layer)
		if in.Prefix != nil {
			k = op.Prepend(t, d.prefix(t, in, CacheKey{layer, false}), k, in.B)
			v = op.Prepend(t, d.prefix(t, in, CacheKey{layer, true}), v, in.B)
			s.P = in.patch.Virtual
		}
		return op.Attention(t, q, k, v, in.Positions, s)
	})
}

// prefix records the slice of the prefix with a layer's keys or values.
func (d *Decoder) prefix(t *graph.Tape, in *Input, k CacheKey) graph.Var {
	width := d.KVHeads * d.HeadDim
	at := 2 * k.Layer * width
	if k.Values {
		at += width
	}
	return op.SliceColumns(t, in.Prefix, at, width)
}

func (d *Decoder) block(t *graph.Tape, in *Input, i int, x graph.Var, attended attend) graph.Var {
	t.Enter(BlockUnit(i))
	b := &d.Blocks[i]
	h := op.RMSNorm(t, x, b.InputNorm.Var(t), d.RMSNormEps)                        // (N, Hidden)
	q, k, v := b.Q.Forward(t, in, h), b.K.Forward(t, in, h), b.V.Forward(t, in, h) // (N, heads·HeadDim)
	if b.QNorm != nil {
		q = op.RMSNormHeads(t, q, b.QNorm.Var(t), d.Heads, d.RMSNormEps)
		k = op.RMSNormHeads(t, k, b.KNorm.Var(t), d.KVHeads, d.RMSNormEps)
	}
	if !b.NoRoPE {
		op.RoPE(t, q, in.Rope, in.Positions, d.Heads, d.HeadDim)
		op.RoPE(t, k, in.Rope, in.Positions, d.KVHeads, d.HeadDim)
	}
	a := b.O.Forward(t, in, attended(i, q, k, v))
	if in.patch.Attended != nil {
		a = in.patch.Attended(t, in, i, q, a)
	}
	x = op.Add(t, x, a)
	h = op.RMSNorm(t, x, b.PostAttentionNorm.Var(t), d.RMSNormEps)
	h = op.SwiGLU(t, b.Gate.Forward(t, in, h), b.Up.Forward(t, in, h)) // (N, Intermediate)
	return op.Add(t, x, b.Down.Forward(t, in, h))
}

// CacheKey is the key of a layer's cached keys or values on a tape: (B·length, KVHeads·HeadDim).
type CacheKey struct {
	Layer  int
	Values bool
}

func (d *Decoder) cache(t *graph.Tape, in *Input, k CacheKey, length int) graph.Var {
	return t.Extern(graph.Extern{Key: k, Shape: tensor.Of(in.B*length, d.KVHeads*d.HeadDim), Name: fmt.Sprintf("cache of layer %d", k.Layer)})
}

// Decode records the next token of each row, T = 1. The keys and values of the tokens before it are in caches of the given
// length, and Decode adds those of the token at its position. It returns the logits (B, Vocab). Virtual tokens come first in
// the caches, see DecodeVirtual.
func (d *Decoder) Decode(t *graph.Tape, in *Input, length int) graph.Var {
	x := d.decode(t, in, d.embedTokens(t, in), length)
	return d.Head.Forward(t, in, d.Added.apply(t, in, op.RMSNorm(t, x, d.Norm.Var(t), d.RMSNormEps)))
}

// DecodeVirtual records the writing of the patch's virtual tokens into the caches of one row: all of a prefix, or one row of a
// prompt, whose number the input has in place of a token id.
func (d *Decoder) DecodeVirtual(t *graph.Tape, in *Input, length int) {
	switch {
	case in.B != 1:
		graph.Fail("DecodeVirtual: %d rows", in.B)
	case in.patch.Prompt != nil:
		d.decode(t, in, op.Embedding(t, in.patch.Prompt(t), in.Lookup), length)
	case in.patch.Prefix != nil:
		in.Prefix = in.patch.Prefix(t)
		for i := range d.Blocks {
			for _, k := range []CacheKey{{i, false}, {i, true}} {
				t.Copy(t.Rows(d.cache(t, in, k, length), 0, in.patch.Virtual), d.prefix(t, in, k))
			}
		}
	}
}

func (d *Decoder) decode(t *graph.Tape, in *Input, x graph.Var, length int) graph.Var {
	if in.T != 1 || in.Prompt != 0 {
		graph.Fail("Decode: %d rows a sequence", in.Prompt+in.T)
	}
	for i := range d.Blocks {
		x = d.block(t, in, i, x, func(layer int, q, k, v graph.Var) graph.Var {
			keys, values := d.cache(t, in, CacheKey{layer, false}, length), d.cache(t, in, CacheKey{layer, true}, length)
			op.Scatter(t, k, keys, in.Positions, length)
			op.Scatter(t, v, values, in.Positions, length)
			return op.AttentionDecode(t, q, keys, values, in.Positions, d.shape(in, layer), length)
		})
	}
	return x
}

// Trunk records all but the output head: embedding, blocks and final norm → (N, Hidden).
func (d *Decoder) Trunk(t *graph.Tape, in *Input) graph.Var {
	x := d.Embed(t, in)
	if in.patch.Prefix != nil {
		in.Prefix = in.patch.Prefix(t)
	}
	// The first blocks with a gradient are recomputed: in the backward pass they come last, when the blocks above have freed
	// their activations.
	left := in.Recompute
	for i := range d.Blocks {
		block := func() graph.Var { return d.Block(t, in, i, x) }
		if left == 0 {
			x = block()
			continue
		}
		if x = t.Checkpoint(block); x.WantsGrad() {
			left--
		}
	}
	t.Enter(d.Norm.Unit)
	return op.RMSNorm(t, x, d.Norm.Var(t), d.RMSNormEps)
}

// OfTokens records the rows of tokens without the virtual rows: (N, …) → (B·T, …).
func (in *Input) OfTokens(t *graph.Tape, h graph.Var) graph.Var {
	if in.Prompt == 0 {
		return h
	}
	return op.WithoutFirst(t, h, in.B, in.Prompt)
}

// Output records the input of the output head: the trunk's rows (N, Hidden), or in a classifier the rows of the last real
// tokens (B, Hidden).
func (d *Decoder) Output(t *graph.Tape, in *Input) graph.Var {
	h := d.Trunk(t, in)
	if d.Classes > 0 {
		h = op.Embedding(t, h, in.Last) // (B, Hidden)
	}
	return d.Added.apply(t, in, h)
}

// Loss records the sum of −log p(target) over all counted tokens, or over the rows of a classification → (1). All logits are
// never in memory at a time.
func (d *Decoder) Loss(t *graph.Tape, in *Input) graph.Var { return d.LossOf(t, in, d.Output(t, in)) }

// LossOf is Loss for an h that Output recorded.
func (d *Decoder) LossOf(t *graph.Tape, in *Input, h graph.Var) graph.Var {
	rows, _ := h.Dim2()
	var bias graph.Var
	if d.Head.Bias != nil {
		bias = d.Head.Bias.Var(t)
	}
	return op.LinearCrossEntropy(t, d.Head.Terms(t, in, h), bias, in.Targets, op.ChunkRows(rows, d.Head.Out), d.LabelSmoothing)
}

// ScorePath is the module of a classifier's head.
const ScorePath = "score"

// Classify replaces the output head by a head over classes: score·h without a bias, as in transformers'
// LlamaForSequenceClassification.
func (d *Decoder) Classify(classes int) {
	d.Head = &Linear{Path: ScorePath, In: d.Hidden, Out: classes, Weight: &Param{
		Name: ScorePath + ".weight", Shape: tensor.Of(classes, d.Hidden), Unit: "head", Init: Init{Kind: Normal, Scale: 0.02},
	}}
	d.Classes, d.Tied = classes, false
}

// Untie gives the output head a weight of its own, which starts with the embedding's values, and returns it.
func (d *Decoder) Untie() *Param {
	if d.Tied {
		w := *d.Embedding
		w.Name, w.Unit, w.Source, w.Trainable = d.Head.Path+".weight", "head", d.Embedding.From(), false
		d.Head.Weight, d.Tied = &w, false
	}
	return d.Head.Weight
}

// Linears lists every projection by module path, the head last.
func (d *Decoder) Linears() []*Linear {
	var all []*Linear
	for i := range d.Blocks {
		b := &d.Blocks[i]
		all = append(all, b.Q, b.K, b.V, b.O, b.Gate, b.Up, b.Down)
	}
	return append(all, d.Head)
}

// Params lists the base model's parameters in the order of their use. A tied head is listed once, as the embedding. The
// parameters of an added head are not listed.
func (d *Decoder) Params() []*Param {
	all := []*Param{d.Embedding}
	linear := func(ls ...*Linear) {
		for _, l := range ls {
			all = append(all, l.Weight)
			if l.Bias != nil {
				all = append(all, l.Bias)
			}
		}
	}
	for i := range d.Blocks {
		b := &d.Blocks[i]
		all = append(all, b.InputNorm)
		linear(b.Q, b.K, b.V, b.O)
		if b.QNorm != nil {
			all = append(all, b.QNorm, b.KNorm)
		}
		all = append(all, b.PostAttentionNorm)
		linear(b.Gate, b.Up, b.Down)
	}
	all = append(all, d.Norm)
	if !d.Tied && !d.Added.onTop() {
		linear(d.Head)
	}
	return all
}

// BlockUnit is the unit of layer i's parameters.
func BlockUnit(i int) string { return fmt.Sprintf("block %d", i) }
