// Package data turns dataset files into batches: file → records → samples → micro-batches.
//
// A file is a list of JSON objects (JSON lines, one JSON array, objects over several lines), a table (CSV) or plain text, in
// UTF-8, UTF-16 or GB18030, and may be packed with gzip or zip. Its format says how a record becomes tokens and which of
// them are trained on. What happens to a record follows one rule:
//
//   - a malformed record is an error with file, line and cause; with Options.SkipBad it is left out, and a remark says so
//   - a well-formed record that leaves nothing to learn is left out and counted in a remark
//   - a record that is too long is cut at its end and counted in a remark
//
// Rows of the format "tokens" are used exactly as they stand: they are neither left out nor cut.
//
// Labels are aligned with the ids as in Hugging Face: the model predicts Labels[t+1] at position t. The shift is made
// once, when a batch is put together.
package data

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"llamatab/engine/chat"
	"llamatab/engine/data/textfile"
	"llamatab/engine/message"
)

// Ignore is the label of a position that is not trained.
const Ignore = -100

// Limits on an untrusted file.
const (
	maxLine   = 16 << 20  // bytes of one record
	maxText   = 256 << 20 // bytes of a plain text file
	maxTokens = 1 << 29   // of a whole dataset: 4 GiB of ids and labels
)

// DefaultLength is the longest row, in tokens, where no max_length is given and the model's context allows it.
const DefaultLength = 1024

// Tokenizer is what this package needs of one.
type Tokenizer interface {
	// Encode returns the ids of text; special adds those that the model expects around a text.
	Encode(text string, special bool) ([]int, error)
	// EncodeOffsets also returns, for each id, the bytes [from, to) of text it stands for. No special ids are added.
	EncodeOffsets(text string) (ids []int, offsets [][2]int, err error)
	// Token returns the token of an id, for messages.
	Token(id int) (string, bool)
	BOS() (int, bool)
	EOS() (int, bool)
}

// Options say how a file is read. The zero Options read tokens, unchecked.
type Options struct {
	Format        string            // a format's name; "" or "auto" looks at the first record
	Columns       map[string]string // the format's own key → the key that the file uses for it
	Tokenizer     Tokenizer         // may be nil where the dataset holds tokens
	MaxLength     int               // tokens a row is cut to; 0: min(1024, Context)
	Context       int               // the model's longest row; 0: unknown
	Vocab         int               // ids are below it; 0: unknown
	TrainOnPrompt bool              // the prompt is trained on as well as its completion
	Classify      bool              // a row has one label: "text" or "input_ids", and "label"
	Classes       []string          // the names of the model's classes, in order; nil: what the labels are
	NumClasses    int               // of a model whose classes have no names; 0: as many as there are labels
	SkipBad       bool              // a malformed record is left out instead of ending the reading
	// Chat chooses the template that makes text of a conversation with tools, or without; nil where there is no tokenizer.
	Chat func(tools bool) (*chat.Choice, error)
	// Outlines is of how many rows, from the first on, the dataset keeps the outline.
	Outlines int
	// Stop is asked after each row whether reading ends here, once there is a row to train on; nil reads to the end.
	Stop func() bool
	// Open opens the file again. Where it is set, a large file is not kept in memory: its rows are read again when they are drawn.
	Open func() (fs.File, error)
}

// Sample is one row: ids, and a label for each. The slices may be shared; they are read only.
type Sample struct {
	IDs    []int32
	Labels []int32 // an id, or Ignore; nil in a classification
	Class  int32   // of the whole row, in a classification
	Line   int     // of the record in the file, 1-based
	Parts  []Part  // of a packed row: its samples, in their order; nil in a row of one sample
}

// classified tells whether s has one label for the whole row.
func (s Sample) classified() bool { return s.Labels == nil && len(s.IDs) > 0 }

// Counted is the number of targets that s trains: labels after the first, which nothing predicts, or its one class.
func (s Sample) Counted() int {
	if s.classified() {
		return 1
	}
	n := 0
	for t := 1; t < len(s.Labels); t++ {
		if s.Labels[t] != Ignore {
			n++
		}
	}
	return n
}

// Stats are the counts of a dataset.
type Stats = message.DatasetStats

// Dataset is a file as rows of tokens. They are in memory or, of a large file, read when they are drawn.
type Dataset struct {
	Name    string
	Format  string // as detected
	File    message.DataFile
	Length  int      // tokens that a row was cut to
	Samples []Sample // nil where Streams is true: Len, RowLen, Row, Range and Pick give the rows of every dataset
	Classes []string // of a classification, by their numbers
	Stats   Stats
	Remarks []message.Remark
	Bad     []BadRow // the first maxBad of them

	Outlines [][]message.PreviewTurn // the parts of the first rows, for who shows them; see Options
	Chat     *chat.Choice            // the template of the first conversation, nil where there is none
	// Openings are what stands before the first trained answer of the first few conversations, each with another message of the
	// user at its end.
	Openings []*chat.Conversation

	Part  bool    // Options.Stop ended the reading: there may be more rows in the file
	Share float64 // of the file that was read, where the caller knows its size

	// Fingerprint is a hash of the ids and labels of all rows in their order. Two files with equal fingerprints hold the same
	// rows. Parts of a dataset that was split have none.
	Fingerprint uint64

	index  *index    // of the rows of a large file, else nil
	chosen []int32   // the rows of the index that this part has; nil: all
	most   int       // tokens that rows of the index are cut to, 0 for no limit
	packs  [][]int32 // the rows of the index that share each packed row; nil: rows are not packed
}

