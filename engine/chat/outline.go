package chat

import "strings"

// Turn is where a message of a conversation begins in the rendered text, with what the template writes before it.
type Turn struct {
	Role string
	From int // bytes
}

// Outline finds where the messages of c begin in text, which the template has made of c. Message i begins where the rendering of
// the messages before it ends, if that is a prefix of text. Where a template rewrites earlier turns, it begins behind the text of
// the message before with what the template writes at its end, or else at its own text. A message that is not found
// belongs to the one before.
func (t *Template) Outline(c *Conversation, text string) []Turn {
	var turns []Turn
	for i, m := range c.Messages {
		from, last := 0, 0
		if n := len(turns); n > 0 {
			last = turns[n-1].From
		}
		if i > 0 {
			from = t.begin(c, i, text, last)
		}
		if from >= last {
			turns = append(turns, Turn{Role(m), from})
		}
	}
	return turns
}

// begin is the byte at which message i begins in text, where the message before begins at last; -1 where it is not found.
func (t *Template) begin(c *Conversation, i int, text string, last int) int {
	before, err := t.Text(c.upTo(i), Options{})
	if err == nil && len(before) >= last && strings.HasPrefix(text, before) {
		return len(before)
	}
	for _, content := range contents(c.Messages[i-1]) {
		if at := strings.LastIndex(before, content); at >= 0 {
			if n := strings.Index(text[last:], before[at:]); n >= 0 {
				return last + n + len(before[at:])
			}
		}
	}
	for _, content := range contents(c.Messages[i]) {
		if n := strings.Index(text[last:], content); n >= 0 {
			return last + n
		}
	}
	return -1
}
