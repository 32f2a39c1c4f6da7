package data

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"llamatab/engine/data/sampling"
	"llamatab/engine/message"
)

// Encoder turns texts into samples of a dataset.
type Encoder struct {
	opt          Options
	length       int // tokens a row is cut to
	bos, eos     []int
	tail         []int // what the tokenizer's template puts after a text
	ownEnds      int   // rows that brought BOS or EOS themselves
	d            *Dataset
	seen         map[uint64]bool // hashes of the samples
	line         int             // of the record at hand
	firstDropped int
	labels       []string // of the samples, in a classification
	chats        conversations
	outline      []message.PreviewTurn // of the row at hand, while outlines are kept
}

func newEncoder(name string, opt Options) (*Encoder, error) {
	e := &Encoder{opt: opt, length: opt.MaxLength, d: &Dataset{Name: name}, seen: map[uint64]bool{}}
	switch {
	case opt.MaxLength < 0 || opt.MaxLength == 1:
		return nil, fmt.Errorf("max_length is %d: a row needs two tokens, one to predict the other from", opt.MaxLength)
	case opt.Context > 0 && opt.MaxLength > opt.Context:
		return nil, fmt.Errorf("max_length is %d, more than the model's context of %d", opt.MaxLength, opt.Context)
	case opt.MaxLength == 0:
		e.length = DefaultLength
		if opt.Context > 0 {
			e.length = min(DefaultLength, opt.Context)
		}
	}
	e.d.Length = e.length
	if opt.Tokenizer == nil {
		return e, nil
	}
	if id, ok := opt.Tokenizer.EOS(); ok {
		e.eos = []int{id}
	}
	// A model may know a BOS that its tokenizer does not put before a text: then it was not trained with it.
	around, err := opt.Tokenizer.Encode("", true)
	if err != nil {
		return nil, err
	}
	e.tail = around
	if id, ok := opt.Tokenizer.BOS(); ok && len(around) > 0 && around[0] == id {
		e.bos, e.tail = around[:1], around[1:]
	}
	return e, nil
}

// onceEnded is a text with the template around it, less a BOS or EOS that the text brought itself.
func (e *Encoder) onceEnded(ids []int) []int {
	n := len(ids)
	if len(e.bos) > 0 && len(ids) > 1 && ids[1] == e.bos[0] {
		ids = ids[1:]
	}
	if last := len(ids) - 1; len(e.tail) > 0 && last > 0 && len(e.eos) > 0 && e.tail[len(e.tail)-1] == e.eos[0] && ids[last-1] == e.eos[0] {
		ids = ids[:last]
	}
	if len(ids) < n {
		e.ownEnds++
	}
	return ids
}

var errTokenizer = errors.New("text needs a tokenizer, and the model has none: add its tokenizer.json, or use rows of input_ids")

// document adds a text that is trained on as a whole: BOS text EOS.
func (e *Encoder) document(text string) error {
	if e.opt.Tokenizer == nil {
		return errTokenizer
	}
	if text == "" {
		e.drop(&e.d.Stats.Empty)
		return nil
	}
	ids, err := e.opt.Tokenizer.Encode(text, false)
	if err != nil {
		return err
	}
	bos, eos := e.ends(ids)
	return e.row(slices.Concat(bos, ids, eos), 0)
}

// ends are the BOS and EOS that a row of ids still needs: one that begins or ends with them, as a rendered chat does, does
// not get them a second time, and is counted.
func (e *Encoder) ends(ids []int) (bos, eos []int) {
	bos, eos = e.bos, e.eos
	if len(bos) > 0 && len(ids) > 0 && ids[0] == bos[0] {
		bos = nil
	}
	if len(eos) > 0 && len(ids) > 0 && ids[len(ids)-1] == eos[0] {
		eos = nil
	}
	if len(bos) < len(e.bos) || len(eos) < len(e.eos) {
		e.ownEnds++
	}
	return bos, eos
}

// stream adds a long text as rows of BOS and the next length−1 tokens. The last row may be shorter.
func (e *Encoder) stream(text string) error {
	if e.opt.Tokenizer == nil {
		return errTokenizer
	}
	ids, err := e.opt.Tokenizer.Encode(text, false)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(ids, e.length-len(e.bos)) {
		bos := e.bos
		if len(bos) > 0 && chunk[0] == bos[0] {
			bos = nil
		}
		if err := e.row(slices.Concat(bos, chunk), 0); err != nil {
			return err
		}
	}
	return nil
}