// CountsRemark says how many rows and tokens there are, and how many rows were left out, for which causes.
func (d *Dataset) CountsRemark() message.Remark {
	s := d.Stats
	return message.NewRemark("rows_counted", "{file}: {rows} rows of {tokens} tokens, {trained} of them trained; {dropped} rows left out ({empty} empty, {masked} without a trained token, {cut} cut off before their trained tokens), {bad} malformed, {truncated} cut, {repeated} repeat an earlier one",
		"file", d.Name, "rows", s.Rows, "tokens", s.Tokens, "trained", s.Trained, "dropped", s.Dropped, "empty", s.Empty, "masked", s.Masked, "cut", s.CutOff,
		"bad", s.Bad, "truncated", s.Truncated, "repeated", s.Duplicates)
}

// maxBad is how many bad rows are listed one by one.
const maxBad = 20

// Longest is the number of tokens of the longest row.
func (d *Dataset) Longest() int {
	n := 0
	for row := range d.Len() {
		n = max(n, d.RowLen(row))
	}
	return n
}

// EndsIn counts the rows whose last token is id, and finds the line of the first.
func (d *Dataset) EndsIn(id int32) (n, firstLine int) {
	for _, s := range d.Samples {
		if len(s.IDs) > 0 && s.IDs[len(s.IDs)-1] == id {
			if n++; n == 1 {
				firstLine = s.Line
			}
		}
	}
	return n, firstLine
}

// Load reads a whole dataset from r. name is the file's name: it stands in errors, and its extension tells plain text (.txt),
// tables (.csv, .tsv) and JSON apart. A zip archive is read at any place where r is an io.ReaderAt with a Size or a Stat.
func Load(r io.Reader, name string, opt Options) (*Dataset, error) {
	d, err := load(r, name, opt)
	if errors.Is(err, errUnstreamable) {
		var f fs.File
		if f, err = opt.Open(); err == nil {
			defer f.Close()
			opt.Open = nil
			d, err = load(f, name, opt)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", name, err)
	}
	return d, nil
}

// chooseFormat is the format that opt names, nil where the first record decides. table says that the file is a table.
func chooseFormat(opt Options) (format *Format, table bool, err error) {
	automatic := opt.Format == "" || opt.Format == "auto"
	format = byName(opt.Format)
	if format != nil && format.Table {
		format, automatic, table = nil, true, true
	}
	switch {
	case opt.Classify && (automatic || format != nil && format.Classifiable):
		return &classificationFormat, table, nil
	case opt.Classify:
		return nil, false, fmt.Errorf("format %q has no labels for a classification: use %s", opt.Format, classificationFormat.Name())
	case format != nil && format.Labels:
		return nil, false, errClassify
	case format == nil && !automatic:
		return nil, false, fmt.Errorf("unknown format %q: use auto or one of %s", opt.Format, names())
	}
	return format, table, nil
}

// endsReading tells whether err is of a row, but says that no row can be read any more.
func endsReading(err error) bool {
	_, always := errors.AsType[broken](err)
	return always || errors.Is(err, errTooLarge)
}

func load(r io.Reader, name string, opt Options) (*Dataset, error) {
	e, err := newEncoder(name, opt)
	if err != nil {
		return nil, err
	}
	format, table, err := chooseFormat(opt)
	if err != nil {
		return nil, err
	}
	file, err := textfile.Open(r, name)
	if err != nil {
		return nil, err
	}
	src := &source{file}
	known := format != nil
	how := reading{
		auto: !table && (opt.Format == "" || opt.Format == "auto"), plain: !known && !table || known && format.Plain, table: table, columns: opt.Columns,
		header: func(names []string) bool { return namesColumns(names, opt.Columns) },
	}
	if opt.Open != nil && !opt.Classify && !src.Packed && src.How.Encoding == "UTF-8" && textfile.Size(r) >= streamFrom {
		e.index(opt.Open)
	}
	columns, guessed := opt.Columns, false
	for record, err := range src.records(how) {
		_, row := errors.AsType[rowError](err)
		ended := err != nil && !row // the file cannot be read on from here
		if err == nil && !known {
			format, columns, err = detect(record, opt.Columns)
			known = err == nil
		}
		if err == nil && !guessed {
			if guessed = true; opt.Classify {
				columns = guessLabel(record, columns)
			}
			src.tellGuess(format, columns, opt.Columns)
		}
		switch x := e.d.index; {
		case x == nil || err != nil:
		case record.Plain:
			e.d.index = nil
		case src.How.Encoding != "UTF-8":
			return nil, errUnstreamable
		default:
			x.parse, x.format, x.columns = record.parse, format, columns
		}
		if err == nil {
			record.columns = columns
			e.line = record.Line
			samples, stats := len(e.d.Samples), e.d.Stats
			if err = format.Rows(record, e); err != nil {
				e.d.Samples, e.d.Stats = e.d.Samples[:samples], stats
				e.d.Outlines = e.d.Outlines[:min(len(e.d.Outlines), stats.Rows)]
			} else if e.d.index != nil {
				err = e.take(record)
			}
		}
		switch {
		case err == nil:
		case opt.SkipBad && !ended && !endsReading(err):
			e.leave(BadRow{record.Line, err})
		case record.Line > 0:
			return nil, &BadRow{record.Line, err}
		default:
			return nil, err
		}
		if opt.Stop != nil && e.d.Stats.Trained > 0 && opt.Stop() {
			e.d.Part = true
			break
		}
	}
	if format != nil {
		e.d.Format = format.Name()
	}
	e.d.File, e.d.Remarks, e.d.Openings = *src.How, src.Remarks, e.chats.openings
	return e.finish()
}
