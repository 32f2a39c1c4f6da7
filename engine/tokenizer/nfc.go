package tokenizer

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Canonical composition (Unicode standard annex #15), the one normal form that files of these families ask for (Qwen's).

//go:embed nfc.txt
var nfcData string

type nfcTables struct {
	class    map[rune]uint8   // canonical combining class, where it is not 0
	expand   map[rune][2]rune // one step of canonical decomposition; the second may be 0
	compose  map[[2]rune]rune
	attaches map[rune]bool                 // may change, or change places, with what is before it
	changes  map[rune]bool                 // is not its own normal form
	pages    [(utf8.MaxRune + 1) >> 8]bool // which blocks of 256 characters have one that attaches or changes
}

// Hangul syllables are arithmetic: leading consonant, vowel and trailing consonant (Unicode 3.12).
const (
	hangulS, hangulL, hangulV, hangulT = 0xAC00, 0x1100, 0x1161, 0x11A7
	hangulLs, hangulVs, hangulTs       = 19, 21, 28
)

var nfcLoad = sync.OnceValue(func() *nfcTables {
	n := &nfcTables{class: map[rune]uint8{}, expand: map[rune][2]rune{}, compose: map[[2]rune]rune{}, attaches: map[rune]bool{}, changes: map[rune]bool{}}
	for line := range strings.Lines(nfcData) {
		var c, a, b rune
		switch line[0] {
		case 'c':
			var class uint8
			fmt.Sscanf(line, "c %x %x %d", &a, &b, &class)
			for r := a; r <= b; r++ {
				n.class[r], n.attaches[r] = class, true
			}
		case 'p', 'd':
			fmt.Sscanf(line[1:], "%x %x %x", &c, &a, &b)
			n.expand[c] = [2]rune{a, b}
			if line[0] == 'p' {
				n.compose[[2]rune{a, b}] = c
				n.attaches[b] = true
			}
		}
	}
	for r := rune(hangulV); r < hangulV+hangulVs; r++ {
		n.attaches[r] = true
	}
	for r := rune(hangulT + 1); r < hangulT+hangulTs; r++ {
		n.attaches[r] = true
	}
	for c := range n.expand {
		if n.attaches[n.decompose(nil, c)[0]] {
			n.attaches[c] = true
		}
		if n.normal(string(c)) != string(c) {
			n.changes[c] = true
		}
	}
	for _, set := range []map[rune]bool{n.attaches, n.changes} {
		for r := range set {
			n.pages[r>>8] = true
		}
	}
	return n
})

// nfc brings s to normalisation form C. Where characters join, the result stands for all of them.
func nfc(s span) span {
	if strings.IndexFunc(s.text, func(r rune) bool { return r >= 0x300 }) < 0 { // nothing below combines
		return s
	}
	n := nfcLoad()
	var text strings.Builder
	var src [][2]int32
	done := 0                        // s.text[:done] is normalised
	for at := 0; at < len(s.text); { // at begins a character, which what follows may attach to
		r, size := utf8.DecodeRuneInString(s.text[at:])
		end := at + size
		for end < len(s.text) {
			next, size := utf8.DecodeRuneInString(s.text[end:])
			if next < 0x300 || !n.pages[next>>8] || !n.attaches[next] {
				break
			}
			end += size
		}
		if end > at+size || r >= 0x300 && n.pages[r>>8] && n.changes[r] {
			cluster := n.normal(s.text[at:end])
			text.WriteString(s.text[done:at])
			text.WriteString(cluster)
			if s.src != nil {
				src = append(src, s.src[done:at]...)
				if cluster == s.text[at:end] {
					src = append(src, s.src[at:end]...)
				} else {
					src = extend(src, len(cluster), [2]int32{s.src[at][0], s.src[end-1][1]})
				}
			}
			done = end
		}
		at = end
	}
	if done == 0 {
		return s
	}
	text.WriteString(s.text[done:])
	if s.src != nil {
		src = append(src, s.src[done:]...)
	}
	s.text, s.src = text.String(), src
	return s
}

// normal composes one cluster: a character and those that attach to it.
func (n *nfcTables) normal(cluster string) string {
	var chars []rune
	for _, r := range cluster {
		chars = n.decompose(chars, r)
	}
	for i := 0; i < len(chars); { // canonical order: marks by class, each class as it stood
		j := i + 1
		for j < len(chars) && n.class[chars[j]] != 0 {
			j++
		}
		slices.SortStableFunc(chars[i:j], func(a, b rune) int { return int(n.class[a]) - int(n.class[b]) })
		i = j
	}
	out := chars[:0]
	base, last := -1, -1 // the latest character of class 0 in out; the class of the one after it that came last
	for _, r := range chars {
		class := int(n.class[r])
		if base >= 0 && last < class { // nothing between stands in the way
			if c, ok := n.join(out[base], r); ok {
				out[base] = c
				continue
			}
		}
		if last = class; class == 0 {
			base, last = len(out), -1
		}
		out = append(out, r)
	}
	return string(out)
}

// decompose appends the full canonical decomposition of r.
func (n *nfcTables) decompose(dst []rune, r rune) []rune {
	if i := r - hangulS; 0 <= i && i < hangulLs*hangulVs*hangulTs {
		dst = append(dst, hangulL+i/(hangulVs*hangulTs), hangulV+i/hangulTs%hangulVs)
		if t := i % hangulTs; t > 0 {
			dst = append(dst, hangulT+t)
		}
		return dst
	}
	pair, ok := n.expand[r]
	if !ok {
		return append(dst, r)
	}
	dst = n.decompose(dst, pair[0])
	if pair[1] != 0 {
		dst = n.decompose(dst, pair[1])
	}
	return dst
}

func (n *nfcTables) join(a, b rune) (rune, bool) {
	if l, v := a-hangulL, b-hangulV; 0 <= l && l < hangulLs && 0 <= v && v < hangulVs {
		return hangulS + (l*hangulVs+v)*hangulTs, true
	}
	if s, t := a-hangulS, b-hangulT; 0 <= s && s < hangulLs*hangulVs*hangulTs && s%hangulTs == 0 && 0 < t && t < hangulTs {
		return a + t, true
	}
	c, ok := n.compose[[2]rune{a, b}]
	return c, ok
}
