package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"llamatab/engine/config"
	"llamatab/engine/data/textfile"
	"llamatab/engine/message"
	"llamatab/engine/strictjson"
)

func init() {
	Register(Format{
		Config: config.Format{Name: "csv", Place: 60, Title: message.Both("table (CSV)", "表格（CSV）"), AnyColumns: true},
		Turn:   80, Table: true,
		Detect: func(*Record) bool { return false }, // the file is one, not a row
	})
}

// tableExtensions are those of file names that say that the file is a table.
var tableExtensions = []string{".csv", ".tsv", ".tab"}

func isTable(name string) bool { return slices.Contains(tableExtensions, textfile.Extension(name)) }

// A tableReader reads rows of cells as RFC 4180 has them: a cell that holds a separator, a quote or a line break stands in quotes, and
// a quote in it is written twice. Beyond that, a quote inside an unquoted cell is an ordinary character, as in Python's csv.
type tableReader struct {
	c         cursor
	separator byte // oneColumn: a row is one cell
	size      int  // bytes of the row so far
}

// oneColumn is the separator of a table of one column: none.
const oneColumn = 0

// row reads the next row that is not blank, and the line where it starts. After an error that is a rowError the next row can be read;
// the end is io.EOF.
func (t *tableReader) row() (cells []string, line int, err error) {
	for {
		cells, line, err = t.anyRow()
		if err != nil || len(cells) > 1 || strings.TrimSpace(cells[0]) != "" {
			return cells, line, err
		}
	}
}

func (t *tableReader) anyRow() (cells []string, line int, err error) {
	t.size = 0
	if _, err := t.c.in.Peek(1); err != nil {
		return nil, t.c.line, err
	}
	line = t.c.line
	if t.c.newline {
		line++
	}
	for more := true; more; {
		var text []byte
		if text, more, err = t.cell(line); err != nil {
			return nil, line, err
		}
		cells = append(cells, string(text))
	}
	for _, cell := range cells {
		if !utf8.ValidString(cell) {
			return nil, line, rowError{errUTF8}
		}
	}
	return cells, line, nil
}

// cell reads one cell. more says that another one follows in the row, which began at a line.
func (t *tableReader) cell(began int) (text []byte, more bool, err error) {
	char, err := t.next()
	if err == nil && char == '"' {
		return t.quoted(began)
	}
	for ; ; char, err = t.next() {
		switch {
		case err != nil && err != io.EOF:
			return nil, false, err
		case err == io.EOF || char == '\n':
			return bytes.TrimSuffix(text, []byte("\r")), false, nil
		case char == t.separator && t.separator != oneColumn:
			return text, true, nil
		}
		text = append(text, char)
	}
}

// quoted reads a cell whose opening quote has been read.
func (t *tableReader) quoted(began int) (text []byte, more bool, err error) {
	line, column := t.c.line, t.c.column
	for {
		char, err := t.next()
		switch {
		case err == io.EOF:
			return nil, false, fmt.Errorf("column %d: the quote that opens here is never closed (a quote inside a quoted cell is written twice)", column)
		case err != nil:
			return nil, false, err
		case char != '"':
			if char == '\n' {
				text = bytes.TrimSuffix(text, []byte("\r"))
			}
			text = append(text, char)
			continue
		}
		char, err = t.next()
		if char == '\r' && err == nil {
			if after, peek := t.c.in.Peek(1); peek == io.EOF || len(after) == 1 && after[0] == '\n' {
				if char, err = t.next(); err == io.EOF {
					return text, false, nil
				}
			}
		}
		switch {
		case err == io.EOF || err == nil && char == '\n':
			return text, false, nil
		case err != nil:
			return nil, false, err
		case char == '"':
			text = append(text, '"')
		case char == t.separator && t.separator != oneColumn:
			return text, true, nil
		default:
			at, column := t.c.line, t.c.column
			t.skipLine()
			why := fault("row_quote", "column {column}: {got} after the end of a quoted cell (a quote inside one is written twice)", "column", column, "got", strconv.QuoteRune(rune(char)))
			if at != began || line != began {
				why = fault("row_quote_later", "line {at}, column {column}: {got} after the end of a quoted cell (a quote inside one is written twice)",
					"at", at, "column", column, "got", strconv.QuoteRune(rune(char)))
			}
			return nil, false, rowError{why}
		}
	}
}