// Pair adds a prompt and what follows it: BOS prompt completion EOS. Both are tokenized in one piece, as the model will
// see them, and the offsets tell where the prompt ends; a token that reaches over the border belongs to the
// completion, so that every part of that is trained.
func (e *Encoder) Pair(prompt, completion string) error {
	if e.opt.Tokenizer == nil {
		return errTokenizer
	}
	if completion == "" {
		e.drop(&e.d.Stats.Empty)
		return nil
	}
	ids, offsets, err := e.opt.Tokenizer.EncodeOffsets(prompt + completion)
	if err != nil {
		return err
	}
	bos, eos := e.ends(ids)
	masked := 0
	if !e.opt.TrainOnPrompt {
		border := slices.IndexFunc(offsets, func(o [2]int) bool { return o[1] > len(prompt) })
		if border < 0 {
			border = len(ids)
		}
		masked = len(bos) + border
	}
	e.outlinePair(offsets, len(bos), len(prompt))
	return e.row(slices.Concat(bos, ids, eos), masked)
}

// misfit is the error of a row whose text has a token that the model's embedding has no row for.
func (e *Encoder) misfit(id int, err error) error {
	token, _ := e.opt.Tokenizer.Token(id)
	return fmt.Errorf("the tokenizer does not fit the model: its token %q: %w", token, err)
}

// row adds ids, the first masked of them untrained, cut to the longest length.
func (e *Encoder) row(ids []int, masked int) error {
	s, err := e.sample(ids)
	if err != nil {
		return err
	}
	if masked > 0 {
		s.Labels = slices.Clone(s.IDs)
		for i := range min(masked, len(s.Labels)) {
			s.Labels[i] = Ignore
		}
	}
	return e.cut(s, len(ids), max(masked, 1) < len(ids))
}

// labelled adds ids, of which those are trained that trained names, cut to the longest length.
func (e *Encoder) labelled(ids []int, trained []bool) error {
	s, err := e.sample(ids)
	if err != nil {
		return err
	}
	s.Labels = slices.Clone(s.IDs)
	for i := range s.Labels {
		if !trained[i] {
			s.Labels[i] = Ignore
		}
	}
	return e.cut(s, len(ids), slices.Contains(trained[min(1, len(trained)):], true))
}

// sample is the row of ids, all trained, cut to the longest length.
func (e *Encoder) sample(ids []int) (Sample, error) {
	s := Sample{IDs: make([]int32, min(len(ids), e.length))}
	for i, id := range ids[:len(s.IDs)] {
		if err := e.check(id); err != nil {
			return s, e.misfit(id, err)
		}
		s.IDs[i] = int32(id)
	}
	s.Labels = s.IDs
	return s, nil
}

// cut counts what was lost of a row of so many ids, and adds the rest. trains says that the whole row has a trained token.
func (e *Encoder) cut(s Sample, ids int, trains bool) error {
	lost := ids - len(s.IDs)
	if lost > 0 {
		e.d.Stats.Truncated++
		e.d.Stats.Lost += lost
	}
	switch {
	case s.Counted() > 0:
		return e.add(s)
	case trains:
		e.drop(&e.d.Stats.CutOff)
	default:
		e.drop(&e.d.Stats.Masked)
	}
	return nil
}

// check tells whether the model has a row for id.
func (e *Encoder) check(id int) error {
	if id < 0 || e.opt.Vocab > 0 && id >= e.opt.Vocab {
		return fault("row_id", "id {id} is outside the vocabulary of {n}", "id", id, "n", e.opt.Vocab)
	}
	return nil
}

// errTooLarge ends the reading of a file, also where bad rows are left out.
var errTooLarge = errors.New("too large")

// add takes a sample as it stands.
func (e *Encoder) add(s Sample) error {
	d := e.d
	s.Line = e.line
	most := maxTokens
	if d.index != nil {
		most = maxStreamTokens
	}
	if d.Stats.Rows == sampling.MaxRows {
		return fmt.Errorf("%w: more than %d rows; split the file", errTooLarge, sampling.MaxRows)
	}
	if d.Stats.Tokens += len(s.IDs); d.Stats.Tokens > most {
		return fmt.Errorf("%w: more than %d tokens up to here; split the file", errTooLarge, most)
	}
	d.Samples = append(d.Samples, s)
	if e.outlines() {
		d.Outlines = append(d.Outlines, e.outline)
	}
	e.outline = nil
	d.Stats.Rows++
	trained := s.Counted()
	if d.Stats.Trained += trained; trained == 0 {
		d.Stats.Untrained++
	}

	label := ""
	if s.classified() {
		label = e.labels[len(d.Samples)-1]
	}
	h := s.hash(label)
	if e.seen != nil && d.index == nil {
		if e.seen[h] {
			d.Stats.Duplicates++
		}
		e.seen[h] = true
	}
	d.Fingerprint = (d.Fingerprint ^ h) * fnvPrime
	return nil
}

