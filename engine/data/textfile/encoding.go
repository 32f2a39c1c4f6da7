package textfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"llamatab/engine/data/gb18030"
)

// decode puts a decoder in front of a file that begins with head and is not UTF-8, and skips a byte order mark.
func (s *File) decode(head []byte) {
	switch order := utf16Order(head); {
	case order != nil:
		s.How.Encoding = "UTF-16"
		s.In = bufio.NewReaderSize(&utf16Reader{in: s.In, order: order}, Buffer)
	default:
		s.How.Encoding = "UTF-8"
		s.In = bufio.NewReaderSize(&utf8OrGB18030{in: s.In, found: s.foundGB18030}, Buffer)
	}
	if mark, _ := s.In.Peek(3); string(mark) == "\ufeff" {
		_, _ = s.In.Discard(3)
		s.Skipped = 3
	}
}

// utf16Order is the byte order of UTF-16, told by a byte order mark or by zeros on one side of each pair, and nil for other
// encodings.
func utf16Order(head []byte) binary.ByteOrder {
	var zeros [2]int // at even and at odd places
	for i, b := range head {
		if b == 0 {
			zeros[i%2]++
		}
	}
	few := max(1, len(head)/20)
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe")), zeros[0] == 0 && zeros[1] > few:
		return binary.LittleEndian
	case bytes.HasPrefix(head, []byte("\xfe\xff")), zeros[1] == 0 && zeros[0] > few:
		return binary.BigEndian
	}
	return nil
}

// noText is a byte that never occurs in UTF-8. A decoder writes it where its input is damaged, so that the row there is named as
// one that is not valid.
const noText = 0xff

