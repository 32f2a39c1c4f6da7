package train

import (
	"fmt"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/message"
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
func newSamples(s *Setup, want *message.SampleJob) (*samples, error) {
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
	if t.setup.Model.Decoder.Classes > 0 {
		return x.judge(t, step)
	}
	s := *t.setup
	s.decode, s.steps, s.grads, s.batch = true, false, false, 1
	longest := 0
	for _, p := range x.prompts {
		longest = max(longest, len(p))
	}
	s.lengths = []int{min(longest+x.MaxNewTokens, s.Model.Decoder.MaxPositions-s.Model.Decoder.Virtual())}
	token, err := s.recordDecode()
	if err != nil {
		return err
	}
	virtual, err := s.recordVirtual()
	if err != nil {
		return err
	}
	s.activations = graph.MergePlans(token.Plan(), virtual.Plan())
	st, err := newStepper(&s, t.dev, t.mem, t.host, t.stepper.table())
	if err != nil {
		return err
	}
	defer st.free()
	text, err := newText(st)
	if err != nil {
		return err
	}
	defer text.free()
	begun := text.length
	for i, prompt := range x.prompts {
		text.length = begun // what is in the caches beyond is never read
		said, err := s.greedy(text, prompt, min(len(prompt)+x.MaxNewTokens, s.longest()))
		if err != nil {
			return err
		}
		t.host.Emit(message.Envelope{Type: "sample", Sample: &message.Sample{Step: step, Prompt: x.Prompts[i], Text: said}})
	}
	device.Trim(t.dev)
	return nil
}

// judge tells the classes of the prompts.
func (x *samples) judge(t *Trainer, step int) error {
	for i, prompt := range x.prompts {
		scores, err := t.setup.scoresOf(t.stepper, textSample(prompt[:min(len(prompt), t.setup.longest())]))
		if err != nil {
			return err
		}
		said := fmt.Sprintf("%s (%.0f %%)", scores[0].Label, 100*float64(scores[0].Score))
		t.host.Emit(message.Envelope{Type: "sample", Sample: &message.Sample{Step: step, Prompt: x.Prompts[i], Text: said}})
	}
	return nil
}

// greedy is what follows a prompt, up to so many tokens in all.
func (s *Setup) greedy(text *text, prompt []int, longest int) (string, error) {
	decoder := s.Model.Tokenizer.Continue(prompt, true)
	sampler, stops := newTokenSampler(&message.GenerateJob{TopP: 1}), s.Model.Tokenizer.Stops()
	said, next := "", prompt
	for n := len(prompt); n < longest; n++ {
		scores, err := text.read(next)
		if err != nil {
			return "", err
		}
		id, err := sampler.pick(scores)
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
