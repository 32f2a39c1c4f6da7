package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// span is a stretch of text on its way from the caller to the model.
type span struct {
	text  string
	first bool // it begins where the caller's text begins

	// src, kept only when offsets are wanted, holds for each byte of text the bytes [from, to) of the caller's text
	// that it stands for.
	src [][2]int32
}

func newSpan(text string, offsets bool) span {
	s := span{text: text, first: true}
	if offsets {
		s.src = make([][2]int32, 0, len(text))
		for i, r := range text {
			s.src = extend(s.src, utf8.RuneLen(r), [2]int32{int32(i), int32(i + utf8.RuneLen(r))})
		}
	}
	return s
}

// extend appends n bytes that all stand for at.
func extend(src [][2]int32, n int, at [2]int32) [][2]int32 {
	for range n {
		src = append(src, at)
	}
	return src
}

func (s span) cut(i, j int) span {
	c := span{text: s.text[i:j], first: s.first && i == 0}
	if s.src != nil {
		c.src = s.src[i:j]
	}
	return c
}

// source returns the bytes of the caller's text that bytes [i,j) of the span, at least one, stand for.
func (s span) source(i, j int) [2]int {
	return [2]int{int(s.src[i][0]), int(s.src[j-1][1])}
}

// prepend puts p before a span that is not empty.
func (s span) prepend(p string) span {
	if s.src != nil {
		from := s.src[0][0]
		s.src = append(extend(make([][2]int32, 0, len(p)+len(s.src)), len(p), [2]int32{from, from}), s.src...)
	}
	s.text = p + s.text
	return s
}

// replace puts to in the place of every from.
func (s span) replace(from, to string) span {
	if s.src != nil {
		var src [][2]int32
		for i := 0; i < len(s.text); {
			if !strings.HasPrefix(s.text[i:], from) {
				src = append(src, s.src[i])
				i++
				continue
			}
			j := i + len(from)
			src = extend(src, len(to), [2]int32{s.src[i][0], s.src[j-1][1]})
			i = j
		}
		s.src = src
	}
	s.text = strings.ReplaceAll(s.text, from, to)
	return s
}
