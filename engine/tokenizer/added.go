package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addition is an added token, which is found in the text before any merging.
type addition struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	Special    bool   `json:"special"`
	SingleWord bool   `json:"single_word"` // only between characters that are not of a word
	LStrip     bool   `json:"lstrip"`      // includes the white space before it
	RStrip     bool   `json:"rstrip"`      // and after it
	Normalized bool   `json:"normalized"`  // matched after normalisation, its content too being normalised

	text string // what is matched and decoded
}

// matcher finds added tokens: the leftmost one, and the longest of those that begin at the same place.
type matcher struct {
	tokens  map[string]addition
	lengths [256][]int // by first byte: the lengths of the tokens that begin with it, longest first
}

func (m *matcher) add(a addition) {
	if m.tokens == nil {
		m.tokens = map[string]addition{}
	}
	m.tokens[a.text] = a
	l := &m.lengths[a.text[0]]
	if i, found := slices.BinarySearchFunc(*l, len(a.text), func(have, want int) int { return want - have }); !found {
		*l = slices.Insert(*l, i, len(a.text))
	}
}

// at returns the token that s begins with and its length, 0 for none.
func (m *matcher) at(s string) (addition, int) {
	for _, n := range m.lengths[s[0]] {
		if n <= len(s) {
			if a, ok := m.tokens[s[:n]]; ok {
				return a, n
			}
		}
	}
	return addition{}, 0
}

// split adds the tokens it finds in s to e and calls rest with each stretch between them, in order.
func (m *matcher) split(s span, e *encoding, rest func(span) error) error {
	done := 0 // s.text[:done] is encoded
	for i := 0; i < len(s.text) && len(m.tokens) > 0; {
		if m.lengths[s.text[i]] == nil {
			i++
			continue
		}
		a, n := m.at(s.text[i:])
		if n == 0 {
			i++
			continue
		}
		from, to := i, i+n
		i = to
		if a.SingleWord && (endsWord(s.text[:from]) || beginsWord(s.text[to:])) {
			continue
		}
		if a.LStrip {
			from = len(strings.TrimRightFunc(s.text[:from], unicode.IsSpace))
		}
		if a.RStrip {
			to = len(s.text) - len(strings.TrimLeftFunc(s.text[to:], unicode.IsSpace))
			i = to
		}
		if from = max(from, done); from > done {
			if err := rest(s.cut(done, from)); err != nil {
				return err
			}
		}
		e.add(a.ID, s, from, to)
		done = to
	}
	if done == len(s.text) {
		return nil
	}
	return rest(s.cut(done, len(s.text)))
}

func endsWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func beginsWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}
