package ui

import "llamatab/engine/message"

// stepSamples are the samples of one step.
type stepSamples struct {
	Step  int
	Texts []message.Sample
}

// SampleAt is the index of the samples that are shown: texts that the model writes while it learns.
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

// Scrub moves to earlier or later samples.
func (r *Run) Scrub(by int) { r.samplesBack = min(max(r.samplesBack-by, 0), max(len(r.Samples)-1, 0)) }

// SampleClass tells a message and its answer from a text that goes on.
func (r *Run) SampleClass(s message.Sample) string {
	if s.Chat {
		return "chat"
	}
	return ""
}
