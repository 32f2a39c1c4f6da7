// Package llama builds Llama as transformers computes it (modeling_llama.py): grouped-query attention, explicit
// head_dim, tied or untied head, optional biases, the rotary scalings of modeling_rope_utils.py.
package llama

import (
	"fmt"

	"llamatab/engine/message"
	"llamatab/engine/model"
	"llamatab/engine/nn"
	"llamatab/engine/tensor"
)

func init() { model.Register(model.Family{Prefix: "Llama", ModelType: "llama", Build: New}) }

// New builds the decoder that a config.json describes, all parameters frozen and stored as float32.
func New(config []byte) (*nn.Decoder, []message.Remark, error) {
	c, err := ParseConfig(config)
	if err != nil {
		return nil, nil, err
	}
	return c.Decoder()
}

// Decoder builds the decoder that c describes.
func (c *Config) Decoder() (*nn.Decoder, []message.Remark, error) {
	rope, remarks, err := c.Rope()
	if err != nil {
		return nil, nil, err
	}
	H, I, hd, kv := c.HiddenSize, c.IntermediateSize, *c.HeadDim, *c.NumKeyValueHeads
	d := &nn.Decoder{Dims: nn.Dims{
		Vocab: c.VocabSize, Hidden: H, Intermediate: I, Layers: c.NumHiddenLayers,
		Heads: c.NumAttentionHeads, KVHeads: kv, HeadDim: hd, MaxPositions: rope.MaxPositions,
		RMSNormEps: float32(c.RMSNormEps), InvFreq: rope.InvFreq, RopeScale: float32(rope.Scale), AttentionDropout: c.AttentionDropout, Tied: c.TieWordEmbeddings,
	}}
	normal := nn.Init{Kind: nn.Normal, Scale: c.InitializerRange}
	linear := func(unit, path string, in, out int, bias bool) *nn.Linear {
		l := &nn.Linear{Path: path, In: in, Out: out}
		l.Weight = &nn.Param{Name: path + ".weight", Shape: tensor.Of(out, in), Unit: unit, Init: normal}
		if bias {
			l.Bias = &nn.Param{Name: path + ".bias", Shape: tensor.Of(out), Unit: unit}
		}
		return l
	}
	norm := func(unit, path string) *nn.Param {
		return &nn.Param{Name: path + ".weight", Shape: tensor.Of(H), Unit: unit, Init: nn.Init{Scale: 1}}
	}
	headNorm := func(unit, path string) *nn.Param {
		if !c.HeadNorms {
			return nil
		}
		return &nn.Param{Name: path + ".weight", Shape: tensor.Of(hd), Unit: unit, Init: nn.Init{Scale: 1}}
	}
	d.Embedding = &nn.Param{Name: "model.embed_tokens.weight", Shape: tensor.Of(c.VocabSize, H), Unit: "embed", Init: normal}
	for i := range c.NumHiddenLayers {
		u, at := nn.BlockUnit(i), fmt.Sprintf("model.layers.%d.", i)
		d.Blocks = append(d.Blocks, nn.Block{
			InputNorm:         norm(u, at+"input_layernorm"),
			PostAttentionNorm: norm(u, at+"post_attention_layernorm"),
			Q:                 linear(u, at+"self_attn.q_proj", H, c.NumAttentionHeads*hd, c.AttentionBias || c.QKVBias),
			K:                 linear(u, at+"self_attn.k_proj", H, kv*hd, c.AttentionBias || c.QKVBias),
			V:                 linear(u, at+"self_attn.v_proj", H, kv*hd, c.AttentionBias || c.QKVBias),
			O:                 linear(u, at+"self_attn.o_proj", c.NumAttentionHeads*hd, H, c.AttentionBias),
			QNorm:             headNorm(u, at+"self_attn.q_norm"),
			KNorm:             headNorm(u, at+"self_attn.k_norm"),
			Gate:              linear(u, at+"mlp.gate_proj", H, I, c.MLPBias),
			Up:                linear(u, at+"mlp.up_proj", H, I, c.MLPBias),
			Down:              linear(u, at+"mlp.down_proj", I, H, c.MLPBias),
		})
		if c.Windows != nil {
			d.Blocks[i].Window = c.Windows[i]
		}
		if c.NoRoPE != nil {
			d.Blocks[i].NoRoPE = c.NoRoPE[i]
		}
	}
	d.Norm = norm("head", "model.norm")
	d.Head = linear("head", "lm_head", H, c.VocabSize, false)
	if d.Tied {
		d.Head.Weight = d.Embedding
	}
	return d, remarks, nil
}
