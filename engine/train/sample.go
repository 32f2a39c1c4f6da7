package train

import (
	"fmt"
	"slices"

	"llamatab/engine/chat"
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
	stops   []int   // tokens that end a text
}

// newSamples encodes the prompts. It returns nil if no samples are wanted or the model has no tokenizer. A classifier predicts
// the classes of the prompts with the program that evaluates held-out rows, so without held-out rows it has no samples.
func newSamples(s *replay.Setup, want *message.SampleJob) (*samples, error) {
	if want == nil || want.Every < 1 || want.MaxNewTokens < 1 || s.Model.Tokenizer == nil || s.Model.Decoder.Classes > 0 && s.Valid == nil {
		return nil, nil
	}
	x := &samples{SampleJob: *want, stops: s.Model.Tokenizer.Stops()}
	if s.Chat != nil {
		if err := x.openTurns(s); err != nil {
			return nil, err
		}
	} else {
		for _, p := range want.Prompts {
			ids, err := s.Model.Tokenizer.EncodeOnce(p)
			if err := x.add(s, p, ids, err); err != nil {
				return nil, err
			}
		}
	}
	if len(x.prompts) == 0 {
		return nil, nil
	}
	return x, nil
}

// add takes a prompt as ids, where err is nil and the model's context has room for more.
func (x *samples) add(s *replay.Setup, prompt string, ids []int, err error) error {
	if context := s.Model.Decoder.MaxPositions - s.Model.Decoder.Virtual(); err == nil && (len(ids) == 0 || len(ids) >= context) {
		err = fmt.Errorf("%d tokens where 1 to %d can be continued", len(ids), context-1)
	}
	if err != nil {
		return report.Fail("prompt", report.ExitConfig, "Change the prompt.", fmt.Errorf("samples: %q: %w", prompt, err))
	}
	x.prompts = append(x.prompts, ids)
	return nil
}

// openTurns makes the prompts those of a run on conversations: each is a message of the user, which the assistant answers. Without
// prompts they are openings of the run's own conversations, those that are no longer than the rows that train.
func (x *samples) openTurns(s *replay.Setup) error {
	openings, given := s.Openings, len(x.Prompts) > 0
	if given {
		openings = nil
		for _, p := range x.Prompts {
			openings = append(openings, &chat.Conversation{Messages: []*chat.Message{chat.NewMessage(chat.User, p)}})
		}
	}
	x.Prompts = nil
	for _, c := range openings {
		how, err := s.Model.Chat(s.Config.Dataset.Template, c.Tools != nil)
		if err != nil {
			return report.Fail("template", report.ExitConfig, "Choose another chat template, or correct the model's.", err)
		}
		text := chat.Content(c.Messages[len(c.Messages)-1])
		ids, err := s.Model.EncodePrompt(how, c)
		if !given && len(ids) >= s.Longest() { // longer than the rows that are trained: it would take long to read
			continue
		}
		if err := x.add(s, text, ids, err); err != nil {
			if !given {
				continue
			}
			return err
		}
		x.Prompts, x.stops = append(x.Prompts, text), how.Stops
	}
	return nil
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
		continuation, err := continueGreedily(s, text, prompt, x.stops, min(len(prompt)+x.MaxNewTokens, s.Longest()))
		if err != nil {
			return err
		}
		t.Host.Emit(message.Envelope{Type: "sample", Sample: &message.Sample{Step: step, Prompt: x.Prompts[i], Text: continuation, Chat: s.Chat != nil}})
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

// continueGreedily returns the continuation of a prompt, up to one of stops. Prompt and continuation have at most longest tokens.
func continueGreedily(s *replay.Setup, text *replay.Text, prompt, stops []int, longest int) (string, error) {
	decoder := s.Model.Tokenizer.Continue(prompt, true)
	sampler := replay.NewTokenSampler(&message.GenerateJob{TopP: 1})
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
