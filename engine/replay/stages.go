package replay

import (
	"fmt"
	"math"
	"regexp"
	"slices"

	"llamatab/engine/config"
	"llamatab/engine/nn"
	"llamatab/engine/optim"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// stage is a part of a run in which the same parameters train. Memory is laid out for the last, in which all do; a
// parameter that does not train yet gets no gradient and no update, so its moments stay zero until it is thawed.
type stage struct {
	From  int // updates done when it begins
	Entry int // of unfreeze, counted from 1; 0 where the run has none
}

// chooseStages finds what trains in each stage of a run, and returns what trains in the last.
func (s *Setup) chooseStages(cfg *config.Config) (chosen pretrained.ParamSet, err error) {
	list, path := cfg.Unfreeze, func(k int) string { return fmt.Sprintf("unfreeze[%d].trainable", k) }
	if len(list) == 0 {
		list, path = []config.Stage{{Trainable: cfg.Trainable}}, func(int) string { return "trainable" }
	} else if list[0].Step > 0 { // the adapter trains alone until then
		s.Stages = append(s.Stages, stage{})
	}
	for _, u := range list {
		pretrained.Untie(s.Model.Decoder, u.Trainable)
	}
	chosen, s.startStage = pretrained.ParamSet{}, map[*nn.Param]int{}
	for k, u := range list {
		set, err := pretrained.Choose(s.Model.Decoder, u.Trainable, path(k))
		if err != nil {
			return nil, err
		}
		for _, p := range s.Model.OwnParams() {
			if chosen[p] && !set[p] {
				return nil, report.Fail("config", report.ExitConfig, "Name again what trains already: a stage adds to the one before.",
					&config.Error{Path: path(k), Message: fmt.Sprintf("leaves out %s, which trains in the stage before", p.Name)})
			}
			if set[p] && !chosen[p] {
				chosen[p], s.startStage[p] = true, len(s.Stages)
			}
		}
		next := stage{From: u.Step}
		if len(cfg.Unfreeze) > 0 {
			next.Entry = k + 1
		}
		s.Stages = append(s.Stages, next)
	}
	return chosen, nil
}

// StageAt is the stage of the update after so many.
func (s *Setup) StageAt(done int) int {
	k := 0
	for k+1 < len(s.Stages) && s.Stages[k+1].From <= done {
		k++
	}
	return k
}

// during calls f while only what trains in stage k counts as training.
func (s *Setup) during(k int, f func()) {
	mark := func(trains bool) {
		for p, from := range s.startStage {
			if from > k {
				p.Trainable = trains
			}
		}
	}
	mark(false)
	defer mark(true)
	f()
}

// TrainableAt is the number of parameters that train in stage k.
func (s *Setup) TrainableAt(k int) (n int64) {
	for _, seg := range s.Layout.Segments {
		for _, p := range seg.Params {
			if s.startStage[p] <= k {
				n += int64(p.Shape.Size())
			}
		}
	}
	return n
}

// rates are the hyper-parameters of an update, which differ from parameter to parameter.
type rates struct {
	optim.AdamWConfig
	maxNorm float64
	exempt  []*regexp.Regexp   // from weight decay, by name
	scale   map[string]float64 // of the learning rate, by unit; 1 where nothing is said
}

// rates are those of the run's configuration. With layer_lr_decay γ, a block d below the top learns at γ^d, as do the
// adapters in it, and the embedding as if it were one below the lowest; what stands above the blocks learns in full.
func (s *Setup) rates() (*rates, error) {
	t := s.Config.Training
	r := &rates{
		AdamWConfig: optim.AdamWConfig{Beta1: t.Beta1, Beta2: t.Beta2, Eps: t.Epsilon, WeightDecay: t.WeightDecay, LRScale: 1},
		maxNorm:     t.MaxGradNorm, scale: map[string]float64{},
	}
	for _, expr := range t.NoDecay {
		re, err := regexp.Compile(expr)
		if err != nil {
			return nil, report.Fail("config", report.ExitConfig, "Use Go's (RE2) syntax.", fmt.Errorf("training.no_decay: %w", err))
		}
		r.exempt = append(r.exempt, re)
	}
	L := s.Model.Decoder.Layers
	r.scale[s.Model.Decoder.Embedding.Unit] = math.Pow(t.LayerLRDecay, float64(L))
	for i := range L {
		r.scale[nn.BlockUnit(i)] = math.Pow(t.LayerLRDecay, float64(L-1-i))
	}
	return r, nil
}

// of are the hyper-parameters of one parameter.
func (r *rates) of(p *nn.Param) optim.AdamWConfig {
	c := r.AdamWConfig
	if slices.ContainsFunc(r.exempt, func(re *regexp.Regexp) bool { return re.MatchString(p.Name) }) {
		c.WeightDecay = 0
	}
	if f, ok := r.scale[p.Unit]; ok {
		c.LRScale = f
	}
	return c
}
