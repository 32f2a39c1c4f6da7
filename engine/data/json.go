package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"llamatab/engine/strictjson"
)

// objects reads a file of JSON objects that begins at a line: one on each line, each over several lines, or all in an array
// under a key of the only object.
func (s *source) objects(line int, yield func(*Record, error) bool) {
	head, _ := s.In.Peek(s.In.Size())
	key, offset := rowsKey(head)
	switch {
	case offset > 0:
		s.How.Layout = "json"
		s.Remark("rows_under_key", "{file}: its rows are the list under {key}", "file", s.Name, "key", key)
		line += bytes.Count(head[:offset], []byte("\n"))
		_, _ = s.In.Discard(offset)
		s.Skipped += int64(offset)
		s.listUnderKey(line, yield)
	case overSeveralLines(head):
		s.How.Layout = "json"
		s.spread(line, yield)
	default:
		s.How.Layout = "json lines"
		s.lines(line, yield)
	}
}

// rowsKeys are the keys under which files keep their list of rows.
var rowsKeys = []string{"data", "rows", "train", "examples", "instances", "samples", "records", "items", "dataset"}

// rowsKey finds a list of objects under one of rowsKeys in an object that begins at head, the only one of its file. offset is that of
// the list's bracket, 0 where there is none.
func rowsKey(head []byte) (key string, offset int) {
	depth, value := 0, false
	for i := 0; i < len(head); i++ {
		switch c := head[i]; {
		case c == '"':
			end := i + 1
			for ; end < len(head) && head[end] != '"'; end++ {
				if head[end] == '\\' {
					end++
				}
			}
			if end >= len(head) {
				return "", 0
			}
			if depth == 1 && !value {
				if key = string(head[i+1 : end]); knownKey(key) {
					return "", 0 // a row
				}
			}
			i = end
		case c == ':' && depth == 1:
			value = true
		case c == ',' && depth == 1:
			value = false
		case c == '[' && depth == 1 && slices.Contains(rowsKeys, key):
			if rest := bytes.TrimLeft(head[i+1:], " \t\r\n"); len(rest) > 0 && rest[0] == '{' {
				return key, i
			}
			depth++
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return "", 0
			}
		}
	}
	return "", 0
}

// overSeveralLines tells whether the object at the beginning of head goes on over the line's end. It does not where the next line
// begins another object, unless the line ends where a value must follow: such an object is cut off in its line.
func overSeveralLines(head []byte) bool {
	first, rest, _ := bytes.Cut(head, []byte("\n"))
	if rest = bytes.TrimLeft(rest, " \t\r\n"); len(rest) == 0 {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(first); i++ {
		switch c := first[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	if depth <= 0 || quoted {
		return false
	}
	first = bytes.TrimRight(first, " \t\r")
	return rest[0] != '{' || first[len(first)-1] == ':' || first[len(first)-1] == '['
}

// spread reads JSON objects one after another, wherever lines end.
func (s *source) spread(line int, yield func(*Record, error) bool) {
	c := &cursor{in: s.In, line: line, offset: s.Skipped}
	for {
		char, err := c.nonspace()
		switch {
		case err == errInside:
			return
		case err == nil && char != '{':
			err = fmt.Errorf("column %d: not JSON: %q between two objects, where nothing belongs", c.column, char)
		}
		if err != nil {
			yield(&Record{Line: c.line}, err)
			return
		}
		at, column, offset := c.line, c.column, c.offset-1
		text, err := c.object()
		if err == errInside {
			err = errors.New("the file ends inside the JSON object that begins here")
		}
		if err != nil {
			yield(&Record{Line: at}, err)
			return
		}
		if !yield(objectAt(text, at, column, offset)) {
			return
		}
	}
}

// lines reads one JSON object a line and leaves blank lines out.
func (s *source) lines(line int, yield func(*Record, error) bool) {
	offset := s.Skipped
	for ; ; line++ {
		text, err := readLine(s.In)
		if err != nil && err != io.EOF {
			yield(&Record{Line: line}, err)
			return
		}
		if len(bytes.TrimSpace(text)) > 0 {
			if !yield(objectAt(text, line, 1, offset)) {
				return
			}
		}
		offset += int64(len(text))
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

// objectAt is the record of an object whose bytes begin at an offset of the file.
func objectAt(text []byte, line, column int, offset int64) (*Record, error) {
	r, err := object(text, line, column)
	r.offset, r.size, r.parse = offset, int64(len(text)), parseLine
	return r, err
}

func parse(text []byte, line, column int) (*Record, error) {
	r := &Record{Line: line, object: text}
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

// array reads the objects of one JSON array, which is all of the file.
func (s *source) array(line int, yield func(*Record, error) bool) {
	c := &cursor{in: s.In, line: line, offset: s.Skipped}
	if !c.list(yield) {
		return
	}
	if char, err := c.nonspace(); err == nil {
		yield(&Record{Line: c.line}, fmt.Errorf("column %d: %q after the end of the JSON array", c.column, char))
	} else if err != errInside {
		yield(&Record{Line: c.line}, err)
	}
}

// listUnderKey reads the objects of a JSON array inside an object. The rest of the object holds no rows.
func (s *source) listUnderKey(line int, yield func(*Record, error) bool) {
	c := &cursor{in: s.In, line: line, offset: s.Skipped}
	if !c.list(yield) {
		return
	}
	last := byte(0)
	for {
		char, err := c.nonspace()
		switch {
		case err == errInside && last == '}':
			return
		case err == errInside:
			err = errors.New("the file ends inside its JSON object")
			fallthrough
		case err != nil:
			yield(&Record{Line: c.line}, err)
			return
		}
		last = char
	}
}

// list reads the objects of one JSON array, holding one at a time, and reports whether the reading goes on behind it.
func (c *cursor) list(yield func(*Record, error) bool) bool {
	fail := func(err error) bool { yield(&Record{Line: c.line}, err); return false }
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
			return fail(err)
		}
		switch char {
		case '{':
			line, column, offset := c.line, c.column, c.offset-1
			text, err := c.object()
			if err != nil {
				return fail(err)
			}
			if !yield(objectAt(text, line, column, offset)) {
				return false
			}
		case ']':
			return true
		case 'n':
			line, column := c.line, c.column
			text := []byte{'n'}
			for len(text) < len("null") && err == nil {
				char, err = c.next()
				text = append(text, char)
			}
			if err != nil || string(text) != "null" {
				return fail(fmt.Errorf("column %d: not JSON: a row is a JSON object", column))
			}
			if !yield(object(text, line, column)) {
				return false
			}
		default:
			return fail(fmt.Errorf("column %d: a row is a JSON object, got %q", c.column, char))
		}
	}
}

// A cursor walks over a file and knows where it is.
type cursor struct {
	in           *bufio.Reader
	line, column int // of the byte read last
	newline      bool
	offset       int64 // behind the byte read last
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
	c.newline, c.offset = char == '\n', c.offset+1
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
