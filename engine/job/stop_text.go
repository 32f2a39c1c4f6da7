package job

import (
	"slices"
	"strings"

	"llamatab/engine/message"
	"llamatab/engine/tokenizer"
)

// writer turns the ids of an answer into text, token by token.
type writer struct {
	decoder *tokenizer.Decoder
	text    *stopText
	stops   []int // ids that end the answer and are not part of its text
	each    func(message.Token)
	said    string
	last    int // the id that was taken last
}

// take takes the next id and reports whether the answer ends with it.
func (w *writer) take(id int) (ended bool) {
	w.last = id
	if slices.Contains(w.stops, id) {
		return true
	}
	w.say(w.text.add(w.decoder.Next(id)))
	return w.text.found
}

// end says what is still held back.
func (w *writer) end() {
	if !w.text.found {
		w.say(w.text.add(w.decoder.Flush()) + w.text.rest())
	}
}

func (w *writer) say(text string) {
	if text != "" {
		w.said += text
		w.each(message.Token{ID: w.last, Text: text})
	}
}

// stopText lets a text through up to the first of some words. It holds back an end of the text that may be the beginning of
// one.
type stopText struct {
	words []string
	held  string
	found bool
}

func newStopText(words []string) *stopText {
	return &stopText{words: slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "" })}
}

// add takes more text and returns what can be let through.
func (s *stopText) add(text string) string {
	s.held += text
	at := -1
	for _, w := range s.words {
		if i := strings.Index(s.held, w); i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at >= 0 {
		through := s.held[:at]
		s.held, s.found = "", true
		return through
	}
	keep := 0
	for _, w := range s.words {
		for n := min(len(w)-1, len(s.held)); n > keep; n-- {
			if strings.HasSuffix(s.held, w[:n]) {
				keep = n
			}
		}
	}
	through := s.held[:len(s.held)-keep]
	s.held = s.held[len(through):]
	return through
}

// rest is what was held back and turned out to be no such word.
func (s *stopText) rest() string {
	rest := s.held
	s.held = ""
	return rest
}