// utf16Reader decodes UTF-16 to UTF-8.
type utf16Reader struct {
	in    *bufio.Reader
	order binary.ByteOrder
	out   []byte
	err   error
	kept  rune // a unit that was read and not used, 0 for none
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	for len(u.out) < min(len(p), sniffed) && u.err == nil {
		u.decode()
	}
	if len(u.out) == 0 {
		return 0, u.err
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// decode appends one character to out.
func (u *utf16Reader) decode() {
	r := u.kept
	if u.kept = 0; r == 0 {
		if r = u.unit(); u.err != nil {
			return
		}
	}
	if utf16.IsSurrogate(r) {
		next := u.unit()
		pair := utf16.DecodeRune(r, next)
		if pair == utf8.RuneError {
			u.out = append(u.out, noText)
			if u.err == nil {
				u.kept = next
			}
			return
		}
		r = pair
	}
	u.out = utf8.AppendRune(u.out, r)
}

// unit reads two bytes.
func (u *utf16Reader) unit() rune {
	var b [2]byte
	n, err := io.ReadFull(u.in, b[:])
	if err == io.ErrUnexpectedEOF {
		u.out, err = append(u.out, noText), io.EOF
	}
	if u.err = err; n < 2 {
		return 0
	}
	return rune(u.order.Uint16(b[:]))
}

// utf8OrGB18030 reads a file as UTF-8 or, where it is none and reads well as GB18030, as that. ASCII is the same in both: the
// choice is made at the first other byte, by what follows it.
type utf8OrGB18030 struct {
	in     *bufio.Reader
	chosen io.Reader // once the choice is made
	found  func(sample string)
}

func (u *utf8OrGB18030) Read(p []byte) (int, error) {
	if u.chosen != nil {
		return u.chosen.Read(p)
	}
	if _, err := u.in.Peek(1); err != nil {
		return 0, err
	}
	ready, _ := u.in.Peek(u.in.Buffered())
	if i := bytes.IndexFunc(ready, func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
		ready = ready[:i]
	}
	if len(ready) > 0 {
		n := copy(p, ready)
		_, _ = u.in.Discard(n)
		return n, nil
	}
	window, err := u.in.Peek(u.in.Size())
	if u.chosen = u.in; !mostlyUTF8(whole(window, err == io.EOF)) && isGB18030(window, err == io.EOF) {
		u.chosen = &flagged{in: gb18030.NewReader(u.in)}
		text, _ := io.ReadAll(gb18030.NewReader(bytes.NewReader(window[:min(len(window), 400)])))
		u.found(sampleOf(string(text)))
	}
	return u.chosen.Read(p)
}

// whole is text less a character that its end cuts, where the text goes on.
func whole(text []byte, end bool) []byte {
	if end {
		return text
	}
	for i := 1; i <= min(utf8.UTFMax, len(text)); i++ {
		if c := text[len(text)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(text[len(text)-i:]) {
				return text[:len(text)-i]
			}
			break
		}
	}
	return text
}

// mostlyUTF8 tells whether a text has no byte that is not UTF-8, or fewer than characters beyond ASCII: then it is damaged UTF-8.
func mostlyUTF8(text []byte) bool {
	characters, bad := 0, 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if i += size; r == utf8.RuneError && size == 1 {
			bad++
		} else if size > 1 {
			characters++
		}
	}
	return bad == 0 || bad < characters
}

// isGB18030 tells whether a text that begins with a byte beyond ASCII is Chinese in GB18030: every byte belongs to a character,
// half of the characters or more are of the part that is GB2312, and common ones occur among many. end says that the text is whole.
func isGB18030(text []byte, end bool) bool {
	pairs, plain, size := 0, 0, 0
	for i := 0; i < len(text); i += size {
		if size = gb18030Size(text[i:]); size == 0 {
			return !end && len(text)-i < 4 && pairs > 1 && 2*plain >= pairs && readsAsChinese(text[:i])
		}
		if size == 2 {
			if pairs++; text[i] >= 0xa1 && text[i+1] >= 0xa1 {
				plain++
			}
		}
	}
	return pairs > 1 && 2*plain >= pairs && readsAsChinese(text)
}

// gb18030Size is the number of bytes of the character at the beginning of text, 0 where there is none.
func gb18030Size(text []byte) int {
	between := func(i int, from, to byte) bool { return i < len(text) && text[i] >= from && text[i] <= to }
	switch {
	case between(0, 0x20, 0x7e) || between(0, '\t', '\r'):
		return 1
	case !between(0, 0x81, 0xfe):
		return 0
	case between(1, 0x40, 0xfe) && text[1] != 0x7f:
		return 2
	case between(1, '0', '9') && between(2, 0x81, 0xfe) && between(3, '0', '9'):
		return 4
	}
	return 0
}

// common are characters of which a longer Chinese text has some.
const common = "的一是不了在人有我他这中大来上国和说们为"

// readsAsChinese decodes GB18030 and looks at what comes out.
func readsAsChinese(text []byte) bool {
	decoded, err := io.ReadAll(gb18030.NewReader(bytes.NewReader(text)))
	if err != nil {
		return false
	}
	foreign, chinese, frequent := 0, 0, 0
	for _, r := range string(decoded) {
		switch {
		case r < utf8.RuneSelf:
		case r == utf8.RuneError || unicode.Is(unicode.Co, r):
			return false
		case unicode.Is(unicode.Han, r):
			if chinese++; strings.ContainsRune(common, r) {
				frequent++
			}
		case !unicode.IsPunct(r) && !unicode.IsSymbol(r):
			foreign++
		}
	}
	return chinese > 4*foreign && (chinese < 60 || frequent > 0)
}

// sampleOf is the beginning of a text in one line, for a message.
func sampleOf(text string) string {
	const most = 24
	words := []rune(strings.Join(strings.Fields(text), " "))
	if len(words) > most {
		return string(words[:most]) + "…"
	}
	return string(words)
}

func (s *File) foundGB18030(sample string) {
	s.How.Encoding = "GB18030"
	s.Remark("file_encoding", "{file} is not UTF-8: it is read as {encoding}, such as {sample}", "file", s.Name, "encoding", "GB18030", "sample", sample)
}

// flagged replaces U+FFFD, which a decoder writes for what it cannot read, by a byte that is no text.
type flagged struct {
	in   io.Reader
	rest []byte
	err  error
	kept []byte // the beginning of what may be U+FFFD
}

func (f *flagged) Read(p []byte) (int, error) {
	for len(f.rest) == 0 && f.err == nil {
		buffer := make([]byte, sniffed)
		n, err := f.in.Read(buffer)
		text := append(f.kept, buffer[:n]...)
		end := len(text)
		if f.err = err; err == nil {
			end = len(whole(text, false))
		}
		f.kept = append([]byte(nil), text[end:]...)
		f.rest = bytes.ReplaceAll(text[:end], []byte(string(utf8.RuneError)), []byte{noText})
	}
	if len(f.rest) == 0 {
		return 0, f.err
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}
