package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
	"unicode/utf8"

	"llamatab/engine/message"
)

// source is an open dataset file: unpacked, and as UTF-8.
type source struct {
	in      *bufio.Reader
	name    string // of the file or, in an archive, of the member that is read: its extension tells the layout
	packed  bool
	file    *message.DataFile
	remarks []message.Remark
	skipped int64 // bytes before the first record, where the file is UTF-8
}

// sizeOf is the size of an open file in bytes, 0 where it is not known.
func sizeOf(r io.Reader) int64 {
	switch f := r.(type) {
	case interface{ Size() int64 }:
		return f.Size()
	case interface{ Stat() (fs.FileInfo, error) }:
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return info.Size()
		}
	}
	return 0
}

// sourceBuffer is how many bytes of a file are looked at to find its layout, its encoding and its separator.
const sourceBuffer = 64 << 10

// openSource unpacks a file, refuses what is no text and finds the encoding.
func openSource(r io.Reader, name string) (*source, error) {
	s := &source{in: bufio.NewReaderSize(r, sourceBuffer), name: name, file: &message.DataFile{}}
	if err := s.unpack(r); err != nil {
		return nil, err
	}
	head, _ := s.in.Peek(sniffed)
	if what := binaryKind(head); what != "" {
		return nil, errors.New(what)
	}
	s.decode(head)
	return s, nil
}

// remark adds a remark on the file.
func (s *source) remark(code, text string, pairs ...any) {
	s.remarks = append(s.remarks, message.NewRemark(code, text, pairs...))
}

// rowError is what is wrong with one record of a file that can be read on.
type rowError struct{ error }

func (e rowError) Unwrap() error { return e.error }

// reading says what a reader of records must know about the run.
type reading struct {
	auto    bool // the format is found by looking at the file
	plain   bool // the file may be plain text
	table   bool // the file is a table whatever its name
	columns map[string]string
	header  func(names []string) bool // whether the cells of a row are names of columns
}

// records reads a file record by record. An error may come with a Record that tells the line; after one that is no
// rowError it ends.
func (s *source) records(how reading) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if how.table || isTable(s.name) && !s.beginsWithObject() || how.auto && s.looksLikeTable(how) {
			s.file.Layout = "table"
			s.table(how, yield)
			return
		}
		line, blank, first, err := skipSpace(s.in, how.plain)
		s.skipped += blank
		switch {
		case err == io.EOF:
		case err != nil:
			yield(&Record{Line: line}, err)
		case how.plain && isText(s.name, first):
			s.file.Layout = "text"
			yield(plainText(s.in))
		case first == '[':
			s.file.Layout = "json"
			s.array(line, yield)
		default:
			s.objects(line, yield)
		}
	}
}

// isText tells plain text from JSON by the file's name or, where that says nothing, by its first character.
func isText(name string, first byte) bool {
	switch extension(name) {
	case ".txt", ".text", ".md":
		return true
	case ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".tab":
		return false
	}
	return first != '{' && first != '['
}

func extension(name string) string { return strings.ToLower(path.Ext(name)) }

// skipSpace peeks at the first character that is not white space. In what may be plain text nothing is consumed,
// since there the space belongs to the text.
func skipSpace(in *bufio.Reader, plain bool) (line int, skipped int64, first byte, err error) {
	line = 1
	for n := 1; ; {
		head, err := in.Peek(n)
		if len(head) < n {
			return line, skipped, 0, err
		}
		c := head[n-1]
		switch {
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return line, skipped, c, nil
		case plain && n < in.Size():
			n++
			continue
		case plain:
			return line, skipped, c, nil
		case c == '\n':
			line++
		}
		_, _ = in.Discard(1)
		skipped++
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
