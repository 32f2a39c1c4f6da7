package jinja

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"llamatab/engine/jinja/python"
)

// tokenKind is what a token of a template is.
type tokenKind int

const (
	endOfSource tokenKind = iota
	textToken             // outside of tags
	variableBegin
	variableEnd
	blockBegin
	blockEnd
	nameToken
	stringToken
	integerToken
	floatToken
	operator
)

// token is a piece of a template. Of a string, text is what the literal stands for.
type token struct {
	kind tokenKind
	text string
	line int
}

// lexer cuts a template into tokens.
type lexer struct {
	src    string
	at     int
	line   int
	tokens []token
	// lineStart: what was read last ended with a line feed, or nothing was read. Then white space before a tag is at the
	// start of a line, also if the text before the tag holds no line feed.
	lineStart bool
}

// scan cuts a template into tokens as Jinja's lexer does with trim_blocks and lstrip_blocks: the first line feed after a
// block or comment is left out, and so are spaces before one that stands first in its line. One line feed at the end of
// the template is left out.
func scan(source string) []token {
	source = strings.ReplaceAll(strings.ReplaceAll(source, "\r\n", "\n"), "\r", "\n")
	l := &lexer{src: strings.TrimSuffix(source, "\n"), line: 1, lineStart: true}
	for l.at < len(l.src) {
		l.next()
	}
	l.add(endOfSource, "")
	return l.tokens
}

func (l *lexer) add(kind tokenKind, text string) {
	l.tokens = append(l.tokens, token{kind, text, l.line})
}

// take moves on by n bytes and returns them.
func (l *lexer) take(n int) string {
	text := l.src[l.at : l.at+n]
	l.at += n
	l.line += strings.Count(text, "\n")
	if text != "" {
		l.lineStart = strings.HasSuffix(text, "\n")
	}
	return text
}

func (l *lexer) fail(text string, args ...any) {
	panic(&python.Error{Line: l.line, Text: fmt.Sprintf(text, args...)})
}

// rest is what has not been read.
func (l *lexer) rest() string { return l.src[l.at:] }

// nextTag is the offset of the next tag in text, len(text) where there is none.
func nextTag(text string) int {
	for at := 0; ; {
		i := strings.IndexByte(text[at:], '{')
		if i < 0 || at+i+1 >= len(text) {
			return len(text)
		}
		if at += i; strings.IndexByte("{%#", text[at+1]) >= 0 {
			return at
		}
		at++
	}
}

// next reads the text up to the next tag, and that tag.
func (l *lexer) next() {
	size := nextTag(l.rest())
	wasStart := l.lineStart
	line := l.line
	text := l.take(size)
	if l.at == len(l.src) {
		l.tokens = append(l.tokens, token{textToken, text, line})
		return
	}
	kind := l.take(2)
	text = l.stripBefore(text, wasStart, kind != "{{")
	if text != "" {
		l.tokens = append(l.tokens, token{textToken, text, line})
	}
	switch kind {
	case "{#":
		l.comment()
	case "{{":
		l.add(variableBegin, "")
		l.inside(variableEnd)
	default:
		if n := rawTag(l.rest(), "raw", false); n > 0 {
			l.raw(n)
			return
		}
		l.add(blockBegin, "")
		l.inside(blockEnd)
	}
}

// stripBefore reads the sign of a tag and takes the white space before the tag off text, where the sign or lstrip_blocks
// wants that.
func (l *lexer) stripBefore(text string, lineStart, block bool) string {
	switch {
	case strings.HasPrefix(l.rest(), "-"):
		l.take(1)
		return strings.TrimRightFunc(text, python.IsSpace)
	case strings.HasPrefix(l.rest(), "+"):
		l.take(1)
		return text
	case !block:
		return text
	}
	from := strings.LastIndexByte(text, '\n') + 1
	if (from > 0 || lineStart) && strings.TrimLeftFunc(text[from:], python.IsSpace) == "" {
		return text[:from]
	}
	return text
}

// spaces is the number of bytes of white space that text starts with.
func spaces(text string) int { return len(text) - len(strings.TrimLeftFunc(text, python.IsSpace)) }

// endOfTag is the length of a tag's end with what it takes off the text behind it, 0 where text does not begin with one.
func endOfTag(text, end string, trim bool) int {
	switch {
	case strings.HasPrefix(text, "-"+end):
		n := 1 + len(end)
		return n + spaces(text[n:])
	case trim && strings.HasPrefix(text, "+"+end):
		return 1 + len(end)
	case trim && strings.HasPrefix(text, end+"\n"):
		return len(end) + 1
	case strings.HasPrefix(text, end):
		return len(end)
	}
	return 0
}

func (l *lexer) comment() {
	text := l.rest()
	for at := 0; at < len(text); at++ {
		if n := endOfTag(text[at:], "#}", true); n > 0 {
			l.take(at + n)
			return
		}
	}
	l.fail("the comment does not end")
}

// rawTag is the length of the tag {% name %} behind its opening, 0 where text is none.
func rawTag(text, name string, trim bool) int {
	at := spaces(text)
	if !strings.HasPrefix(text[at:], name) {
		return 0
	}
	at += len(name)
	at += spaces(text[at:])
	if n := endOfTag(text[at:], "%}", trim); n > 0 {
		return at + n
	}
	return 0
}

