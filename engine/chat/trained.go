package chat

import (
	"strings"
	"unicode/utf8"
)

// Rendered is the text of a conversation with what the assistant wrote in it.
type Rendered struct {
	Text string
	// Spans are the bytes [from, to) of Text that the assistant wrote, with the end of its turn, in order.
	Spans [][2]int
	// Rewritten are assistant turns that the template writes in another way once others follow, such as without their
	// thinking. They were found by their own text.
	Rewritten int
	// Lost are assistant turns that were not found in Text. They have no span.
	Lost int
	// Open are spans that end with none of the given ends.
	Open int
}

// Trained renders a whole conversation and finds what the assistant wrote. ends are the tokens at which the model stops;
// white space that a template puts behind one is not part of a span, as nobody generates it.
//
// Where the template marks the assistant's text with {% generation %}, the marks are the spans. Else each assistant turn i
// is found by rendering prefixes of the conversation:
//
//	before = messages[:i] with the generation prompt
//	after  = messages[:i+1]
//
// The span is [len(before), len(after)) where before is a prefix of after and after one of the whole text. Where the
// template rewrites turns, so that one of them is not, the turn's own text is searched for behind the last span.
func (t *Template) Trained(c *Conversation, o Options, ends []string) (*Rendered, error) {
	o.Prompt = false
	whole, err := t.render(c, o)
	if err != nil {
		return nil, err
	}
	r := &Rendered{Text: whole.Text, Spans: whole.Generated}
	if len(r.Spans) == 0 {
		for i, m := range c.Messages {
			if Role(m) == Assistant {
				t.locate(r, c, i, o)
			}
		}
	}
	for i, s := range r.Spans {
		r.Spans[i][1] = s[0] + endOfTurn(r.Text[s[0]:s[1]], ends)
		if !endsWith(r.Text[s[0]:r.Spans[i][1]], ends) {
			r.Open++
		}
	}
	return r, nil
}

// endOfTurn is the length of a turn without the white space behind the token that ends it.
func endOfTurn(turn string, ends []string) int {
	if trimmed := strings.TrimRight(turn, " \t\r\n"); endsWith(trimmed, ends) {
		return len(trimmed)
	}
	return len(turn)
}

func endsWith(text string, ends []string) bool {
	for _, end := range ends {
		if end != "" && strings.HasSuffix(text, end) {
			return true
		}
	}
	return false
}

// locate adds the span of the assistant's turn i.
func (t *Template) locate(r *Rendered, c *Conversation, i int, o Options) {
	from := 0
	if n := len(r.Spans); n > 0 {
		from = r.Spans[n-1][1]
	}
	prompt := o
	prompt.Prompt = true
	before, errBefore := t.Text(c.upTo(i), prompt)
	after, errAfter := t.Text(c.upTo(i+1), o)
	if errBefore == nil && errAfter == nil && len(before) >= from && strings.HasPrefix(after, before) && strings.HasPrefix(r.Text, after) {
		if len(after) > len(before) {
			r.Spans = append(r.Spans, [2]int{len(before), len(after)})
		} else {
			r.Lost++
		}
		return
	}
	span, ok := [2]int{}, false
	if start, known := r.behind(c, i, from, before); known {
		span, ok = r.search(c.Messages[i], from, start, before, after)
	}
	if !ok {
		r.Lost++
		return
	}
	r.Rewritten++
	r.Spans = append(r.Spans, span)
}

// behind is the place in the text behind which turn i of the assistant stands: where the whole text and the text with the
// generation prompt part or, where these part before the turn's prompt ends, behind the messages since the assistant's last turn. It
// is not known where one of these is not found as it is: what the turn says might stand in it as well.
func (r *Rendered) behind(c *Conversation, i, from int, before string) (start int, known bool) {
	shared := sharedPrefix(r.Text, before)
	start = max(from, shared)
	if before != "" && shared == len(before) {
		return start, true
	}
	first := i
	for first > 0 && Role(c.Messages[first-1]) != Assistant {
		first--
	}
	at := from
	for _, m := range c.Messages[first:i] {
		content := strings.TrimSpace(Content(m))
		n := strings.Index(r.Text[at:], content)
		if n < 0 {
			return 0, false
		}
		at += n + len(content)
	}
	return max(start, at), true
}

// search finds a turn by its own text: as it stands in the rendering that ends with this turn, or else the message's
// content, or what is left of the content without thinking. It is searched for behind start. Behind the content, what stands there in the rendering that ends with this
// turn is taken in, as far as it is the same: the end of the turn.
func (r *Rendered) search(m *Message, from, start int, before, after string) (span [2]int, ok bool) {
	shared := sharedPrefix(r.Text, before)
	if turn, ok := strings.CutPrefix(after, before); ok && turn != "" {
		if at := strings.Index(r.Text[start:], turn); at >= 0 {
			return [2]int{start + at, start + at + len(turn)}, true
		}
	}
	for _, content := range contents(m) {
		at := strings.Index(r.Text[start:], content)
		if at < 0 {
			continue
		}
		span = [2]int{start + at, start + at + len(content)}
		if shared >= from && shared == len(before) {
			span[0] = start // what the template writes between the generation prompt and the content, such as empty thinking
		}
		if last := strings.LastIndex(after, content); last >= 0 {
			tail := after[last+len(content):]
			bare := strings.TrimLeft(tail, " \t\r\n") // the space may be the content's own, which was trimmed
			span[1] += max(sharedPrefix(r.Text[span[1]:], tail), sharedPrefix(r.Text[span[1]:], bare))
		}
		return span, true
	}
	return span, false
}

// contents are forms in which a template may write a message's text, the most complete first.
func contents(m *Message) (all []string) {
	content := Content(m)
	forms := []string{content, strings.TrimSpace(content)}
	const thinking = "</think>"
	if at := strings.LastIndex(content, thinking); at >= 0 {
		forms = append(forms, strings.TrimSpace(content[at+len(thinking):]))
	}
	for _, form := range forms {
		if form != "" {
			all = append(all, form)
		}
	}
	return all
}

// sharedPrefix is the number of bytes that two texts begin with alike, up to a whole character.
func sharedPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}
