package peft

import (
	"fmt"
	"math"
	"slices"

	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// AdaptionPromptConfig holds the settings of LLaMA-Adapter, under the names of PEFT's AdaptionPromptConfig.
type AdaptionPromptConfig struct {
	Len    int `json:"adapter_len"`    // slots a layer
	Layers int `json:"adapter_layers"` // the last of the model's
}

func init() {
	Register(Descriptor{
		Type: &config.PEFTType{
			Name: "ADAPTION_PROMPT", Place: 40,
			New: func() any { return new(AdaptionPromptConfig) },
			Settings: []message.Setting{
				{Key: "target_modules"}, {Key: "modules_to_save"}, {Key: "base_model_name_or_path"}, {Key: "revision"}, {Key: "task_type"},
				{Key: "adapter_len", Name: message.Both("Adapter length", "适配器长度"), Help: message.Both("How many learned positions each adapted layer attends to.", "每个适配层关注的学习位置数。")},
				{Key: "adapter_layers", Name: message.Both("Adapted layers", "适配层数"), Help: message.Both("How many of the last layers are adapted.", "最后多少层加适配器。")},
			},
			Since: []string{"modules_to_save"},
			Rules: adaptionRules,
			Variants: []config.Variant{{
				Name: "ADAPTION_PROMPT", Title: message.Both("LLaMA-Adapter", "LLaMA-Adapter"), Place: 50,
				About: message.Both("a gated prompt in the upper layers, silent at first", "上层的门控提示，起初不起作用"),
				Needs: map[string]any{"adapter_len": 10, "adapter_layers": 2}, Main: []string{"adapter_len", "adapter_layers"},
			}},
			Examples: []config.Example{{
				Name: "llama-adapter-10", Place: 70, Trains: "10 gated prompts in every layer",
				Title: message.Both("LLaMA-Adapter, 10 gated prompts", "LLaMA-Adapter，10 个门控提示"), Rate: 3e-2,
				Key: "peft", Value: func(blocks int) any {
					return map[string]any{"peft_type": "ADAPTION_PROMPT", "adapter_len": 10, "adapter_layers": blocks}
				},
			}},
		},
		Unmergeable: "LLaMA-Adapter attends to slots that are not in the text: no weight can hold them",
		Resolve: func(_ *nn.Decoder, cfg *config.PEFT) error {
			cfg.TargetModules = config.Modules{Pattern: "self_attn"}
			return nil
		},
		Make: newAdaption,
	})
}

func adaptionRules(p *config.PEFT, at func(string) string) []config.Rule {
	own := p.Own.(*AdaptionPromptConfig)
	usual := p.TargetModules.IsZero() || p.TargetModules.Pattern == "self_attn" || slices.Equal(p.TargetModules.Names, []string{"self_attn"})
	return []config.Rule{
		config.Within(at("adapter_len"), own.Len, 1, maxVirtual),
		config.Within(at("adapter_layers"), own.Layers, 1, maxRank),
		config.Must(usual, at("target_modules"), "names other modules than self_attn, the attention of Llama", "leave it out"),
	}
}

// newAdaption is LLaMA-Adapter as PEFT computes it. In the last layers, attention also sees K trained slots P (K,Hidden)
// through the frozen projections, with a softmax of its own and a gate g that starts at 0:
//
//	y = O(attention) + O(g · softmax(q·K(P)ᵀ/√HeadDim)·V(P))
//
// q is rotated, the slots are not. Zhang et al. 2023, arXiv:2303.16199.
func newAdaption(d *nn.Decoder, cfg *config.PEFT, _ Context) (*Method, error) {
	own := cfg.Own.(*AdaptionPromptConfig)
	if d.Blocks[0].QNorm != nil {
		return nil, fmt.Errorf("ADAPTION_PROMPT is not available for models that norm their queries and keys (Qwen3), as in PEFT")
	}
	if slices.ContainsFunc(d.Blocks, func(b nn.Block) bool { return b.NoRoPE }) {
		return nil, fmt.Errorf("ADAPTION_PROMPT is not available for models with layers without rotary positions (SmolLM3), as in PEFT")
	}
	first := d.Layers - own.Layers
	if first < 0 {
		return nil, fmt.Errorf("adapter_layers is %d, and the model has %d layers", own.Layers, d.Layers)
	}
	m := new(Method)
	type slots struct{ prompt, gate *nn.Param }
	layers := make([]slots, d.Layers)
	for i := first; i < d.Layers; i++ {
		key := fmt.Sprintf("%smodel.layers.%d.self_attn.adaption_", Prefix, i)
		layers[i] = slots{
			&nn.Param{Name: key + "prompt", Shape: tensor.Of(1, own.Len, d.Hidden), Unit: nn.BlockUnit(i), Trainable: true, Init: nn.Init{Kind: nn.Normal, Scale: 1}},
			&nn.Param{Name: key + "gate", Shape: tensor.Of(1), Unit: nn.BlockUnit(i), Trainable: true},
		}
		m.Own(layers[i].prompt, layers[i].gate)
	}
	shape := op.AttentionShape{Heads: d.Heads, KVHeads: d.KVHeads, HeadDim: d.HeadDim, Scale: float32(1 / math.Sqrt(float64(d.HeadDim)))}
	m.Patch = &nn.Patch{Attended: func(t *graph.Tape, in *nn.Input, layer int, q, attended graph.Var) graph.Var {
		if layer < first {
			return attended
		}
		b, p := &d.Blocks[layer], layers[layer].prompt.Var(t)
		o := op.SlotAttention(t, q, b.K.Forward(t, in, p), b.V.Forward(t, in, p), layers[layer].gate.Var(t), shape)
		return op.Add(t, attended, b.O.Forward(t, in, o))
	}}
	return m, nil
}
