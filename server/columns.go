package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// columnGap is the number of characters between the two columns.
const columnGap = 3

// columns writes two texts side by side on a terminal, the left one first, each as it comes. Lines are broken between words. Where
// the left text leaves no room on the screen to go back to its first line, the right one is written below it.
type columns struct {
	out    io.Writer
	width  int // of a column
	height int // lines of the terminal

	right bool   // the right text is being written
	below bool   // below the left one
	line  int    // that is written, counted from the first of the texts
	last  int    // the lowest line so far
	used  int    // characters of the line
	word  string // what has come of a word
}

// newColumns is nil for a terminal that is too narrow for two texts.
func newColumns(out io.Writer, width, height int) *columns {
	const least = 80
	if width < least || height < 10 {
		return nil
	}
	return &columns{out: out, width: (width - columnGap) / 2, height: height}
}

// head writes a name above each column.
func (c *columns) head(left, right string) {
	fmt.Fprintf(c.out, "%s%s%s\n", left, strings.Repeat(" ", c.width+columnGap-widthOf(left)), right)
}

// add writes more of the text that is being written. Control characters, which would move the cursor, are left out.
func (c *columns) add(text string) {
	for _, r := range text {
		switch {
		case r == '\n':
			c.flush()
			c.newLine()
		case unicode.IsSpace(r):
			c.flush()
			if c.used > 0 && c.used < c.widthHere() {
				c.put(" ")
			}
		case unicode.IsControl(r):
		case runeWidth(r) == 2: // a line may break before and behind it
			c.flush()
			c.word = string(r)
			c.flush()
		default:
			c.word += string(r)
		}
	}
}

// widthHere is the room of a line.
func (c *columns) widthHere() int {
	if c.below {
		return 2*c.width + columnGap
	}
	return c.width
}

// flush writes the word that has come, in the next line where this one has no room for it.
func (c *columns) flush() {
	word := c.word
	c.word = ""
	if c.used > 0 && c.used+widthOf(word) > c.widthHere() {
		c.newLine()
	}
	for _, r := range word {
		if c.used+runeWidth(r) > c.widthHere() { // the word is longer than a line
			c.newLine()
		}
		c.put(string(r))
	}
}

func (c *columns) put(text string) {
	io.WriteString(c.out, text)
	c.used += widthOf(text)
}

func (c *columns) newLine() {
	c.line, c.used = c.line+1, 0
	if c.line <= c.last { // the left text has made the line
		fmt.Fprint(c.out, "\x1b[1B")
	} else {
		fmt.Fprint(c.out, "\n")
		c.last = c.line
	}
	c.toColumn()
}

// toColumn moves the cursor to where the lines of the right text begin.
func (c *columns) toColumn() {
	if c.right && !c.below {
		fmt.Fprintf(c.out, "\x1b[%dG", c.width+columnGap+1)
	}
}

// turn goes on with the right text.
func (c *columns) turn() {
	c.flush()
	c.right, c.used = true, 0
	if c.below = c.line > c.height-3; c.below {
		fmt.Fprint(c.out, "\n\n")
		return
	}
	if c.line > 0 {
		fmt.Fprintf(c.out, "\x1b[%dA", c.line)
	}
	c.line = 0
	c.toColumn()
}

// end leaves the cursor below both texts, ready for two more.
func (c *columns) end() {
	c.flush()
	if n := c.last - c.line; n > 0 && !c.below {
		fmt.Fprintf(c.out, "\x1b[%dB", n)
	}
	fmt.Fprint(c.out, "\r\n")
	*c = columns{out: c.out, width: c.width, height: c.height}
}

// widthOf is how many columns of a terminal a text takes.
func widthOf(text string) (n int) {
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// wide are the characters that take two columns, by East Asian Width (Unicode Annex 11), as far as whole blocks go.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{{0x1100, 0x115f, 1}, {0x2e80, 0x303e, 1}, {0x3041, 0xa4cf, 1}, {0xa960, 0xa97f, 1}, {0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1},
		{0xfe30, 0xfe6f, 1}, {0xff01, 0xff60, 1}, {0xffe0, 0xffe6, 1}},
	R32: []unicode.Range32{{0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6ff, 1}, {0x1f900, 0x1faff, 1}, {0x20000, 0x3fffd, 1}},
}

// runeWidth is 2 for wide characters, 0 for those that are drawn over the one before, else 1.
func runeWidth(r rune) int {
	switch {
	case unicode.Is(wide, r):
		return 2
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	return 1
}