// raw reads the text between {% raw %} and {% endraw %}.
func (l *lexer) raw(begin int) {
	l.take(begin)
	wasStart, line := l.lineStart, l.line
	for from := 0; ; {
		i := strings.Index(l.rest()[from:], "{%")
		if i < 0 {
			l.fail("{%% raw %%} has no {%% endraw %%}")
		}
		from += i
		after := strings.TrimLeft(l.rest()[from+2:], "-+")
		n := rawTag(after, "endraw", true)
		if signs := len(l.rest()[from+2:]) - len(after); n > 0 && signs <= 1 {
			text := l.take(from)
			l.take(2)
			text = l.stripBefore(text, wasStart, true)
			l.take(n)
			l.tokens = append(l.tokens, token{textToken, text, line})
			return
		}
		from += 2
	}
}

// inside reads the tokens of a tag, up to and with its end.
func (l *lexer) inside(kind tokenKind) {
	end, closers := "%}", ""
	if kind == variableEnd {
		end = "}}"
	}
	for {
		l.take(spaces(l.rest()))
		text := l.rest()
		if text == "" {
			l.fail("the tag does not end with %s", end)
		}
		if n := endOfTag(text, end, kind == blockEnd); n > 0 && closers == "" {
			l.add(kind, "")
			l.take(n)
			return
		}
		c, _ := utf8.DecodeRuneInString(text)
		switch {
		case c == '\'' || c == '"':
			l.quoted()
		case c >= '0' && c <= '9':
			l.number()
		case c == '_' || unicode.IsLetter(c):
			n := strings.IndexFunc(text, func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsNumber(c) })
			if n < 0 {
				n = len(text)
			}
			l.add(nameToken, text[:n])
			l.take(n)
		default:
			closers = l.operator(closers)
		}
	}
}

var longOperators = []string{"//", "**", "==", "!=", ">=", "<="}

// operator reads one operator. closers are the brackets that are still to be closed; the new ones are returned.
func (l *lexer) operator(closers string) string {
	text := l.rest()
	for _, op := range longOperators {
		if strings.HasPrefix(text, op) {
			l.add(operator, op)
			l.take(2)
			return closers
		}
	}
	c := text[0]
	switch {
	case strings.IndexByte("+-/*%~[](){}><=.:|,", c) < 0:
		r, _ := utf8.DecodeRuneInString(text)
		l.fail("unexpected character %q", r)
	case c == '(':
		closers += ")"
	case c == '[':
		closers += "]"
	case c == '{':
		closers += "}"
	case c == ')' || c == ']' || c == '}':
		if !strings.HasSuffix(closers, string(c)) {
			l.fail("unexpected %q", c)
		}
		closers = closers[:len(closers)-1]
	}
	l.add(operator, string(c))
	l.take(1)
	return closers
}

// number reads an integer or a floating-point number: 1_000, 0x1f, 1.5, 2e-3.
func (l *lexer) number() {
	text := l.rest()
	digits := func(at int, set string) int {
		for at < len(text) && (strings.IndexByte(set, text[at]) >= 0 || text[at] == '_' && at+1 < len(text) && strings.IndexByte(set, text[at+1]) >= 0) {
			at++
		}
		return at
	}
	const decimal = "0123456789"
	if len(text) > 2 && text[0] == '0' {
		set := map[byte]string{'x': "0123456789abcdefABCDEF", 'o': "01234567", 'b': "01"}[text[1]|0x20]
		if n := digits(2, set); n > 2 {
			l.add(integerToken, strings.ReplaceAll(text[:n], "_", ""))
			l.take(n)
			return
		}
	}
	n := digits(0, decimal)
	kind := integerToken
	// A dot behind an integer that is itself behind a dot is an index: x.0.1.
	indexed := l.at > 0 && l.src[l.at-1] == '.'
	if !indexed && n+1 < len(text) && text[n] == '.' && text[n+1] >= '0' && text[n+1] <= '9' {
		n, kind = digits(n+1, decimal), floatToken
	}
	if !indexed && n < len(text) && text[n]|0x20 == 'e' {
		sign := n + 1
		if sign < len(text) && (text[sign] == '+' || text[sign] == '-') {
			sign++
		}
		if e := digits(sign, decimal); e > sign {
			n, kind = e, floatToken
		}
	}
	l.add(kind, strings.ReplaceAll(text[:n], "_", ""))
	l.take(n)
}

// quoted reads a string literal with Python's escapes.
func (l *lexer) quoted() {
	text := l.rest()
	quote := text[0]
	var s strings.Builder
	for at := 1; at < len(text); {
		switch c := text[at]; {
		case c == quote:
			l.add(stringToken, s.String())
			l.take(at + 1)
			return
		case c == '\\' && at+1 < len(text):
			at += unescape(text[at:], &s)
		default:
			s.WriteByte(c)
			at++
		}
	}
	l.fail("the string does not end")
}

// unescape writes what the escape at the start of text stands for, and returns its length. An unknown escape stands for
// itself.
func unescape(text string, s *strings.Builder) int {
	const from, to = "\n'\"\\abfnrtv", "\x00'\"\\\a\b\f\n\r\t\v"
	c := text[1]
	if i := strings.IndexByte(from, c); i >= 0 {
		if i > 0 { // a line feed behind a backslash is left out
			s.WriteByte(to[i])
		}
		return 2
	}
	digits, base := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c], rune(16)
	at := 2
	if c >= '0' && c <= '7' {
		digits, base, at = 3, 8, 1
	}
	value, n := rune(0), 0
	for ; n < digits && at+n < len(text); n++ {
		d := hexDigit(text[at+n])
		if d < 0 || d >= base {
			break
		}
		value = value*base + d
	}
	if digits == 0 || n == 0 || base == 16 && n < digits {
		s.WriteString(text[:2])
		return 2
	}
	s.WriteRune(value)
	return at + n
}

func hexDigit(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return -1
}
