package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// finder returns the place [from, to) of the first match in a text that is not empty, or to = 0 where there is none.
type finder func(s string) (from, to int)

// findString finds a plain string.
func findString(want string) finder {
	return func(s string) (from, to int) {
		if i := strings.Index(s, want); i >= 0 {
			return i, i + len(want)
		}
		return 0, 0
	}
}

// findRune finds a single character for which is holds.
func findRune(is func(rune) bool) finder {
	return func(s string) (from, to int) {
		i := strings.IndexFunc(s, is)
		if i < 0 {
			return 0, 0
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		return i, i + n
	}
}

// isPunctuation is the original library's: ASCII punctuation and symbols, and Unicode's punctuation.
func isPunctuation(r rune) bool {
	return r < utf8.RuneSelf && (unicode.IsPunct(r) || unicode.IsSymbol(r)) || unicode.IsPunct(r)
}

// behaviors are what a Split does with a match, by its name in the file. Each makes a splitter.
var behaviors = map[string]func(finder) splitter{
	// A match is a piece.
	"Isolated": func(find finder) splitter {
		return func(s string) int {
			from, to := find(s)
			return firstPiece(s, from, to, to)
		}
	},
	// A match is left out.
	"Removed": func(find finder) splitter {
		return func(s string) int {
			from, to := find(s)
			return firstPiece(s, from, to, -to)
		}
	},
	// Matches without anything between them are one piece.
	"Contiguous": func(find finder) splitter {
		return func(s string) int {
			from, to := find(s)
			if from == 0 && to > 0 {
				for to < len(s) {
					next, end := find(s[to:])
					if next > 0 || end == 0 {
						break
					}
					to += end
				}
			}
			return firstPiece(s, from, to, to)
		}
	},
	// A match ends the piece before it; after another match it is a piece.
	"MergedWithPrevious": func(find finder) splitter {
		return func(s string) int {
			if _, to := find(s); to > 0 {
				return to
			}
			return len(s)
		}
	},
	// A match begins the piece after it; before another match it is a piece.
	"MergedWithNext": func(find finder) splitter {
		return func(s string) int {
			from, to := find(s)
			if from == 0 && to > 0 && to < len(s) {
				next, end := find(s[to:])
				return firstPiece(s, from, to, to+firstPiece(s[to:], next, end, 0))
			}
			return firstPiece(s, from, to, to)
		}
	},
}

// firstPiece is the length of the first piece of s: what is before the match [from, to), all of s where there is none, or
// atMatch where s begins with the match.
func firstPiece(s string, from, to, atMatch int) int {
	switch {
	case to == 0:
		return len(s)
	case from > 0:
		return from
	}
	return atMatch
}
