package peft

import (
	"math"

	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

func init() { registry[config.PrefixTuning] = newPrefix }

// promptKey is the one tensor of prompt learning in adapter_model.safetensors.
const promptKey = "prompt_embeddings"

// promptUnit is the unit of what trains in prompt learning: it belongs to no layer.
const promptUnit = "prompt"

// newPrefix is prefix-tuning: each layer's attention sees, besides the keys and values of a sequence, those of T virtual
// tokens. They are a row of a table for each virtual token,
//
//	table (T, L·2·KVHeads·HeadDim),   or, with a projection,   table = W₂·tanh(W₁·E + b₁) + b₂
//
// for each layer the keys and then the values, KVHeads·HeadDim of each. Keys carry no rotation; the positions of tokens
// begin at T. Li & Liang 2021, arXiv:2101.00190.
func newPrefix(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error) {
	T, width := cfg.VirtualTokens, 2*d.Layers*d.KVHeads*d.HeadDim
	m := &Method{Patch: &nn.Patch{Virtual: T}, unmergeable: "a prefix is keys and values of tokens that are not there: no weight can hold it"}
	param := func(name string, init nn.Init, shape ...int) *nn.Param {
		return &nn.Param{Name: name, Shape: tensor.Of(shape...), Unit: promptUnit, Trainable: true, Init: init}
	}
	normal := nn.Init{Kind: nn.Normal, Scale: 1}
	if !cfg.Projection || c.TableOnly {
		if cfg.InitPrefix == "zero" {
			normal = nn.Init{}
		}
		table := param(promptKey, normal, T, width)
		m.own(table)
		m.Patch.Prefix = table.Var
		return m, nil
	}
	linear := func(name string, in, out int) *nn.Linear {
		init := nn.Init{Kind: nn.Uniform, Scale: 1 / math.Sqrt(float64(in))} // as torch.nn.Linear starts
		return &nn.Linear{Path: name, In: in, Out: out, Weight: param(name+".weight", init, out, in), Bias: param(name+".bias", init, out)}
	}
	embedding := param("embedding.weight", normal, T, cfg.TokenDim)
	first, second := linear("transform.0", cfg.TokenDim, cfg.EncoderHidden), linear("transform.2", cfg.EncoderHidden, width)
	if cfg.InitPrefix == "zero" {
		second.Weight.Init, second.Bias.Init = nn.Init{}, nn.Init{}
	}
	m.Patch.Prefix = func(t *graph.Tape) graph.Var {
		t.Enter(promptUnit)
		return second.Plain(t, op.Activate(t, first.Plain(t, embedding.Var(t)), op.Tanh))
	}
	m.own(embedding, first.Weight, first.Bias, second.Weight, second.Bias)
	for i := range m.tensors {
		m.tensors[i].File = EncoderFile
	}
	m.tensors = append(m.tensors, Tensor{Key: promptKey, Computed: m.Patch.Prefix})
	return m, nil
}
