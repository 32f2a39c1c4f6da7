package peft

import (
	"math"

	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// DoRA as people choose it: PEFT has it as a switch of LoRA.
var (
	doraSetting = message.Setting{
		Key: "use_dora", Name: message.Both("DoRA", "DoRA"),
		Help: message.Both("Learns the length of each weight column apart from its direction.", "把每列权重的长度与方向分开学习。"),
	}
	doraVariant = config.Variant{
		Name: "DORA", Title: message.Both("DoRA", "DoRA"), Place: 20,
		About:  message.Both("LoRA that learns length and direction apart", "把长度与方向分开学习的 LoRA"),
		Switch: map[string]any{"use_dora": true}, Usual: loraUsual, Main: loraMain,
	}
	doraExample = config.Example{
		Name: "dora-qv-r8", Place: 50, Trains: "the same, and the length of each output's weights",
		Title: message.Both("DoRA of rank 8 on queries and values", "查询和值上的 DoRA，秩 8"), Rate: 1e-2,
		Key: "peft", Value: always(map[string]any{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": DefaultTargets, "use_dora": true}),
	}
)

// doraPair is DoRA on one module, as PEFT computes it: LoRA changes the direction of the weight's rows, m (out) is their
// length.
//
//	y = W·x + (g−1) ⊙ W·x' + g ⊙ s·B·A·x' + b,   g = m / ‖W + s·B·A‖,   x' = dropout(x)
//
// The norm counts as a constant in the backward pass. Liu et al. 2024, arXiv:2402.09353.
type doraPair struct {
	*loraPair
	m *nn.Param
}

// newDoRA adds the length of the rows to a pair. It starts as that of the weight with the pair.
func newDoRA(m *Method, p *loraPair, l *nn.Linear, seed uint64) doraPair {
	d := doraPair{p, &nn.Param{
		Name: Prefix + l.Path + ".lora_magnitude_vector", Shape: tensor.Of(l.Out), Unit: p.a.Unit, Trainable: true,
	}}
	m.startAs(d.m, func(read func(*nn.Param) ([]float32, error)) ([]float32, error) {
		w, err := read(l.Weight)
		if err != nil {
			return nil, err
		}
		r := p.a.Shape[0]
		a, b := make([]float32, r*l.In), make([]float32, l.Out*r)
		if m.Residual(l.Weight) == nil { // else the pair is a part of w already
			p.a.Init.Fill(a, seed, p.a.From())
			p.b.Init.Fill(b, seed, p.b.From())
		}
		norms := make([]float32, l.Out)
		row := make([]float64, l.In)
		for o := range norms {
			for i := range row {
				row[i] = float64(w[o*l.In+i])
			}
			for j := range r {
				if f := float64(p.scale) * float64(b[o*r+j]); f != 0 {
					for i := range row {
						row[i] += f * float64(a[j*l.In+i])
					}
				}
			}
			sum := 0.0
			for _, x := range row {
				sum += x * x
			}
			norms[o] = float32(math.Sqrt(sum))
		}
		return norms, nil
	})
	return d
}

func (p doraPair) gain(t *graph.Tape, w graph.Var) graph.Var {
	return op.DoRAGain(t, w, p.a.Var(t), p.b.Var(t), p.m.Var(t), p.scale)
}

// Project implements nn.Adapter.
func (p doraPair) Project(t *graph.Tape, in *nn.Input, l *nn.Linear, x graph.Var) graph.Var {
	dropped := p.dropped(t, in, x)
	y := op.ScaleColumns(t, l.Product(t, dropped, p.pair(t, dropped)), p.gain(t, l.Weight.Var(t)))
	if dropped != x {
		op.AddLinear(t, y, l.Base(t, x))
		without := l.Base(t, dropped)
		without.Scale = -1
		op.AddLinear(t, y, without)
	}
	if l.Bias != nil {
		op.AddBias(t, y, l.Bias.Var(t))
	}
	return y
}

// fold implements Merge.Fold.
func (p doraPair) fold(t *graph.Tape, w graph.Var) {
	gain := p.gain(t, w)
	p.loraPair.fold(t, w)
	op.ScaleRows(t, w, gain)
}

// refuseAtEnds refuses settings of LoRA that the embedding and the output head cannot have.
func refuseAtEnds(cfg *LoRAConfig, path string) error {
	const why = "only the linear modules of the layers have it"
	switch {
	case cfg.DoRA:
		return refuse("use_dora", path, why)
	case cfg.BiasOfB:
		return refuse("lora_bias", path, why)
	}
	return nil
}
