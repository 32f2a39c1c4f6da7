package ui

import "llamatab/engine/message"

// stepSamples are the samples of one step.
type stepSamples struct {
	Step  int
	Texts []message.Sample
}

// Samples: what the model writes as it learns. SampleAt is the index of those that are shown.
func (r *Run) SampleAt() int { return max(0, len(r.Samples)-1-r.samplesBack) }

func (r *Run) Shown() []message.Sample {
	if len(r.Samples) == 0 {
		return nil
	}
	return r.Samples[r.SampleAt()].Texts
}

func (r *Run) SampleText() Text {
	if len(r.Samples) == 0 {
		return ""
	}
	return r.T("samples.at", "step", r.Samples[r.SampleAt()].Step)
}

// Scrub goes to earlier or later samples.
func (r *Run) Scrub(by int) { r.samplesBack = min(max(r.samplesBack-by, 0), max(len(r.Samples)-1, 0)) }
