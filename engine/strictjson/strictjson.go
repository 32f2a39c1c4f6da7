// Package strictjson finds what encoding/json accepts without a word, though writer and reader may understand it differently:
// a key that occurs twice in an object, where the last value silently wins, and half of a character that is written as two
// escapes, which silently becomes U+FFFD. All texts given to it are valid JSON.
package strictjson

import (
	"bytes"
	"encoding/json"
	"slices"
)

// RepeatedKey finds a key that an object of the text, at any depth, has more than once.
func RepeatedKey(text []byte) (repeated string, found bool) {
	var keys [][]byte // of the objects that are open, one object's after another's
	var open []int    // for each open object or array: where its keys begin, -1 for an array
	key := false      // the next string is a key
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{':
			open, key = append(open, len(keys)), true
		case '[':
			open, key = append(open, -1), false
		case ',':
			key = len(open) > 0 && open[len(open)-1] >= 0
		case ']':
			open = open[:len(open)-1]
		case '}':
			begin := open[len(open)-1]
			own := keys[begin:]
			slices.SortFunc(own, bytes.Compare)
			for j := 1; j < len(own); j++ {
				if bytes.Equal(own[j-1], own[j]) {
					return string(own[j]), true
				}
			}
			open, keys, key = open[:len(open)-1], keys[:begin], false
		case '"':
			end := stringEnd(text, i)
			if key {
				keys, key = append(keys, unquote(text[i:end])), false
			}
			i = end - 1
		}
	}
	return "", false
}

// stringEnd is the index behind the string that begins at i.
func stringEnd(text []byte, i int) int {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(text))
}

// unquote is the content of a string with its quotes.
func unquote(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return quoted
	}
	return []byte(s)
}

// LoneSurrogate is the first escape \uD800 to \uDFFF of the text that is not half of a pair; "" where there is none.
func LoneSurrogate(text []byte) string {
	for i := bytes.IndexByte(text, '\\'); i >= 0 && i < len(text); i++ {
		switch half, size := surrogate(text[i:]); {
		case text[i] != '\\':
			next := bytes.IndexByte(text[i:], '\\')
			if next < 0 {
				return ""
			}
			i += next - 1
		case size == 0:
			i++ // the escaped character, which may be a backslash
		case half == low:
			return string(text[i : i+size])
		default:
			if next, _ := surrogate(text[i+size:]); next != low {
				return string(text[i : i+size])
			}
			i += 2*size - 1
		}
	}
	return ""
}

// Halves of a pair of surrogates.
const (
	high = 'h'
	low  = 'l'
)

// surrogate tells which half the text begins with, and the length of its escape; 0 where it begins with neither.
func surrogate(text []byte) (half byte, size int) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' || text[2] != 'd' && text[2] != 'D' {
		return 0, 0
	}
	switch text[3] {
	case '8', '9', 'a', 'b', 'A', 'B':
		return high, 6
	case 'c', 'd', 'e', 'f', 'C', 'D', 'E', 'F':
		return low, 6
	}
	return 0, 0
}
