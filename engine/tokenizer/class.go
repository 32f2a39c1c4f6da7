package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// class is a set of kinds of characters. Every character is of one kind, but for newlines, which are spaces too.
type class uint8

const (
	letter  class = 1 << iota // \p{L}
	number                    // \p{N}
	space                     // \s, which is Unicode's White_Space
	newline                   // \r and \n
	other                     // none of the above
)

// asciiClass are the classes of the first 128 characters.
var asciiClass = func() (c [utf8.RuneSelf]class) {
	for b := range c {
		c[b] = unicodeClass(rune(b))
	}
	return c
}()

func unicodeClass(r rune) class {
	switch {
	case r >= 0x4E00 && r <= 0x9FFF || r >= 0xAC00 && r <= 0xD7A3: // Han and Hangul, the most frequent ones
		return letter
	case r == '\r' || r == '\n':
		return space | newline
	case isLetter(r):
		return letter
	case isNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

func isLetter(r rune) bool { return unicode.IsLetter(r) || unicode.Is(letters16, r) }
func isNumber(r rune) bool { return unicode.IsNumber(r) || unicode.Is(numbers16, r) }
func isMark(r rune) bool   { return unicode.IsMark(r) || unicode.Is(marks16, r) }

// isWord is \w of Unicode regular expressions (UTS #18, annex C).
func isWord(r rune) bool {
	return isLetter(r) || isMark(r) || unicode.In(r, unicode.Nd, unicode.Nl, unicode.Other_Alphabetic, unicode.Pc, unicode.Join_Control) ||
		unicode.Is(numbers16, r)
}

// The original library follows Unicode 16, Go's package unicode Unicode 15. These are the characters that came between, from
// DerivedGeneralCategory.txt of Unicode 16.0. All numbers among them are decimal digits.
var (
	letters16 = &unicode.RangeTable{
		R16: ranges16(0x1C89, 0x1C8A, 0xA7CB, 0xA7CD, 0xA7DA, 0xA7DC),
		R32: ranges32(0x105C0, 0x105F3, 0x10D4A, 0x10D65, 0x10D6F, 0x10D85, 0x10EC2, 0x10EC4, 0x11380, 0x11389, 0x1138B, 0x1138B,
			0x1138E, 0x1138E, 0x11390, 0x113B5, 0x113B7, 0x113B7, 0x113D1, 0x113D1, 0x113D3, 0x113D3, 0x11BC0, 0x11BE0, 0x13460, 0x143FA,
			0x16100, 0x1611D, 0x16D40, 0x16D6C, 0x18CFF, 0x18CFF, 0x1E5D0, 0x1E5ED, 0x1E5F0, 0x1E5F0, 0x2EBF0, 0x2EE5D),
	}
	numbers16 = &unicode.RangeTable{
		R32: ranges32(0x10D40, 0x10D49, 0x116D0, 0x116E3, 0x11BF0, 0x11BF9, 0x16130, 0x16139, 0x16D70, 0x16D79, 0x1CCF0, 0x1CCF9,
			0x1E5F1, 0x1E5FA),
	}
	marks16 = &unicode.RangeTable{
		R16: ranges16(0x0897, 0x0897),
		R32: ranges32(0x10D69, 0x10D6D, 0x10EFC, 0x10EFC, 0x113B8, 0x113C0, 0x113C2, 0x113C2, 0x113C5, 0x113C5, 0x113C7, 0x113CA,
			0x113CC, 0x113D0, 0x113D2, 0x113D2, 0x113E1, 0x113E2, 0x11F5A, 0x11F5A, 0x1611E, 0x1612F, 0x1E5EE, 0x1E5EF),
	}
)

// ranges16 makes ranges of pairs of a first and a last character.
func ranges16(pairs ...uint16) (r []unicode.Range16) {
	for i := 0; i < len(pairs); i += 2 {
		r = append(r, unicode.Range16{Lo: pairs[i], Hi: pairs[i+1], Stride: 1})
	}
	return r
}

func ranges32(pairs ...uint32) (r []unicode.Range32) {
	for i := 0; i < len(pairs); i += 2 {
		r = append(r, unicode.Range32{Lo: pairs[i], Hi: pairs[i+1], Stride: 1})
	}
	return r
}

// run returns the length of the longest prefix of s whose characters are all of the kinds in set.
func run(s string, set class) int {
	for i := 0; i < len(s); {
		if b := s[i]; b < utf8.RuneSelf {
			if asciiClass[b]&set == 0 {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if unicodeClass(r)&set == 0 {
			return i
		}
		i += n
	}
	return len(s)
}

// classAt returns the class of the character that s begins with and its length in bytes.
func classAt(s string) (class, int) {
	if b := s[0]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, n := utf8.DecodeRuneInString(s)
	return unicodeClass(r), n
}
