package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"llamatab/engine/strictjson"
)

// Record is one entry of a file: a JSON object or, alone in its file, a plain text.
type Record struct {
	Line    int  // 1-based, where it starts
	Plain   bool // Text is set
	Text    string
	fields  map[string]json.RawMessage
	columns map[string]string
}

// column is the file's own name of key.
func (r *Record) column(key string) string {
	if c := r.columns[key]; c != "" {
		return c
	}
	return key
}

// Has tells whether the record has key, and not as null.
func (r *Record) Has(key string) bool {
	raw, ok := r.fields[r.column(key)]
	return ok && string(raw) != "null"
}

// spelled is the name of a key in the file, as errors show it.
func (r *Record) spelled(key string) string { return strconv.Quote(r.column(key)) }

func (r *Record) missing(key string) error {
	return fault("row_key_missing", "the key {key} is missing", "key", r.spelled(key))
}

// String returns the text under key.
func (r *Record) String(key string) (string, error) {
	if !r.Has(key) {
		return "", r.missing(key)
	}
	var s string
	if raw := r.fields[r.column(key)]; json.Unmarshal(raw, &s) != nil {
		return "", fault("row_wants_string", "{key} wants a string, got {got}", "key", r.spelled(key), "got", kind(raw))
	}
	return s, nil
}

// Ints returns the list of integers under key.
func (r *Record) Ints(key string) ([]int32, error) {
	if !r.Has(key) {
		return nil, r.missing(key)
	}
	var list []int32
	raw := r.fields[r.column(key)]
	if raw[0] != '[' {
		return nil, fault("row_wants_integers", "{key} wants a list of integers, got {got}", "key", r.spelled(key), "got", kind(raw))
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("%q wants a list of integers, got %s in it", r.column(key), t.Value)
		}
		return nil, err
	}
	if bytes.Contains(raw, []byte("null")) { // which encoding/json takes for 0
		return nil, fmt.Errorf("%q wants a list of integers, got null in it", r.column(key))
	}
	return list, nil
}

// kind says what a JSON value is, for errors.
func kind(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// rowError is what is wrong with one record of a file that can be read on.
type rowError struct{ error }

func (e rowError) Unwrap() error { return e.error }

// records reads a file record by record. An error may come with a Record that tells the line; after one that is no
// rowError it ends.
func records(r io.Reader, name string, plain bool) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		if head, _ := in.Peek(3); string(head) == "\ufeff" {
			_, _ = in.Discard(3)
		}
		line, first, err := skipSpace(in, plain)
		switch {
		case err == io.EOF:
		case err != nil:
			yield(&Record{Line: line}, err)
		case plain && isText(name, first):
			yield(plainText(in))
		case first == '[':
			array(in, line, yield)
		default:
			lines(in, line, yield)
		}
	}
}

// isText tells plain text from JSON by the file's name or, where that says nothing, by its first character.
func isText(name string, first byte) bool {
	switch extension(name) {
	case ".txt", ".text", ".md":
		return true
	case ".json", ".jsonl", ".ndjson":
		return false
	}
	return first != '{' && first != '['
}

func extension(name string) string { return strings.ToLower(path.Ext(name)) }

// skipSpace peeks at the first character that is not white space. In what may be plain text nothing is consumed,
// since there the space belongs to the text.
func skipSpace(in *bufio.Reader, plain bool) (line int, first byte, err error) {
	line = 1
	for n := 1; ; {
		head, err := in.Peek(n)
		if len(head) < n {
			return line, 0, err
		}
		c := head[n-1]
		switch {
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return line, c, nil
		case plain && n < in.Size():
			n++
			continue
		case plain:
			return line, c, nil
		case c == '\n':
			line++
		}
		_, _ = in.Discard(1)
	}
}

// plainText is a whole file as one record. Line ends become "\n".
func plainText(in *bufio.Reader) (*Record, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxText+1))
	switch {
	case err != nil:
		return &Record{}, err
	case len(text) > maxText:
		return &Record{}, fmt.Errorf("plain text of more than %d bytes; split the file", maxText)
	case !utf8.Valid(text):
		return &Record{Line: 1 + bytes.Count(text[:invalid(text)], []byte("\n"))}, errUTF8
	}
	return &Record{Line: 1, Plain: true, Text: strings.ReplaceAll(string(text), "\r\n", "\n")}, nil
}

var errUTF8 = fault("row_not_utf8", "not valid UTF-8; save the file as UTF-8")