// fnvPrime is the multiplier of the hash FNV-1a with 64 bits, which makes the order of rows count.
const fnvPrime = 1099511628211

// leave puts a malformed record on record and leaves it out.
func (e *Encoder) leave(b BadRow) {
	if e.d.Stats.Bad++; len(e.d.Bad) < maxBad {
		e.d.Bad = append(e.d.Bad, b)
	}
}

// drop leaves a record out, counts it under its cause as well, and remembers the first one for the remark.
func (e *Encoder) drop(cause *int) {
	e.outline = nil
	if e.d.Stats.Dropped == 0 {
		e.firstDropped = e.line
	}
	e.d.Stats.Dropped++
	*cause++
}

// finish checks the whole and says what a person should know about it.
func (e *Encoder) finish() (*Dataset, error) {
	d, s := e.d, &e.d.Stats
	remark := func(code, text string, pairs ...any) {
		d.Remarks = append(d.Remarks, message.NewRemark(code, text, pairs...))
	}
	if d.index != nil {
		s.Duplicates, d.Samples = d.index.repeats(), nil
	}
	all := s.Bad + s.Dropped + s.Rows
	if s.Bad > 0 {
		remark("rows_bad", "{file}: {n} of {rows} rows are malformed and left out, the first at line {line}: {cause}",
			"file", d.Name, "n", s.Bad, "rows", all, "line", d.Bad[0].Line, "cause", d.Bad[0].Why())
	}
	if s.Dropped > 0 {
		remark("rows_dropped", "{file}: {n} of {rows} rows dropped, the first at line {line}: nothing to train on in them ({empty} are empty, {masked} have no trained token, {cut} lose all trained tokens to max_length)",
			"file", d.Name, "n", s.Dropped, "rows", all, "line", e.firstDropped, "empty", s.Empty, "masked", s.Masked, "cut", s.CutOff)
	}
	if s.Untrained > 0 && s.Trained > 0 {
		remark("rows_untrained", "{file}: {n} of {rows} rows have no trained token: they are read, and add nothing to the loss",
			"file", d.Name, "n", s.Untrained, "rows", s.Rows)
	}
	if s.Truncated > 0 {
		remark("rows_cut", "{file}: {n} of {rows} rows cut to {length} tokens: {lost} tokens lost, {share} %",
			"file", d.Name, "n", s.Truncated, "rows", all, "length", e.length, "lost", s.Lost, "share", math.Round(1000*float64(s.Lost)/float64(s.Lost+s.Tokens))/10)
	}
	if e.ownEnds > 0 {
		remark("rows_own_ends", "{file}: {n} of {rows} rows begin with BOS or end with EOS themselves: none is added a second time",
			"file", d.Name, "n", e.ownEnds, "rows", all)
	}
	e.chats.Tell(d.Name, remark)
	if s.Duplicates > 0 {
		remark("rows_repeated", "{file}: {n} of {rows} rows repeat an earlier one", "file", d.Name, "n", s.Duplicates, "rows", s.Rows)
	}
	switch {
	case s.Rows == 0 && s.Bad > 0:
		return nil, fmt.Errorf("no row is left: %d are malformed, the first at %w", s.Bad, &d.Bad[0])
	case s.Rows == 0 && s.Dropped == 0:
		return nil, errors.New("holds no rows")
	case e.opt.Classify && s.Rows > 0:
		return d, e.classes()
	case s.Trained == 0:
		return nil, fault("nothing_trained", "nothing to train on: none of its {rows} rows has a token that is predicted from another and not masked ({empty} are empty, {masked} have no trained token, {cut} lose all trained tokens to max_length)",
			"rows", s.Rows+s.Dropped, "empty", s.Empty, "masked", s.Masked+s.Untrained, "cut", s.CutOff)
	}
	return d, nil
}
