package ui

import (
	"encoding/json"

	"llamatab/engine/message"
)

// way is a preset of a fine-tuning method, with the forecast of the run.
type way struct {
	message.MethodPlan
	Forecast *forecast `json:"forecast"` // nil where the engine refuses the preset
}

// Compare shows or hides the comparison of methods.
func (s *Studio) Compare() {
	if s.Comparing = !s.Comparing; s.Comparing {
		s.compare()
	}
}

// compare has the engine plan the run with every preset.
func (s *Studio) compare() {
	s.Ways = nil
	gpu := s.page.GPU
	job := message.Job{
		Command: message.Plan, Config: s.config().JSON(), Mounts: map[string]string{"model": "", "dataset": ""},
		Plan: &message.PlanJob{MaxBuffer: gpu.MaxBuffer, MaxBinding: gpu.MaxBinding, Compare: true}, MemoryBudget: s.limit(),
	}
	s.page.ask(job, s.sources(), func(e message.Envelope) {
		if e.Result == nil {
			return // the plan of the run reports what is wrong with the settings
		}
		s.Ways = nil
		var all []way
		json.Unmarshal(e.Result, &all)
		for _, w := range all {
			if w.Forecast != nil {
				s.Ways = append(s.Ways, w)
			}
		}
	})
}

// WayText names a preset.
func (s *Studio) WayText(w way) Text {
	if key := "way." + w.Name; s.Has(key) {
		return s.T(key)
	}
	return Text(w.Name)
}

// WayNeeds says how much memory a preset needs, and whether the GPU has it.
func (s *Studio) WayNeeds(w way) Text {
	if !w.Forecast.Fits {
		return s.T("compare.misfit", "need", Bytes(w.Forecast.total()))
	}
	return Text(Bytes(w.Forecast.total()))
}

// Use replaces the method by a preset.
func (s *Studio) Use(w way) {
	for _, path := range []string{"peft", "trainable", "unfreeze"} {
		s.Config.Delete(path)
	}
	s.Fix(message.Choice{Changes: w.Settings})
}
