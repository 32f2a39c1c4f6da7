package data

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math"
	"slices"

	"llamatab/engine/chat"
)

// streamFrom is the size in bytes from which on a file is not kept in memory: its rows are indexed, and read and tokenized again when
// they are drawn. It is a variable for the tests.
var streamFrom int64 = 64 << 20

// maxStreamTokens bounds the tokens of a dataset that is not in memory.
const maxStreamTokens = 1 << 40

// index says where the rows of a large file are, and what is known of each. It takes 37 bytes a row.
type index struct {
	open    func() (fs.File, error)
	parse   func(raw []byte, line int) (*Record, error)
	format  *Format
	columns map[string]string
	encoder *Encoder // with the run's options; its dataset holds the rows of one record

	offset  []int64 // of the record, in bytes
	size    []int32 // of the record, in bytes
	line    []int32
	part    []uint16 // the row among those of its record
	tokens  []int32
	counted []int32
	hash    []uint64 // of ids and labels
}

// errUnstreamable is the error of a file that turns out to have another encoding than UTF-8 when its first rows are indexed. It is
// read into memory then.
var errUnstreamable = errors.New("is no UTF-8, and more than can be read in pieces")

// index makes the encoder index the rows of a file, instead of keeping them.
func (e *Encoder) index(open func() (fs.File, error)) {
	scratch := *e
	scratch.d, scratch.seen, scratch.chats = &Dataset{Name: e.d.Name}, nil, conversations{choices: map[bool]*chat.Choice{}}
	e.d.index = &index{open: open, encoder: &scratch}
}

// take moves the rows of a record from the encoder's dataset to its index.
func (e *Encoder) take(r *Record) error {
	x := e.d.index
	if r.size > math.MaxInt32 || len(e.d.Samples) > math.MaxUint16 {
		return fmt.Errorf("%w: a record of %d bytes and %d rows", errTooLarge, r.size, len(e.d.Samples))
	}
	for part, s := range e.d.Samples {
		x.offset, x.size, x.line = append(x.offset, r.offset), append(x.size, int32(r.size)), append(x.line, int32(s.Line))
		x.part, x.tokens, x.counted = append(x.part, uint16(part)), append(x.tokens, int32(len(s.IDs))), append(x.counted, int32(s.Counted()))
		x.hash = append(x.hash, s.hash(""))
	}
	e.d.Samples = e.d.Samples[:0]
	return nil
}

// hash is of the ids and labels of a row, and of the name of its class.
func (s Sample) hash(label string) uint64 {
	h := fnv.New64a()
	for _, part := range [][]int32{s.IDs, s.Labels} {
		_ = binary.Write(h, binary.LittleEndian, part)
	}
	if s.classified() {
		h.Write([]byte(label))
	}
	return h.Sum64()
}

// repeats counts the rows that equal an earlier one.
func (x *index) repeats() (n int) {
	sorted := slices.Clone(x.hash)
	slices.Sort(sorted)
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			n++
		}
	}
	return n
}

// read reads rows and tokenizes them again.
func (x *index) read(rows []int32) ([]Sample, error) {
	f, err := x.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.New("cannot be read at any place")
	}
	samples := make([]Sample, len(rows))
	for i, row := range rows {
		raw := make([]byte, x.size[row])
		if n, err := at.ReadAt(raw, x.offset[row]); n < len(raw) {
			return nil, fmt.Errorf("line %d: %w", x.line[row], err)
		}
		if samples[i], err = x.encode(raw, row); err != nil {
			return nil, fmt.Errorf("line %d: %w", x.line[row], err)
		}
	}
	return samples, nil
}

var errChanged = errors.New("has changed since the run began: start again")

// encode tokenizes the record of a row.
func (x *index) encode(raw []byte, row int32) (Sample, error) {
	r, err := x.parse(raw, int(x.line[row]))
	if err != nil {
		return Sample{}, errChanged
	}
	r.columns = x.columns
	e := *x.encoder
	e.d, e.line = &Dataset{Name: e.d.Name}, int(x.line[row])
	if err := x.format.Rows(r, &e); err != nil || int(x.part[row]) >= len(e.d.Samples) {
		return Sample{}, errChanged
	}
	s := e.d.Samples[x.part[row]]
	if s.hash("") != x.hash[row] {
		return Sample{}, errChanged
	}
	return s, nil
}

