package peft

import (
	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

func init() { registry[config.IA3] = newIA3 }

// PEFT's defaults for Llama.
var (
	ia3Targets     = []string{"k_proj", "v_proj", "down_proj"}
	ia3FeedForward = []string{"down_proj"}
)

// ia3Vector is (IA)³ on one module, as PEFT computes it: a learned factor for each output, or for each input of a
// feed-forward module.
//
//	y = l ⊙ (W·x + b),   or   y = W·(l ⊙ x) + b
//
// Liu et al. 2022, arXiv:2205.05638.
type ia3Vector struct {
	l     *nn.Param
	input bool
}

// Project implements nn.Adapter.
func (v ia3Vector) Project(t *graph.Tape, _ *nn.Input, l *nn.Linear, x graph.Var) graph.Var {
	if v.input {
		return l.Plain(t, op.ScaleColumns(t, x, v.l.Var(t)))
	}
	return op.ScaleColumns(t, l.Plain(t, x), v.l.Var(t))
}

func newIA3(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error) {
	m := &Method{Patch: &nn.Patch{Linears: map[*nn.Linear]nn.Adapter{}}}
	chosen, err := newSelector(cfg)
	if err != nil {
		return nil, err
	}
	feedForward, err := newSuffixes("feedforward_modules", cfg.FeedForward)
	if err != nil {
		return nil, err
	}
	if chosen.has(embedTokens) {
		return nil, refuse("IA3", embedTokens, "PEFT knows (IA)³ on linear modules only")
	}
	for _, l := range d.Linears() {
		if !chosen.has(l.Path) || c.whole.has(l.Path) {
			continue
		}
		if l == d.Head {
			return nil, refuse("IA3", l.Path, "its outputs are never there as a whole")
		}
		v := ia3Vector{
			l: &nn.Param{
				Name: Prefix + l.Path + ".ia3_l", Shape: tensor.Of(l.Out, 1), Unit: l.Weight.Unit, Trainable: true,
				Init: nn.Init{Kind: nn.Constant, Scale: 1},
			},
			input: feedForward.match(l.Path),
		}
		if v.input {
			v.l.Shape = tensor.Of(1, l.In)
		}
		if !cfg.InitIA3 {
			v.l.Init = nn.Init{Kind: nn.Normal, Scale: 1}
		}
		m.Patch.Linears[l] = v
		m.own(v.l)
		from := []*nn.Param{v.l}
		m.merges = append(m.merges, Merge{W: l.Weight, From: from, Fold: func(t *graph.Tape, w graph.Var) {
			if v.input {
				op.ScaleColumnsInPlace(t, w, v.l.Var(t))
			} else {
				op.ScaleRows(t, w, v.l.Var(t))
			}
		}})
		if l.Bias != nil && !v.input {
			m.merges = append(m.merges, Merge{W: l.Bias, From: from, Fold: func(t *graph.Tape, w graph.Var) {
				op.ScaleColumnsInPlace(t, w, v.l.Var(t))
			}})
		}
	}
	if len(m.tensors) == 0 {
		return nil, noModule(d, cfg)
	}
	return m, nil
}
