package turns

import (
	"strings"

	"llamatab/engine/chat"
)

// Counts are what a person should know about the conversations of a file.
type Counts struct {
	rows, turns           int // and turns of the assistant
	rewritten, lost, open int // turns; see chat.Rendered
	tails, tailLine       int // conversations that do not end with the assistant, and the line of the first
	standIn               string
}

// Add counts a rendered conversation. cut says that it did not end with the assistant.
func (s *Counts) Add(c *chat.Conversation, r *chat.Rendered, how *chat.Choice, cut bool, line int) {
	s.rows++
	for _, m := range c.Messages {
		if chat.Role(m) == chat.Assistant {
			s.turns++
		}
	}
	if how.StandIn {
		s.standIn = how.Template.Name
	}
	if cut {
		if s.tails++; s.tails == 1 {
			s.tailLine = line
		}
	}
	s.rewritten, s.lost, s.open = s.rewritten+r.Rewritten, s.lost+r.Lost, s.open+r.Open
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
	if s.rows == 0 {
		return
	}
	if s.standIn != "" {
		remark("chat_builtin", "{file}: the model has no chat template: conversations are put together by the built-in template {name}", "file", file, "name", s.standIn)
	}
	if s.tails > 0 {
		remark("chat_tails", "{file}: {n} of {rows} conversations, the first at line {line}, do not end with the assistant: what follows its last turn is left out",
			"file", file, "n", s.tails, "rows", s.rows, "line", s.tailLine)
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
