package peft

import (
	"fmt"
	"math"

	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

func init() { registry[config.AdaptionPrompt] = newAdaption }

// newAdaption is LLaMA-Adapter as PEFT computes it. In the last layers, attention also sees K trained slots P (K,Hidden)
// through the frozen projections, with a softmax of its own and a gate g that starts at 0:
//
//	y = O(attention) + O(g · softmax(q·K(P)ᵀ/√HeadDim)·V(P))
//
// q is rotated, the slots are not. Zhang et al. 2023, arXiv:2303.16199.
func newAdaption(d *nn.Decoder, cfg *config.PEFT, _ Context) (*Method, error) {
	first := d.Layers - cfg.AdapterLayers
	if first < 0 {
		return nil, fmt.Errorf("adapter_layers is %d, and the model has %d layers", cfg.AdapterLayers, d.Layers)
	}
	m := &Method{unmergeable: "LLaMA-Adapter attends to slots that are not in the text: no weight can hold them"}
	type slots struct{ prompt, gate *nn.Param }
	layers := make([]slots, d.Layers)
	for i := first; i < d.Layers; i++ {
		key := fmt.Sprintf("%smodel.layers.%d.self_attn.adaption_", Prefix, i)
		layers[i] = slots{
			&nn.Param{Name: key + "prompt", Shape: tensor.Of(1, cfg.AdapterLen, d.Hidden), Unit: nn.BlockUnit(i), Trainable: true, Init: nn.Init{Kind: nn.Normal, Scale: 1}},
			&nn.Param{Name: key + "gate", Shape: tensor.Of(1), Unit: nn.BlockUnit(i), Trainable: true},
		}
		m.own(layers[i].prompt, layers[i].gate)
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
