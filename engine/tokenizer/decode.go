package tokenizer

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// form is how a file's tokens become text. At most one of bytes, replacement and spaced is set; none of them stands
// for the chain Replace, ByteFallback, Fuse, Strip, each part of it optional.
type form struct {
	bytes bool // byte-level: tokens spell bytes

	replacement string // Metaspace: stands for a space
	dropFirst   bool   // and for nothing in the first token

	spaced bool // no decoder: tokens parted by spaces

	replace  [][2]string
	fallback bool   // "<0x0A>" is a byte
	strip    string // one character, taken off the start of the text
	stripMax int    // at most so many times
}

// Decode returns the text of ids. skipSpecial leaves special tokens out. Ids without a token, which a model with a padded
// vocabulary can emit, add nothing; bytes that are not UTF-8 become U+FFFD.
func (t *Tokenizer) Decode(ids []int, skipSpecial bool) string {
	d := t.Decoder(skipSpecial)
	var text strings.Builder
	for _, id := range ids {
		text.WriteString(d.Next(id))
	}
	text.WriteString(d.Flush())
	return text.String()
}

// A Decoder turns ids into text as they come. What Next and Flush return, put together, is Decode of all the ids.
type Decoder struct {
	t       *Tokenizer
	skip    bool
	begun   bool   // a token has been seen
	held    []byte // byte-level: an unfinished character; byte fallback: the run of byte tokens so far
	whole   bool   // see Whole
	toStrip int
}

// Decoder begins a text.
func (t *Tokenizer) Decoder(skipSpecial bool) *Decoder {
	return &Decoder{t: t, skip: skipSpecial, toStrip: t.form.stripMax}
}

// Continue begins the text that follows a prompt: what Next and Flush return belongs to the new tokens alone, also where
// the prompt ends in byte tokens. A space that the start of a text loses is the prompt's.
func (t *Tokenizer) Continue(prompt []int, skipSpecial bool) *Decoder {
	d := t.Decoder(skipSpecial)
	for _, id := range prompt {
		d.Next(id)
	}
	d.Flush()
	return d
}

// Whole makes the decoder leave out bytes that are not UTF-8, where it would return U+FFFD for them, and returns the decoder.
// Byte tokens then become text as soon as they complete a character. It is for text that is shown while a model writes it.
func (d *Decoder) Whole() *Decoder {
	d.whole = true
	return d
}

// Next returns the text that id makes certain, which is empty in the middle of a character.
func (d *Decoder) Next(id int) string {
	token, ok := d.t.Token(id)
	add, isAdded := d.t.added[id]
	if !ok || d.skip && add.Special {
		return ""
	}
	if isAdded {
		token = add.text
	}
	first := !d.begun
	d.begun = true
	f := &d.t.form
	switch {
	case f.bytes:
		spelled := false
		if !isAdded {
			d.held, spelled = appendBytes(d.held, token)
		}
		if !spelled {
			d.held = append(d.held, token...)
		}
		return d.take(false)
	case f.replacement != "":
		space := " "
		if first && f.dropFirst {
			space = ""
		}
		return strings.ReplaceAll(token, f.replacement, space)
	case f.spaced && !first:
		return " " + token
	case f.spaced:
		return token
	}
	for _, r := range f.replace {
		token = strings.ReplaceAll(token, r[0], r[1])
	}
	if b, ok := byteToken(token); ok && f.fallback {
		d.held = append(d.held, b)
		if d.whole {
			return d.stripped(d.take(false))
		}
		return ""
	}
	return d.stripped(d.run() + token)
}

// Flush returns what is still held at the end of the text.
func (d *Decoder) Flush() string {
	if d.t.form.bytes {
		return d.take(true)
	}
	return d.stripped(d.run())
}

// take decodes the bytes that are held. Unless final is set, an unfinished character at their end stays held.
func (d *Decoder) take(final bool) string {
	var text string
	text, d.held = lossy(d.held, final)
	if d.whole {
		text = strings.ReplaceAll(text, string(utf8.RuneError), "")
	}
	return text
}

// run ends a run of byte tokens. One bad byte spoils the whole run, as it does in the original, which is why none of it
// can be shown before its end.
func (d *Decoder) run() string {
	if d.whole {
		return d.take(true)
	}
	text := string(d.held)
	if !utf8.ValidString(text) {
		text = strings.Repeat("\uFFFD", len(d.held))
	}
	d.held = d.held[:0]
	return text
}

func (d *Decoder) stripped(s string) string {
	for d.toStrip > 0 && s != "" {
		rest, ok := strings.CutPrefix(s, d.t.form.strip)
		if !ok {
			d.toStrip = 0
			break
		}
		s = rest
		d.toStrip--
	}
	return s
}

// byteToken reads "<0x0A>".
func byteToken(token string) (byte, bool) {
	if len(token) != 6 || !strings.HasPrefix(token, "<0x") || token[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(token[3:5], 16, 8)
	return byte(b), err == nil
}

// lossy decodes UTF-8, with one U+FFFD for each longest beginning of a character that does not go on (Unicode 3.9,
// "maximal subparts"). Unless final, an unfinished character at the end is returned as rest instead.
func lossy(b []byte, final bool) (text string, rest []byte) {
	if utf8.Valid(b) {
		return string(b), b[:0]
	}
	var out strings.Builder
	for len(b) > 0 {
		if !final && !utf8.FullRune(b) {
			break
		}
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			for n < len(b) && !utf8.FullRune(b[:n+1]) {
				n++
			}
		}
		out.WriteRune(r)
		b = b[n:]
	}
	return out.String(), append([]byte(nil), b...)
}