// Streams tells whether the rows are read from the file when they are drawn.
func (d *Dataset) Streams() bool { return d.index != nil }

// Len is the number of rows.
func (d *Dataset) Len() int {
	switch {
	case d.index == nil:
		return len(d.Samples)
	case d.packs != nil:
		return len(d.packs)
	case d.chosen != nil:
		return len(d.chosen)
	}
	return len(d.index.offset)
}

// at is the place of a row in the index.
func (d *Dataset) at(row int) int32 {
	if d.chosen != nil {
		return d.chosen[row]
	}
	return int32(row)
}

// RowLen is the number of tokens of a row.
func (d *Dataset) RowLen(row int) int {
	if d.index == nil {
		return len(d.Samples[row].IDs)
	}
	if d.packs == nil {
		return d.placeLen(d.at(row))
	}
	n := 0
	for _, place := range d.packs[row] {
		n += d.placeLen(place)
	}
	return n
}

// placeLen is the number of tokens of a row of the index.
func (d *Dataset) placeLen(place int32) int {
	n := int(d.index.tokens[place])
	if d.most > 0 {
		n = min(n, d.most)
	}
	return n
}

// RowLines are the lines in the file of the records in a row.
func (d *Dataset) RowLines(row int) []int {
	if d.index == nil {
		return d.Samples[row].Lines()
	}
	places := d.places(row)
	lines := make([]int, len(places))
	for i, place := range places {
		lines[i] = int(d.index.line[place])
	}
	return lines
}

// places are the rows of the index in a row of the dataset.
func (d *Dataset) places(row int) []int32 {
	if d.packs != nil {
		return d.packs[row]
	}
	return []int32{d.at(row)}
}

// rowCounted is the number of targets that a row trains.
func (d *Dataset) rowCounted(row int) int {
	if d.index == nil {
		return d.Samples[row].Counted()
	}
	n := 0
	for _, place := range d.places(row) {
		n += int(d.index.counted[place])
	}
	return n
}

// Row returns a row.
func (d *Dataset) Row(row int) (Sample, error) {
	s, err := d.Pick([]int{row})
	if err != nil {
		return Sample{}, err
	}
	return s[0], nil
}

// Range returns the rows from first to before end.
func (d *Dataset) Range(first, end int) ([]Sample, error) {
	if d.index == nil {
		return d.Samples[first:end], nil
	}
	rows := make([]int, end-first)
	for i := range rows {
		rows[i] = first + i
	}
	return d.Pick(rows)
}

// Pick returns the samples at the given rows.
func (d *Dataset) Pick(rows []int) ([]Sample, error) {
	if d.index == nil {
		samples := make([]Sample, len(rows))
		for i, row := range rows {
			samples[i] = d.Samples[row]
		}
		return samples, nil
	}
	var places []int32
	for _, row := range rows {
		places = append(places, d.places(row)...)
	}
	samples, err := d.index.read(places)
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", d.Name, err)
	}
	for i, s := range samples {
		samples[i] = s.cut(d.most)
	}
	if d.packs == nil {
		return samples, nil
	}
	packed := make([]Sample, len(rows))
	for i, row := range rows {
		n := len(d.packs[row])
		packed[i], samples = join(samples[:n]), samples[n:]
	}
	return packed, nil
}

// cut is the row up to most tokens; 0 is no limit.
func (s Sample) cut(most int) Sample {
	if most > 0 && len(s.IDs) > most {
		s.IDs, s.Labels = s.IDs[:most], s.Labels[:min(most, len(s.Labels))]
	}
	return s
}

// Cut is the dataset with rows of at most so many tokens.
func (d *Dataset) Cut(most int) *Dataset {
	short := *d
	short.Samples, short.most, short.Length = nil, most, most
	for _, row := range d.Samples {
		short.Samples = append(short.Samples, row.cut(most))
	}
	return &short
}

// parseLine is the parse of an index of JSON objects.
func parseLine(raw []byte, line int) (*Record, error) { return object(raw, line, 1) }

// parseRow is the parse of an index of a table.
func (m *mapping) parseRow(separator byte) func(raw []byte, line int) (*Record, error) {
	return func(raw []byte, line int) (*Record, error) {
		t := &tableReader{c: cursor{in: bufio.NewReader(bytes.NewReader(raw)), line: line}, separator: separator}
		cells, _, err := t.row()
		if err != nil {
			return nil, err
		}
		return m.record(cells, line)
	}
}
