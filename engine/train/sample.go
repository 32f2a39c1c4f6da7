package train

import (
	"fmt"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// samples continues prompts while a run goes on. Between two times it holds nothing on the device, so what a run is
// planned to take is what it takes; it reads the trained weights where they lie, and changes none.
type samples struct {
	message.SampleJob
	prompts [][]int // as tokens
}

// newSamples is nil where none are asked for, or nothing could be written. A classifier judges the prompts, with the
// program that evaluates held-out rows.
func newSamples(s *replay.Setup, want *message.SampleJob) (*samples, error) {
	if want == nil || len(want.Prompts) == 0 || want.Every < 1 || want.MaxNewTokens < 1 || s.Model.Tokenizer == nil || s.Model.Decoder.Classes > 0 && s.Valid == nil {
		return nil, nil
	}
	x := &samples{SampleJob: *want}
	for _, p := range want.Prompts {
		ids, err := s.Model.Tokenizer.EncodeOnce(p)
		if err == nil && (len(ids) == 0 || len(ids) >= s.Model.Decoder.MaxPositions-s.Model.Decoder.Virtual()) {
			err = fmt.Errorf("%d tokens where 1 to %d can be continued", len(ids), s.Model.Decoder.MaxPositions-s.Model.Decoder.Virtual()-1)
		}
		if err != nil {
			return nil, report.Fail("prompt", report.ExitConfig, "Change the prompt.", fmt.Errorf("samples: %q: %w", p, err))
		}
		x.prompts = append(x.prompts, ids)
	}
	return x, nil
}

// due reports whether it is time after a number of updates.
func (x *samples) due(done int) bool { return x != nil && done%x.Every == 0 }

// write continues all prompts with the weights as they are after so many updates, likeliest token by token, and tells
// the host.
func (x *samples) write(t *Trainer, step int) error {
	if t.Setup.Model.Decoder.Classes > 0 {
		return x.judge(t, step)
	}
	longest := 0
	for _, p := range x.prompts {
		longest = max(longest, len(p))
	}
	s, err := t.Setup.ForText(longest + x.MaxNewTokens)
	if err != nil {
		return err
	}
	st, err := replay.NewStepper(s, t.Dev, t.Mem, t.Host, t.Stepper.Table())
	if err != nil {
		return err
	}
	defer st.Free()
	text, err := replay.NewText(st)
	if err != nil {
		return err
	}
	defer text.Free()
	begun := text.Length
	for i, prompt := range x.prompts {
		text.Length = begun // what is in the caches beyond is never read
		said, err := greedy(s, text, prompt, min(len(prompt)+x.MaxNewTokens, s.Longest()))
		if err != nil {
			return err
		}
		t.Host.Emit(message.Envelope{Type: "sample", Sample: &message.Sample{Step: step, Prompt: x.Prompts[i], Text: said}})
	}
	device.Trim(t.Dev)
	return nil
}

// judge tells the classes of the prompts.
func (x *samples) judge(t *Trainer, step int) error {
	for i, prompt := range x.prompts {
		scores, err := t.Setup.ClassScores(t.Stepper, replay.UnlabelledSample(prompt[:min(len(prompt), t.Setup.Longest())]))
		if err != nil {
			return err
		}
		said := fmt.Sprintf("%s (%.0f %%)", scores[0].Label, 100*float64(scores[0].Score))
		t.Host.Emit(message.Envelope{Type: "sample", Sample: &message.Sample{Step: step, Prompt: x.Prompts[i], Text: said}})
	}
	return nil
}

// greedy is what follows a prompt, up to so many tokens in all.
func greedy(s *replay.Setup, text *replay.Text, prompt []int, longest int) (string, error) {
	decoder := s.Model.Tokenizer.Continue(prompt, true)
	sampler, stops := replay.NewTokenSampler(&message.GenerateJob{TopP: 1}), s.Model.Tokenizer.Stops()
	said, next := "", prompt
	for n := len(prompt); n < longest; n++ {
		scores, err := text.Read(next)
		if err != nil {
			return "", err
		}
		id, err := sampler.Pick(scores)
		if err != nil {
			return "", err
		}
		if slices.Contains(stops, id) {
			break
		}
		said += decoder.Next(id)
		next = []int{id}
	}
	return said + decoder.Flush(), nil
}