// next reads a byte, as many as a row may have; the end is io.EOF.
func (t *tableReader) next() (byte, error) {
	if t.size++; t.size > maxLine {
		return 0, fmt.Errorf("a row longer than the limit of %d bytes: is a quote never closed?", maxLine)
	}
	char, err := t.c.next()
	if err == errInside {
		err = io.EOF
	}
	return char, err
}

func (t *tableReader) skipLine() {
	for !t.c.newline {
		if _, err := t.c.next(); err != nil {
			return
		}
	}
}

// table reads a table as records: each row is an object of the columns' names and the cells, which are strings.
func (s *source) table(how reading, yield func(*Record, error) bool) {
	head, peek := s.In.Peek(s.In.Size())
	t := &tableReader{c: cursor{in: s.In, line: 1, offset: s.Skipped}}
	prefer := byte(',')
	if e := textfile.Extension(s.Name); e == ".tsv" || e == ".tab" {
		prefer = '\t'
	}
	if named, ok := separatorLine(head); ok {
		t.separator = named
		_, _, _ = t.anyRow()
	} else {
		t.separator = separatorOf(head, peek != nil, prefer, how.header)
	}
	if s.How.Separator = string(t.separator); t.separator == oneColumn {
		s.How.Separator = ""
	}
	first := t.c.offset
	names, line, err := t.row()
	if err == io.EOF {
		return
	}
	if err != nil {
		yield(&Record{Line: line}, err)
		return
	}
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	m := &mapping{names: names, columns: how.columns, separator: s.How.Separator}
	parse := m.parseRow(t.separator)
	if s.How.Header = how.header(names) || !numbered(how.columns); !s.How.Header {
		m.names = make([]string, len(names))
		for i := range names {
			m.names[i] = strconv.Itoa(i + 1)
		}
		r, err := m.record(names, line)
		r.offset, r.size, r.parse = first, t.c.offset-first, parse
		if !yield(r, err) {
			return
		}
	} else if name := repeated(names); name != "" {
		yield(&Record{Line: line}, fmt.Errorf("the column %q occurs twice: rename one of the two", name))
		return
	}
	for {
		offset := t.c.offset
		cells, line, err := t.row()
		if err == io.EOF {
			return
		}
		r := &Record{Line: line}
		if err == nil {
			r, err = m.record(cells, line)
			r.offset, r.size, r.parse = offset, t.c.offset-offset, parse
		}
		if !yield(r, err) {
			return
		}
		if _, row := errors.AsType[rowError](err); err != nil && !row {
			return
		}
	}
}

// numbered tells whether the configuration names columns by their numbers, from 1: then a first row that names none is a row of data.
func numbered(columns map[string]string) bool {
	for _, own := range columns {
		if n, err := strconv.Atoi(own); err != nil || n < 1 {
			return false
		}
	}
	return len(columns) > 0
}

func repeated(names []string) string {
	for i, name := range names {
		if name != "" && slices.Contains(names[:i], name) {
			return name
		}
	}
	return ""
}

// mapping turns rows of cells into records.
type mapping struct {
	names     []string
	columns   map[string]string
	separator string
}

// record is the record of a row.
func (m *mapping) record(cells []string, line int) (*Record, error) {
	r := &Record{Line: line, table: true, fields: make(map[string]json.RawMessage, len(cells)), names: m.names}
	for len(cells) > len(m.names) && strings.TrimSpace(cells[len(cells)-1]) == "" {
		cells = cells[:len(cells)-1]
	}
	if len(cells) != len(m.names) {
		return r, rowError{fault("row_cells", "{got} cells, the first row has {want}: a cell that holds the separator {separator} or a line break stands in quotes",
			"got", len(cells), "want", len(m.names), "separator", strconv.Quote(m.separator))}
	}
	for i, cell := range cells {
		raw, err := m.value(m.names[i], cell)
		if err != nil {
			return r, rowError{err}
		}
		if m.names[i] != "" {
			r.fields[m.names[i]] = raw
		}
	}
	for _, own := range m.columns { // by number, where a header names them too
		if n, err := strconv.Atoi(own); err == nil && n >= 1 && n <= len(cells) {
			if _, named := r.fields[own]; !named {
				r.fields[own] = r.fields[m.names[n-1]]
			}
		}
	}
	return r, nil
}

// lists are keys whose values are no strings. In a table they stand as JSON in a cell.
var lists = []string{"messages", "conversations", "tools", "documents", "history", "input_ids", "labels", "attention_mask"}

