package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"llamatab/engine/chat"
	"llamatab/engine/data/turns"
	"llamatab/engine/jinja"
	"llamatab/engine/message"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// written is the text that one model continues a prompt to.
type written struct {
	Name   string `json:"name,omitempty"`
	Type   string `json:"peft_type,omitempty"`
	Output []int  `json:"output_ids"`
	Text   string `json:"text"`
}

// generate continues a prompt with the model, or with each model of a comparison. A classifier labels the prompt instead.
func (j *Job) generate(ctx context.Context) error {
	g := j.Job.Generate
	if g == nil || g.MaxNewTokens < 0 || g.Temperature < 0 || g.TopP < 0 || g.TopP > 1 || g.TopK < 0 {
		return report.Fail("config", report.ExitConfig, "See llamatab generate --help.", errors.New("generate: a setting is out of range: max-new-tokens, temperature and top-k are at least 0, top-p is from 0 to 1"))
	}
	s, err := j.openModel()
	if err != nil {
		return err
	}
	defer s.Model.Close()
	if len(g.Labels) > 0 && s.Model.Decoder.Classes == 0 && !j.compares() {
		s.Model.AddScore(len(g.Labels))
		s.Model.Classes, s.Model.Seed = g.Labels, g.Seed
	}
	s.Model.Freeze()
	if err := s.Model.CheckWeights(); err != nil {
		return err
	}
	if s.Model.Decoder.Classes > 0 && !j.compares() {
		return j.classify(ctx, s)
	}
	prompt, stops, err := encodePrompt(s, g)
	if err != nil {
		return err
	}
	stream := func(t message.Token) { j.Host.Emit(message.Envelope{Type: "token", Token: &t}) }
	if j.compares() {
		stream = func(message.Token) {} // the texts of several models are shown when all are complete
	}
	var texts []written
	if err := j.withModels(ctx, s, func(a *pretrained.Adapter, st *replay.Stepper) error {
		ids, err := j.write(ctx, st, slices.Clone(prompt), stops, stream)
		if err != nil {
			return err
		}
		w := written{Output: ids, Text: s.Model.Tokenizer.Decode(ids, true)}
		if g.Messages != nil { // the answer alone
			w.Text = s.Model.Tokenizer.Decode(ids[len(prompt):], true)
		}
		if a != nil {
			w.Name, w.Type = a.Name, a.Config.Type
		}
		texts = append(texts, w)
		return nil
	}); err != nil {
		return err
	}
	answer := map[string]any{"prompt": g.Prompt, "prompt_ids": prompt}
	if j.compares() {
		answer["base"], answer["adapters"] = texts[0], texts[1:]
	} else {
		answer["output_ids"], answer["text"] = texts[0].Output, texts[0].Text
	}
	result, err := json.Marshal(answer)
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}

// encodePrompt encodes the prompt of a job, and makes the setup one that continues it. stops are the tokens that end the text.
func encodePrompt(s *replay.Setup, g *message.GenerateJob) (prompt, stops []int, err error) {
	if s.Model.Decoder.Classes > 0 {
		return nil, nil, report.Fail("model", report.ExitConfig, "Give one adapter, and the prompt gets a label; or compare them on a dataset with llamatab eval.",
			errors.New("generate: the model tells classes of texts apart, it does not continue them"))
	}
	context := s.Model.Decoder.MaxPositions - s.Model.LongestPrefix()
	if g.Messages != nil {
		prompt, stops, err = encodeMessages(s, g)
	} else if prompt, err = encodeText(s, g.Prompt); err == nil {
		stops = s.Model.Tokenizer.Stops()
	}
	if err == nil && len(prompt) >= context && g.MaxNewTokens > 0 {
		err = report.Fail("prompt", report.ExitConfig, "Change the prompt.", fmt.Errorf("generate: the prompt has %d tokens, the model's context is %d", len(prompt), context))
	}
	if err != nil {
		return nil, nil, err
	}
	s.Decodes, s.Lengths = true, []int{min(len(prompt)+g.MaxNewTokens, context)}
	return prompt, stops, nil
}

// encodeMessages encodes a conversation by the model's chat template, up to where the assistant's next turn begins.
func encodeMessages(s *replay.Setup, g *message.GenerateJob) (prompt, stops []int, err error) {
	if s.Model.Tokenizer == nil {
		return nil, nil, errNoTokenizer()
	}
	bad := func(err error) ([]int, []int, error) {
		return nil, nil, report.Fail("prompt", report.ExitConfig, "Change the messages.", fmt.Errorf("generate: messages: %w", err))
	}
	v, err := jinja.FromJSON(g.Messages)
	if err != nil {
		return bad(err)
	}
	messages, err := turns.OpenAI(v, `"messages"`)
	if err != nil {
		return bad(err)
	}
	how, err := s.Model.Chat("", false)
	if err != nil {
		return bad(err)
	}
	if prompt, err = encodeConversation(s, how, &chat.Conversation{Messages: messages}); err != nil {
		return bad(err)
	}
	return prompt, how.Stops, nil
}

// encodeConversation encodes a conversation by a chat template, up to where the assistant's next turn begins.
func encodeConversation(s *replay.Setup, how *chat.Choice, c *chat.Conversation) ([]int, error) {
	ids, err := s.Model.EncodePrompt(how, c)
	if err != nil {
		return nil, err
	}
	return ids, inVocabulary(s, ids)
}

// encodeText spells a prompt in tokens of the model.
func encodeText(s *replay.Setup, text string) ([]int, error) {
	if s.Model.Tokenizer == nil {
		return nil, errNoTokenizer()
	}
	prompt, err := s.Model.Tokenizer.EncodeOnce(text)
	if err == nil && len(prompt) == 0 {
		err = errors.New("the prompt has no tokens and the tokenizer adds none")
	}
	if err == nil {
		err = inVocabulary(s, prompt)
	}
	if err != nil {
		return nil, report.Fail("prompt", report.ExitConfig, "Change the prompt.", fmt.Errorf("generate: %w", err))
	}
	return prompt, nil
}

func errNoTokenizer() error {
	return report.Fail("tokenizer", report.ExitConfig, pretrained.ModelHint, errors.New("generate: the model folder has no tokenizer.json"))
}

// inVocabulary is the error of a prompt with a token that the model's embedding has no row for.
func inVocabulary(s *replay.Setup, prompt []int) error {
	for _, id := range prompt {
		if id >= s.Model.Decoder.Vocab {
			token, _ := s.Model.Tokenizer.Token(id)
			return fmt.Errorf("token %d (%q) is not in the model's vocabulary of %d", id, token, s.Model.Decoder.Vocab)
		}
	}
	return nil
}

// write continues a text of ids until one of stops ends it, is as long as the setup allows or is stopped. Each new token goes to each.
func (j *Job) write(ctx context.Context, st *replay.Stepper, ids, stops []int, each func(message.Token)) ([]int, error) {
	text, err := replay.NewText(st)
	if err != nil {
		return nil, err
	}
	defer text.Free()
	tokens := st.Setup.Model.Tokenizer
	decoder := tokens.Continue(ids, true)
	d := &decoding{host: j.Host, text: text, sampler: replay.NewTokenSampler(j.Job.Generate), ids: ids, longest: st.Setup.Longest(),
		cancels: func(c message.Control) bool { return c == message.Stop },
		take: func(id int, last bool) bool {
			said, ended := decoder.Next(id), slices.Contains(stops, id)
			if ended || last {
				said += decoder.Flush()
			}
			each(message.Token{ID: id, Text: said})
			return ended
		}}
	finish, err := d.run(ctx)
	if err != nil {
		return nil, err
	}
	if rest := decoder.Flush(); finish == finishCancelled && rest != "" {
		each(message.Token{ID: d.ids[len(d.ids)-1], Text: rest})
	}
	return d.ids, nil
}
