package peft

import (
	"math"
	"slices"

	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// PrefixTuningConfig holds the settings of prefix tuning, under the names of PEFT's PrefixTuningConfig.
type PrefixTuningConfig struct {
	promptLearning
	Projection    bool   `json:"prefix_projection"`   // the prefix is the output of a small network
	EncoderHidden int    `json:"encoder_hidden_size"` // of that network; 0: as wide as a token
	Init          string `json:"init_weights"`        // "" or zero
}

func init() {
	Register(Descriptor{
		Type: &config.PEFTType{
			Name: "PREFIX_TUNING", Place: 30,
			New: func() any { return new(PrefixTuningConfig) },
			Settings: slices.Concat(promptFirst, []message.Setting{
				{Key: "prefix_projection", Name: message.Both("Prefix projection", "前缀投影"), Help: message.Both("Learns the prefix through a small network.", "通过一个小网络学习前缀。")},
				{Key: "encoder_hidden_size", Name: message.Both("Width of the projection", "投影宽度"), Help: message.Both("Hidden width of the prefix's network.", "前缀网络的隐藏宽度。")},
			}, promptLast),
			Start: []string{"init_weights"},
			Since: []string{"init_weights", "modules_to_save"},
			Rules: func(p *config.PEFT, at func(string) string) []config.Rule {
				own := p.Own.(*PrefixTuningConfig)
				return append(own.rules(at),
					config.Within(at("encoder_hidden_size"), own.EncoderHidden, 0, maxEncoder),
					config.Must(own.Init == "" || own.Init == "zero", at("init_weights"), config.NotOneOf(own.Init, []string{"null", "zero"}), ""))
			},
			Counts: func(p *config.PEFT, key string) bool {
				return key != "encoder_hidden_size" || p.Own.(*PrefixTuningConfig).Projection
			},
			Variants: []config.Variant{{
				Name: "PREFIX_TUNING", Title: message.Both("Prefix tuning", "前缀微调"), Place: 40,
				About: message.Both("learned keys and values before every text", "每段文本前的可学习键和值"),
				Needs: promptNeeds, Main: promptMain,
			}},
			Examples: []config.Example{{
				Name: "prefix-20", Place: 60, Trains: "20 keys and values before each layer's",
				Title: message.Both("prefix of 20 keys and values", "20 个键和值的前缀"), Rate: 3e-2,
				Key: "peft", Value: always(map[string]any{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 20}),
			}},
		},
		Unmergeable: "a prefix is keys and values of tokens that are not there: no weight can hold it",
		Resolve:     resolvePrefix,
		Make:        newPrefix,
	})
}

// resolvePrefix fills in the model's sizes. PEFT is given the width and heads of the queries and saves those of the keys;
// either is right.
func resolvePrefix(d *nn.Decoder, cfg *config.PEFT) error {
	own := cfg.Own.(*PrefixTuningConfig)
	err := own.resolve(d.KVHeads*d.HeadDim, d.KVHeads, d.Layers, [][2]int{{d.Hidden, d.Heads}, {d.Heads * d.HeadDim, d.Heads}})
	if own.EncoderHidden == 0 {
		own.EncoderHidden = own.TokenDim
	}
	return err
}

// newPrefix is prefix-tuning: each layer's attention sees, besides the keys and values of a sequence, those of T virtual
// tokens. They are a row of a table for each virtual token,
//
//	table (T, L·2·KVHeads·HeadDim),   or, with a projection,   table = W₂·tanh(W₁·E + b₁) + b₂
//
// for each layer the keys and then the values, KVHeads·HeadDim of each. Keys carry no rotation; the positions of tokens
// begin at T. Li & Liang 2021, arXiv:2101.00190.
func newPrefix(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error) {
	own := cfg.Own.(*PrefixTuningConfig)
	T, width := own.VirtualTokens, 2*d.Layers*d.KVHeads*d.HeadDim
	m := &Method{Patch: &nn.Patch{Virtual: T}}
	param := func(name string, init nn.Init, shape ...int) *nn.Param {
		return &nn.Param{Name: name, Shape: tensor.Of(shape...), Unit: promptUnit, Trainable: true, Init: init}
	}
	normal := nn.Init{Kind: nn.Normal, Scale: 1}
	if !own.Projection || c.TableOnly {
		if own.Init == "zero" {
			normal = nn.Init{}
		}
		table := param(promptKey, normal, T, width)
		m.Own(table)
		m.Patch.Prefix = table.Var
		return m, nil
	}
	linear := func(name string, in, out int) *nn.Linear {
		init := nn.Init{Kind: nn.Uniform, Scale: 1 / math.Sqrt(float64(in))} // as torch.nn.Linear starts
		return &nn.Linear{Path: name, In: in, Out: out, Weight: param(name+".weight", init, out, in), Bias: param(name+".bias", init, out)}
	}
	embedding := param("embedding.weight", normal, T, own.TokenDim)
	first, second := linear("transform.0", own.TokenDim, own.EncoderHidden), linear("transform.2", own.EncoderHidden, width)
	if own.Init == "zero" {
		second.Weight.Init, second.Bias.Init = nn.Init{}, nn.Init{}
	}
	m.Patch.Prefix = func(t *graph.Tape) graph.Var {
		t.Enter(promptUnit)
		return second.Plain(t, op.Activate(t, first.Plain(t, embedding.Var(t)), op.Tanh))
	}
	m.Own(embedding, first.Weight, first.Bias, second.Weight, second.Bias)
	for i := range m.tensors {
		m.tensors[i].File = EncoderFile
	}
	m.tensors = append(m.tensors, Tensor{Key: promptKey, Computed: m.Patch.Prefix})
	return m, nil
}