// value is a cell as JSON: a string, or under a key of lists the JSON that the cell holds.
func (m *mapping) value(name, cell string) (json.RawMessage, error) {
	key := name
	for own, column := range m.columns {
		if column == name {
			key = own
		}
	}
	text := []byte(strings.TrimSpace(cell))
	if len(text) > 0 && (text[0] == '[' || text[0] == '{') && slices.Contains(lists, key) {
		var syntax *json.SyntaxError
		switch err := json.Unmarshal(text, new(json.RawMessage)); {
		case errors.As(err, &syntax):
			return nil, fault("row_cell_json", "the cell under {key} is not JSON: {why}", "key", strconv.Quote(name), "why", err.Error())
		case err != nil:
			return nil, err
		}
		if twice, found := strictjson.RepeatedKey(text); found {
			return nil, fault("row_key_twice", "the key {key} occurs twice", "key", twice)
		}
		if escape := strictjson.LoneSurrogate(text); escape != "" {
			return nil, fault("row_lone_surrogate", "{escape} is half of a character: its other half is missing (a lone surrogate)", "escape", escape)
		}
		return text, nil
	}
	if len(text) == 0 && slices.Contains(lists, key) {
		return json.RawMessage("null"), nil
	}
	return json.Marshal(cell)
}

// separators are tried in this order.
var separators = []byte{',', '\t', ';', '|'}

// separatorLine is the separator that Excel writes into a first line of its own, as sep=;
func separatorLine(head []byte) (byte, bool) {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	line = bytes.TrimSpace(line)
	if len(line) == len("sep=;") && bytes.HasPrefix(bytes.ToLower(line), []byte("sep=")) {
		return line[4], true
	}
	return 0, false
}

// separatorOf finds the separator of a table that begins with head: the one with which the first row names columns, and
// with which most rows have as many cells as the first. Of equals, prefer is taken. end says that head is the whole table.
func separatorOf(head []byte, end bool, prefer byte, header func([]string) bool) byte {
	best, most := byte(oneColumn), 0.5
	for _, separator := range append([]byte{prefer}, separators...) {
		rows := sampleRows(head, end, separator)
		if len(rows) == 0 || len(rows[0]) < 2 {
			continue
		}
		alike := 0
		for _, row := range rows {
			if len(row) == len(rows[0]) {
				alike++
			}
		}
		score := float64(alike) / float64(len(rows))
		if header(rows[0]) {
			score += 2
		}
		if score > most {
			best, most = separator, score
		}
	}
	return best
}

// sampleRows are the first rows of a table that begins with head, as a separator splits them.
func sampleRows(head []byte, end bool, separator byte) (rows [][]string) {
	const enough = 50
	t := &tableReader{c: cursor{in: bufio.NewReaderSize(bytes.NewReader(head), textfile.Buffer), line: 1}, separator: separator}
	for len(rows) <= enough {
		cells, _, err := t.row()
		if err == io.EOF {
			break
		}
		if _, row := errors.AsType[rowError](err); err != nil && !row {
			break
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if !end && len(rows) > 1 && len(rows) <= enough {
		rows = rows[:len(rows)-1]
	}
	return rows
}

// looksLikeTable tells whether a file that is not called a table is one all the same: its first row names two columns or more that a format
// has, and the second row has as many cells.
func (s *source) looksLikeTable(how reading) bool {
	head, err := s.In.Peek(s.In.Size())
	if text := bytes.TrimLeft(head, " \t\r\n"); len(text) == 0 || text[0] == '{' || text[0] == '[' {
		return false
	}
	separator := separatorOf(head, err == io.EOF, ',', how.header)
	rows := sampleRows(head, err == io.EOF, separator)
	return separator != oneColumn && len(rows) > 1 && len(rows[0]) == len(rows[1]) && how.header(rows[0]) && !slices.ContainsFunc(rows[0], isProse)
}

// isProse tells whether the first cell of a column is empty or has words: then it is no name that a program gave it.
func isProse(name string) bool { return name == "" || strings.ContainsAny(name, " .!?") }

// beginsWithObject tells whether a file that is called a table holds JSON lines.
func (s *source) beginsWithObject() bool {
	head, _ := s.In.Peek(s.In.Size())
	line, _, _ := bytes.Cut(bytes.TrimLeft(head, " \t\r\n"), []byte("\n"))
	return len(line) > 0 && line[0] == '{' && json.Valid(line)
}
