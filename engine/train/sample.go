package train

import (
	"fmt"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// samples continues prompts while a run goes on. It reads the trained weights in the run's memory. It frees its own memory
// after each use, so that a run does not take more than its plan.
type samples struct {
	message.SampleJob
	prompts [][]int // as tokens
}

// newSamples encodes the prompts. It returns nil if no samples are wanted or the model has no tokenizer. A classifier predicts
// the classes of the prompts with the program that evaluates held-out rows, so without held-out rows it has no samples.
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

// due reports whether samples are written after so many updates.
func (x *samples) due(done int) bool { return x != nil && done%x.Every == 0 }

// write continues all prompts with the current weights, taking the token with the highest logit each time, and sends the
// texts to the host.
func (x *samples) write(t *Trainer, step int) error {
	if t.Setup.Model.Decoder.Classes > 0 {
		return x.writeClasses(t, step)
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
	virtual := text.Length // tokens of the adapter
	for i, prompt := range x.prompts {
		text.Length = virtual // the next prompt overwrites the caches of the one before
		continuation, err := continueGreedily(s, text, prompt, min(len(prompt)+x.MaxNewTokens, s.Longest()))
		if err != nil {
			return err
		}
		t.Host.Emit(message.Envelope{Type: "sample", Sample: &message.Sample{Step: step, Prompt: x.Prompts[i], Text: continuation}})
	}
	device.Trim(t.Dev)
	return nil
}

// writeClasses sends the most probable class of each prompt to the host.
func (x *samples) writeClasses(t *Trainer, step int) error {
	for i, prompt := range x.prompts {
		scores, err := t.Setup.ClassScores(t.Stepper, replay.UnlabelledSample(prompt[:min(len(prompt), t.Setup.Longest())]))
		if err != nil {
			return err
		}
		class := fmt.Sprintf("%s (%.0f %%)", scores[0].Label, 100*float64(scores[0].Score))
		t.Host.Emit(message.Envelope{Type: "sample", Sample: &message.Sample{Step: step, Prompt: x.Prompts[i], Text: class}})
	}
	return nil
}

// continueGreedily returns the continuation of a prompt. Prompt and continuation have at most longest tokens.
func continueGreedily(s *replay.Setup, text *replay.Text, prompt []int, longest int) (string, error) {
	decoder := s.Model.Tokenizer.Continue(prompt, true)
	sampler, stops := replay.NewTokenSampler(&message.GenerateJob{TopP: 1}), s.Model.Tokenizer.Stops()
	continuation, next := "", prompt
	for n := len(prompt); n < longest; n++ {
		logits, err := text.Read(next)
		if err != nil {
			return "", err
		}
		id, err := sampler.Pick(logits)
		if err != nil {
			return "", err
		}
		if slices.Contains(stops, id) {
			break
		}
		continuation += decoder.Next(id)
		next = []int{id}
	}
	return continuation + decoder.Flush(), nil
}