// invalid is the offset of the first byte that is not UTF-8.
func invalid(text []byte) int {
	at := 0
	for at < len(text) {
		c, size := utf8.DecodeRune(text[at:])
		if c == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// lines reads one JSON object a line and leaves blank lines out.
func lines(in *bufio.Reader, line int, yield func(*Record, error) bool) {
	for ; ; line++ {
		text, err := readLine(in)
		if err != nil && err != io.EOF {
			yield(&Record{Line: line}, err)
			return
		}
		if len(bytes.TrimSpace(text)) > 0 {
			if !yield(object(text, line, 1)) {
				return
			}
		}
		if err == io.EOF {
			return
		}
	}
}

// readLine reads up to and with the next "\n", or the end of the file with io.EOF.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxLine {
			return nil, fmt.Errorf("a row longer than the limit of %d bytes", maxLine)
		}
		line = append(line, part...)
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// object is the record of one JSON object, which starts at a line and column; its error is a rowError.
func object(text []byte, line, column int) (*Record, error) {
	r, err := parse(text, line, column)
	if err != nil {
		err = rowError{err}
	}
	return r, err
}

func parse(text []byte, line, column int) (*Record, error) {
	r := &Record{Line: line}
	if !utf8.Valid(text) {
		return r, errUTF8
	}
	err := json.Unmarshal(text, &r.fields)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		before := text[:max(0, min(int(syntax.Offset)-1, len(text)))]
		if lines := bytes.Count(before, []byte("\n")); lines > 0 {
			r.Line, column = line+lines, 1
		}
		column += utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
		return r, fault("row_not_json", "column {column}: not JSON: {why}", "column", column, "why", err.Error())
	}
	if err != nil || r.fields == nil {
		return r, fault("row_not_object", "a row is a JSON object, got {got}", "got", kind(bytes.TrimSpace(text)))
	}
	if key, found := strictjson.RepeatedKey(text); found {
		return r, fault("row_key_twice", "the key {key} occurs twice", "key", key)
	}
	if escape := strictjson.LoneSurrogate(text); escape != "" {
		return r, fault("row_lone_surrogate", "{escape} is half of a character: its other half is missing (a lone surrogate)", "escape", escape)
	}
	return r, nil
}

// array reads the objects of one JSON array, holding one at a time.
func array(in *bufio.Reader, line int, yield func(*Record, error) bool) {
	c := &cursor{in: in, line: line}
	fail := func(err error) { yield(&Record{Line: c.line}, err) }
	_, _ = c.nonspace() // the bracket
	for first := true; ; first = false {
		char, err := c.nonspace()
		if err == nil && !first && char != ']' {
			if char != ',' {
				err = fmt.Errorf("column %d: not JSON: %q between two rows of the array, where a comma belongs", c.column, char)
			} else if char, err = c.nonspace(); char == ']' {
				err = fmt.Errorf("column %d: not JSON: a comma before the end of the array", c.column)
			}
		}
		if err != nil {
			fail(err)
			return
		}
		switch char {
		case '{':
			line, column := c.line, c.column
			text, err := c.object()
			if err != nil {
				fail(err)
				return
			}
			if !yield(object(text, line, column)) {
				return
			}
		case ']':
			if char, err := c.nonspace(); err == nil {
				fail(fmt.Errorf("column %d: %q after the end of the JSON array", c.column, char))
			} else if err != errInside {
				fail(err)
			}
			return
		default:
			fail(fmt.Errorf("column %d: a row is a JSON object, got %q", c.column, char))
			return
		}
	}
}

// A cursor walks over a file and knows where it is.
type cursor struct {
	in           *bufio.Reader
	line, column int // of the byte read last
	newline      bool
}

var errInside = errors.New("the file ends inside its JSON array")

func (c *cursor) next() (byte, error) {
	char, err := c.in.ReadByte()
	switch {
	case err == io.EOF:
		return 0, errInside
	case err != nil:
		return 0, err
	case c.newline:
		c.line, c.column = c.line+1, 0
	}
	c.newline = char == '\n'
	if utf8.RuneStart(char) {
		c.column++
	}
	return char, nil
}

func (c *cursor) nonspace() (byte, error) {
	for {
		char, err := c.next()
		if err != nil || char != ' ' && char != '\t' && char != '\r' && char != '\n' {
			return char, err
		}
	}
}

// object returns the text of an object whose opening brace has been read. It only looks for the matching end.
func (c *cursor) object() ([]byte, error) {
	text := []byte{'{'}
	quoted := false
	for depth := 1; depth > 0; {
		char, err := c.next()
		if err != nil {
			return nil, err
		}
		if len(text) == maxLine {
			return nil, fmt.Errorf("a row longer than the limit of %d bytes", maxLine)
		}
		text = append(text, char)
		switch {
		case quoted && char == '\\': // whatever comes next ends no string
			if char, err = c.next(); err != nil {
				return nil, err
			}
			text = append(text, char)
		case char == '"':
			quoted = !quoted
		case quoted:
		case char == '{':
			depth++
		case char == '}':
			depth--
		}
	}
	return text, nil
}

// keys lists the record's keys, for messages.
func (r *Record) keys() string {
	const most = 12
	keys := make([]string, 0, len(r.fields))
	for key := range r.fields {
		if len(key) > 40 {
			key = key[:40] + "…"
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if len(keys) > most {
		keys = append(keys[:most], "…")
	}
	return strings.Join(keys, ", ")
}
