package data

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode/utf8"

	"llamatab/engine/data/textfile"
)

// source is an open dataset file, from which records are read.
type source struct{ *textfile.File }

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
		if how.table || isTable(s.Name) && !s.beginsWithObject() || how.auto && s.looksLikeTable(how) {
			s.How.Layout = "table"
			s.table(how, yield)
			return
		}
		line, blank, first, err := skipSpace(s.In, how.plain)
		s.Skipped += blank
		switch {
		case err == io.EOF:
		case err != nil:
			yield(&Record{Line: line}, err)
		case how.plain && isText(s.Name, first):
			s.How.Layout = "text"
			yield(plainText(s.In))
		case first == '[':
			s.How.Layout = "json"
			s.array(line, yield)
		default:
			s.objects(line, yield)
		}
	}
}

// isText tells plain text from JSON by the file's name or, where that says nothing, by its first character.
func isText(name string, first byte) bool {
	switch textfile.Extension(name) {
	case ".txt", ".text", ".md":
		return true
	case ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".tab":
		return false
	}
	return first != '{' && first != '['
}

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
