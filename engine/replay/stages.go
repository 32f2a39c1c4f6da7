package replay

import (
	"fmt"

	"llamatab/engine/config"
	"llamatab/engine/nn"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// stage is a part of a run in which the same parameters train (gradual unfreezing). The memory is laid out for the last stage, in
// which all of them train. A parameter that does not train yet has no gradient and no update, so its moments are zero.
type stage struct {
	From  int // number of updates before it begins
	Entry int // number of its entry in unfreeze, counted from 1; 0 without an entry
}

// chooseStages sets the stages of a run. It returns the parameters of the base model that train in the last stage.
func (s *Setup) chooseStages(cfg *config.Config) (chosen pretrained.ParamSet, err error) {
	list, path := cfg.Unfreeze, func(k int) string { return fmt.Sprintf("unfreeze[%d].trainable", k) }
	if len(list) == 0 {
		list, path = []config.Stage{{Trainable: cfg.Trainable}}, func(int) string { return "trainable" }
	} else if list[0].Step > 0 { // before the first entry only the adapter trains
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

// StageAt is the stage of the next update after done updates.
func (s *Setup) StageAt(done int) int {
	k := 0
	for k+1 < len(s.Stages) && s.Stages[k+1].From <= done {
		k++
	}
	return k
}

// during calls f while the parameters that begin to train after stage k are not trainable.
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

// TrainableAt is the number of trainable parameters in stage k.
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
