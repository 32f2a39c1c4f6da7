package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// normalizer rewrites a stretch of text before it is cut into pieces.
type normalizer func(span) span

func (t *Tokenizer) normalize(s span) span {
	for _, n := range t.normalizers {
		s = n(s)
	}
	return s
}

func prepending(p string) normalizer {
	return func(s span) span {
		if s.text == "" {
			return s
		}
		return s.prepend(p)
	}
}

func replacing(from, to string) normalizer {
	return func(s span) span { return s.replace(from, to) }
}

// lowercase maps each character by itself, so a final sigma is like any other. İ becomes two characters, i and a dot.
func lowercase(s span) span {
	var text strings.Builder
	var src [][2]int32
	for i := 0; i < len(s.text); {
		r, n := utf8.DecodeRuneInString(s.text[i:])
		before := text.Len()
		if r == 'İ' {
			text.WriteString("i\u0307")
		} else {
			text.WriteRune(unicode.ToLower(r))
		}
		if s.src != nil {
			src = extend(src, text.Len()-before, [2]int32{s.src[i][0], s.src[i+n-1][1]})
		}
		i += n
	}
	s.text, s.src = text.String(), src
	return s
}

// stripping takes white space off the ends of each stretch of text.
func stripping(left, right bool) normalizer {
	return func(s span) span {
		from, to := 0, len(s.text)
		if right {
			to = len(strings.TrimRightFunc(s.text, unicode.IsSpace))
		}
		if left {
			from = to - len(strings.TrimLeftFunc(s.text[:to], unicode.IsSpace))
		}
		return s.cut(from, to)
	}
}
