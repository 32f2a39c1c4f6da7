package peft

import (
	"slices"

	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// IA3Config holds the settings of (IA)³, under the names of PEFT's IA3Config.
type IA3Config struct {
	FeedForward config.Modules `json:"feedforward_modules"` // those of target_modules whose input is scaled
	Init        bool           `json:"init_ia3_weights"`    // start at 1
}

func init() {
	Register(Descriptor{
		Type: &config.PEFTType{
			Name: "IA3", Place: 20,
			New: func() any { return &IA3Config{Init: true} },
			Settings: []message.Setting{
				{Key: "target_modules"}, {Key: "exclude_modules"}, {Key: "modules_to_save"},
				{Key: "base_model_name_or_path"}, {Key: "revision"}, {Key: "task_type"},
				{Key: "feedforward_modules", Name: message.Both("Feed-forward modules", "前馈模块"), Help: message.Both("Which of the adapted modules are scaled at their input.", "哪些适配模块在输入处缩放。")},
				{Key: "init_ia3_weights", Name: message.Both("Start at one", "从一开始"), Help: message.Both("Leaves the model unchanged at first.", "模型起初不变。")},
			},
			Start:    []string{"init_ia3_weights"},
			Refused:  []string{"fan_in_fan_out"},
			Since:    []string{"exclude_modules"},
			Constant: map[string]any{"fan_in_fan_out": false},
			Rules:    ia3Rules,
			Variants: []config.Variant{{
				Name: "IA3", Title: message.Both("IA³", "IA³"), Place: 30,
				About: message.Both("only scales activations: the fewest numbers", "只缩放激活值：参数最少"),
			}},
			Examples: []config.Example{{
				Name: "ia3", Place: 80, Trains: "scales of keys, values and inner activations",
				Title: message.Both("(IA)³, scales of activations", "(IA)³，缩放激活值"), Rate: 3e-2,
				Key: "peft", Value: always(map[string]any{"peft_type": "IA3"}),
			}},
		},
		Mark: ".ia3_",
		Resolve: func(d *nn.Decoder, cfg *config.PEFT) error {
			resolveTargets(d, &cfg.TargetModules, ia3Targets)
			if own := cfg.Own.(*IA3Config); own.FeedForward.IsZero() {
				own.FeedForward.Names = slices.Clone(ia3FeedForward)
			}
			return nil
		},
		Make: newIA3,
	})
}

func ia3Rules(p *config.PEFT, at func(string) string) []config.Rule {
	subset := true
	for _, name := range p.Own.(*IA3Config).FeedForward.Names {
		subset = subset && (p.TargetModules.Names == nil || slices.Contains(p.TargetModules.Names, name))
	}
	return []config.Rule{config.Must(subset, at("feedforward_modules"), "names a module that target_modules does not", "PEFT wants a subset of target_modules")}
}

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
	own := cfg.Own.(*IA3Config)
	m := &Method{Patch: &nn.Patch{Linears: map[*nn.Linear]nn.Adapter{}}}
	chosen, err := newSelector(cfg)
	if err != nil {
		return nil, err
	}
	feedForward, err := newSuffixes("feedforward_modules", own.FeedForward)
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
		if !own.Init {
			v.l.Init = nn.Init{Kind: nn.Normal, Scale: 1}
		}
		m.Patch.Linears[l] = v
		m.Own(v.l)
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
