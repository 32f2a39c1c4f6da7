package data

import (
	"llamatab/engine/chat"
	"llamatab/engine/data/turns"
)

// conversations are the chat templates in use, and what a person should know about the conversations of a file.
type conversations struct {
	turns.Counts
	choices  map[bool]*chat.Choice // for conversations with tools, and without
	openings []*chat.Conversation  // see Dataset.Openings
}

// maxOpenings is how many conversations a dataset has the openings of.
const maxOpenings = 2

// open keeps the opening of a conversation whose messages from first on are trained.
func (a *conversations) open(c *chat.Conversation, first int) {
	n := first
	for n < len(c.Messages) && chat.Role(c.Messages[n]) != chat.Assistant {
		n++
	}
	if len(a.openings) == maxOpenings || n == 0 || chat.Role(c.Messages[n-1]) != chat.User || chat.Content(c.Messages[n-1]) == "" {
		return
	}
	for _, o := range a.openings {
		if chat.Content(o.Messages[len(o.Messages)-1]) == chat.Content(c.Messages[n-1]) {
			return
		}
	}
	a.openings = append(a.openings, &chat.Conversation{Messages: c.Messages[:n:n], Tools: c.Tools, Documents: c.Documents})
}

// choice is the template for conversations with tools or without.
func (e *Encoder) choice(tools bool) (*chat.Choice, error) {
	if c := e.chats.choices[tools]; c != nil {
		return c, nil
	}
	if e.opt.Chat == nil {
		return nil, errTokenizer
	}
	c, err := e.opt.Chat(tools)
	if err != nil {
		return nil, broken{err}
	}
	if e.chats.choices == nil {
		e.chats.choices = map[bool]*chat.Choice{}
	}
	e.chats.choices[tools] = c
	return c, nil
}

// Conversation adds a conversation. Its text is what the model's chat template makes of it, without further special tokens:
// a template writes BOS itself where the model wants one. Trained are the turns of the assistant from message first on, with
// what ends them; of a conversation that does not end with the assistant the tail is left out.
//
// The text is tokenized in one piece, and the offsets tell which tokens belong to a turn. A token that reaches over the
// border of a turn belongs to the turn.
func (e *Encoder) Conversation(c *chat.Conversation, first int) error {
	if e.opt.Tokenizer == nil {
		return errTokenizer
	}
	n := len(c.Messages)
	for n > first && chat.Role(c.Messages[n-1]) != chat.Assistant {
		n--
	}
	if n == first {
		e.chats.Unanswered(e.line)
		e.drop(&e.d.Stats.Masked)
		return nil
	}
	messages := c.Messages
	c.Messages = messages[:n]
	if err := turns.Silent(c.Messages); err != nil {
		return err
	}
	how, err := e.choice(c.Tools != nil)
	if err != nil {
		return err
	}
	r, err := how.Template.Trained(c, chat.Options{}, how.Ends)
	if err != nil {
		return fault("row_template", "the chat template does not take the conversation: {why}", "why", err.Error())
	}
	spans := r.Spans
	if first > 0 {
		if spans, err = turns.Behind(how.Template, c, r, first); err != nil {
			return fault("row_template", "the chat template does not take the conversation: {why}", "why", err.Error())
		}
	}
	ids, offsets, err := e.opt.Tokenizer.EncodeOffsets(r.Text)
	if err != nil {
		return err
	}
	e.chats.Add(c, messages, r, how, e.line)
	if e.d.Chat == nil {
		e.d.Chat = how
	}
	e.outlineTurns(func() []chat.Turn { return how.Template.Outline(c, r.Text) }, offsets)
	e.chats.open(c, first)
	if e.opt.TrainOnPrompt {
		return e.row(ids, 0)
	}
	return e.labelled(ids, turns.InSpans(offsets, spans))
}

// broken is an error that no other row can be free of: it ends the reading also where bad rows are left out.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }
