package turns

import (
	"strings"

	"llamatab/engine/chat"
)

// Counts are what a person should know about the conversations of a file.
type Counts struct {
	rows, turns           int   // and turns of the assistant
	rewritten, lost, open int   // turns; see chat.Rendered
	tails                 found // conversations that do not end with the assistant
	repeated              found // with two turns of the user, or of the assistant, in a row
	inside                found // with a system message that is not the first message
	begun                 found // in which the assistant speaks before any user
	unanswered            found // without a turn of the assistant
	standIn               string
}

// found counts conversations and keeps the line of the first.
type found struct{ n, line int }

func (f *found) add(line int) {
	if f.n++; f.n == 1 {
		f.line = line
	}
}

// Unanswered counts a conversation that is left out because the assistant has no turn in it that could be trained.
func (s *Counts) Unanswered(line int) { s.unanswered.add(line) }

// Add counts a rendered conversation. messages are all of its messages: those behind the last turn of the assistant are not in c.
func (s *Counts) Add(c *chat.Conversation, messages []*chat.Message, r *chat.Rendered, how *chat.Choice, line int) {
	s.rows++
	for _, m := range c.Messages {
		if chat.Role(m) == chat.Assistant {
			s.turns++
		}
	}
	if how.StandIn {
		s.standIn = how.Template.Name
	}
	if len(c.Messages) < len(messages) {
		s.tails.add(line)
	}
	s.roles(messages, line)
	s.rewritten, s.lost, s.open = s.rewritten+r.Rewritten, s.lost+r.Lost, s.open+r.Open
}

// roles counts a conversation whose roles do not alternate between user and assistant. Turns of tools stand between them.
func (s *Counts) roles(messages []*chat.Message, line int) {
	before, asked := "", false
	var repeated, inside, begun bool
	for i, m := range messages {
		switch role := chat.Role(m); role {
		case chat.System:
			inside = inside || i > 0
		case chat.User:
			repeated, asked = repeated || before == role, true
		case chat.Assistant:
			repeated, begun = repeated || before == role, begun || !asked
		}
		before = chat.Role(m)
	}
	if repeated {
		s.repeated.add(line)
	}
	if inside {
		s.inside.add(line)
	}
	if begun {
		s.begun.add(line)
	}
}

// Behind are the spans behind the first messages, which are a prompt. A template may rewrite these as well: then the last
// spans are taken, one for each turn of the assistant that is no prompt.
func Behind(t *chat.Template, c *chat.Conversation, r *chat.Rendered, first int) ([][2]int, error) {
	prompt := &chat.Conversation{Messages: c.Messages[:first], Tools: c.Tools, Documents: c.Documents}
	text, err := t.Text(prompt, chat.Options{Prompt: true})
	if err != nil {
		return nil, err
	}
	var spans [][2]int
	if strings.HasPrefix(r.Text, text) {
		for _, s := range r.Spans {
			if s[1] > len(text) {
				spans = append(spans, [2]int{max(s[0], len(text)), s[1]})
			}
		}
		return spans, nil
	}
	turns := 0
	for _, m := range c.Messages[first:] {
		if chat.Role(m) == chat.Assistant {
			turns++
		}
	}
	return r.Spans[max(0, len(r.Spans)-turns):], nil
}

// InSpans tells of each token whether it belongs to one of the spans of bytes, which are in order. A token that stands for
// no bytes, as SentencePiece's space before a text, belongs to the span in which it stands.
func InSpans(offsets [][2]int, spans [][2]int) []bool {
	in := make([]bool, len(offsets))
	at := 0
	for i, o := range offsets {
		for at < len(spans) && spans[at][1] <= o[0] {
			at++
		}
		in[i] = at < len(spans) && (o[1] > spans[at][0] || o[0] == o[1] && o[0] >= spans[at][0])
	}
	return in
}

// Tell says what a person should know about the conversations of a file.
func (s *Counts) Tell(file string, remark func(code, text string, pairs ...any)) {
	if all := s.rows + s.unanswered.n; s.unanswered.n > 0 {
		remark("chat_unanswered", "{file}: {n} of {rows} conversations, the first at line {line}, have no turn of the assistant: they are left out",
			"file", file, "n", s.unanswered.n, "rows", all, "line", s.unanswered.line)
	}
	if s.rows == 0 {
		return
	}
	if s.standIn != "" {
		remark("chat_builtin", "{file}: the model has no chat template: conversations are put together by the built-in template {name}", "file", file, "name", s.standIn)
	}
	if s.tails.n > 0 {
		remark("chat_tails", "{file}: {n} of {rows} conversations, the first at line {line}, do not end with the assistant: what follows its last turn is left out",
			"file", file, "n", s.tails.n, "rows", s.rows, "line", s.tails.line)
	}
	if s.repeated.n > 0 {
		remark("chat_repeated", "{file}: {n} of {rows} conversations, the first at line {line}, have two turns of the user or of the assistant in a row: they are trained as they stand",
			"file", file, "n", s.repeated.n, "rows", s.rows, "line", s.repeated.line)
	}
	if s.inside.n > 0 {
		remark("chat_system_inside", "{file}: {n} of {rows} conversations, the first at line {line}, have a system message that is not their first message: they are trained as they stand",
			"file", file, "n", s.inside.n, "rows", s.rows, "line", s.inside.line)
	}
	if s.begun.n > 0 {
		remark("chat_begun", "{file}: {n} of {rows} conversations, the first at line {line}, begin with the assistant: it is trained to speak before anybody has asked",
			"file", file, "n", s.begun.n, "rows", s.rows, "line", s.begun.line)
	}
	if s.rewritten > 0 {
		remark("chat_rewritten", "{file}: the chat template writes {n} of {turns} turns of the assistant in another way once others follow: they are found by their own text",
			"file", file, "n", s.rewritten, "turns", s.turns)
	}
	if s.lost > 0 {
		remark("chat_lost", "{file}: {n} of {turns} turns of the assistant are not found in what the chat template writes: they are not trained",
			"file", file, "n", s.lost, "turns", s.turns)
	}
	if s.open > 0 {
		remark("chat_open", "{file}: the chat template ends {n} of {turns} turns of the assistant without a token at which the model stops: it does not learn there to stop",
			"file", file, "n", s.open, "turns", s.turns)
	}
}
