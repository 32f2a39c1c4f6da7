package job

import (
	"context"
	"errors"
	"fmt"

	"llamatab/engine/chat"
	"llamatab/engine/data"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// talk is a model that answers conversations. It keeps the keys and values of the last one, and computes only what is new in the
// next.
type talk struct {
	host     report.Asker
	setup    *replay.Setup
	text     *replay.Text
	template string
	choices  map[bool]*chat.Choice // of conversations with tools and without
	read     []int                 // the tokens that the text holds
}

// fail tells the host why there is no answer.
func (t *talk) fail(err error) {
	t.host.Emit(message.Envelope{Type: "reply", Reply: &message.Reply{Failed: report.Failure(err)}})
}

// answer writes the assistant's next turn. A conversation that has none is told in the reply; the error is one of the device,
// after which no conversation can be answered. stopped: the host wants the job to end.
func (t *talk) answer(ctx context.Context, ask *message.Ask) (stopped bool, err error) {
	prompt, stops, err := t.prompt(ask)
	if err != nil {
		t.fail(err)
		return false, nil
	}
	reply := &message.Reply{PromptTokens: len(prompt)}
	w := &writer{text: newStopText(ask.Stop), stops: stops, decoder: t.setup.Model.Tokenizer.Continue(prompt, true).Whole(),
		each: func(token message.Token) { t.host.Emit(message.Envelope{Type: "token", Token: &token}) }}
	reply.CachedTokens = min(sharedTokens(t.read, prompt), len(prompt)-1) // the logits behind the last one are needed
	t.text.Keep(reply.CachedTokens)
	d := &decoding{host: t.host, text: t.text, sampler: replay.NewTokenSampler(&ask.Sampling), ids: prompt, read: reply.CachedTokens,
		longest: len(prompt) + min(t.setup.Longest()-len(prompt), ask.Sampling.MaxNewTokens),
		cancels: func(c message.Control) bool {
			stopped = c == message.Stop
			return stopped || c == message.Cancel(ask.Number)
		},
		take: func(id int, _ bool) bool { return w.take(id) }}
	if reply.Finish, err = d.run(ctx); err != nil {
		return false, err
	}
	t.read = d.ids[:d.read]
	w.end()
	reply.Text, reply.Tokens = w.said, len(d.ids)-len(prompt)
	t.host.Emit(message.Envelope{Type: "reply", Reply: reply})
	return stopped, nil
}

// prompt is a conversation in the tokens of the model, up to where the assistant's turn begins, with the ids that end the turn.
func (t *talk) prompt(ask *message.Ask) (ids, stops []int, err error) {
	fail := func(next string, err error) error { return report.Fail("prompt", report.ExitConfig, next, err) }
	conversation, err := data.ParseConversation(ask.Conversation)
	if err != nil {
		return nil, nil, fail("Correct the messages.", err)
	}
	if g := ask.Sampling; g.MaxNewTokens < 1 || !(g.Temperature >= 0) || !(g.TopP > 0 && g.TopP <= 1) || g.TopK < 0 {
		return nil, nil, fail("Correct the settings.", errors.New("max_new_tokens is at least 1, temperature and top_k are at least 0, top_p is above 0 and at most 1"))
	}
	tools := conversation.Tools != nil
	if t.choices[tools] == nil {
		if t.choices[tools], err = t.setup.Model.Chat(t.template, tools); err != nil {
			return nil, nil, fail("Choose another chat template, or correct the model's.", err)
		}
	}
	if ids, err = encodeConversation(t.setup, t.choices[tools], conversation); chat.Refused(err) {
		return nil, nil, report.Fail("turns_refused", report.ExitConfig, "Change the messages, or choose another chat template.", err)
	} else if err != nil {
		return nil, nil, fail("Change the messages, or choose another chat template.", err)
	}
	if longest := t.setup.Longest(); len(ids) >= longest {
		return nil, nil, report.Fail("context_full", report.ExitConfig, "Begin a new conversation, shorten it, or allow a longer context.", fmt.Errorf("the conversation has %d tokens, which leaves no room for an answer in a context of %d", len(ids), longest))
	}
	return ids, t.choices[tools].Stops, nil
}

// sharedTokens is the number of tokens that two texts begin with alike.
func sharedTokens(a, b []int) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
