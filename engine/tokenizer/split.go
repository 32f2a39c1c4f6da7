package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The patterns that files split text with. Go's regexp has no look-ahead and an ASCII \s, so each is a function here,
// known by the exact pattern.
const (
	PatternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	PatternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	PatternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

var patterns = map[string]splitter{
	PatternGPT2:   splitGPT2,
	PatternLlama3: splitWords(3),
	PatternQwen2:  splitWords(1),
}

// A splitter returns the length in bytes of the first piece of a text that is not empty. A length below 0 says that so many
// bytes are left out.
type splitter func(string) int

// preTokenizer cuts normalised text into the pieces that merging must not cross.
type preTokenizer struct {
	space     string // what a space becomes; "" leaves it
	prefix    string // put before a text that does not begin with it; "" for nothing
	firstOnly bool   // the prefix only goes before the very start of the caller's text
	splits    []splitter
}

func (p *preTokenizer) split(s span, yield func(span) error) error {
	if p.space != "" {
		s = s.replace(" ", p.space)
	}
	if p.prefix != "" && (s.first || !p.firstOnly) && !strings.HasPrefix(s.text, p.prefix) {
		s = s.prepend(p.prefix)
	}
	return cutPieces(s, p.splits, yield)
}

// cutPieces cuts s with the first splitter, every piece with the second, and so on.
func cutPieces(s span, splits []splitter, yield func(span) error) error {
	if len(splits) == 0 {
		return yield(s)
	}
	for s.text != "" {
		n := splits[0](s.text)
		if n > 0 {
			if err := cutPieces(s.cut(0, n), splits[1:], yield); err != nil {
				return err
			}
		}
		n = max(n, -n)
		s = s.cut(n, len(s.text))
	}
	return nil
}

func splitGPT2(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	i := optionalSpace(s)
	if i < len(s) {
		if kind, _ := classAt(s[i:]); kind&space == 0 {
			return i + run(s[i:], kind)
		}
	}
	return spaces(s)
}

// splitWords is the pattern of Llama 3 and Qwen 2, which differ in how many digits they keep together.
func splitWords(digits int) splitter {
	return func(s string) int {
		if n := contraction(s, true); n > 0 {
			return n
		}
		kind, i := classAt(s)
		if kind&(newline|letter|number) != 0 {
			i = 0
		}
		if n := run(s[i:], letter); n > 0 {
			return i + n
		}
		if kind == number {
			return numberOfAtMost(s, digits)
		}
		i = optionalSpace(s)
		if n := run(s[i:], other); n > 0 {
			i += n
			return i + run(s[i:], newline)
		}
		white := s[:run(s, space)]
		if n := strings.LastIndexAny(white, "\r\n"); n >= 0 {
			return n + 1
		}
		return spaces(s)
	}
}

// numberOfAtMost returns the length of a run of at most so many digits.
func numberOfAtMost(s string, digits int) (length int) {
	for ; digits > 0 && length < len(s); digits-- {
		kind, n := classAt(s[length:])
		if kind != number {
			break
		}
		length += n
	}
	return length
}

// splitDigits parts digits from everything else, and from each other.
func splitDigits(s string) int {
	if kind, n := classAt(s); kind == number {
		return n
	}
	return run(s, ^number)
}

// splitNumbers parts runs of digits from everything else.
func splitNumbers(s string) int {
	if n := run(s, number); n > 0 {
		return n
	}
	return run(s, ^number)
}

// splitBefore starts a new piece at every mark.
func splitBefore(mark string) splitter {
	return func(s string) int {
		_, n := utf8.DecodeRuneInString(s)
		if i := strings.Index(s[n:], mark); i >= 0 {
			return n + i
		}
		return len(s)
	}
}

// spaces matches \s+(?!\S)|\s+ : white space, less its last character if something follows and one is left.
func spaces(s string) int {
	n := run(s, space)
	if _, last := utf8.DecodeLastRuneInString(s[:n]); n < len(s) && n > last {
		return n - last
	}
	return n
}

// optionalSpace matches " ?" before more text.
func optionalSpace(s string) int {
	if s[0] == ' ' {
		return 1
	}
	return 0
}

// contraction matches 's|'t|'re|'ve|'m|'ll|'d and returns its length, 0 for none. Folding case takes ſ (U+017F) for s.
func contraction(s string, fold bool) int {
	if s[0] != '\'' {
		return 0
	}
next:
	for _, c := range [...]string{"s", "t", "re", "ve", "m", "ll", "d"} {
		n := 1
		for _, want := range c {
			r, size := utf8.DecodeRuneInString(s[n:])
			if fold && r != want {
				if r = unicode.ToLower(r); r == 'ſ' {
					r = 's'
				}
			}
			if r != want {
				continue next
			}
			n += size
		}
		return n
	}
	return 0
}
