package replay

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"llamatab/engine/chat"
	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/data/sampling"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// DataPlan says which rows each step of a run trains on.
func (s *Setup) DataPlan(cfg *config.Config) sampling.Plan {
	tr := cfg.Training
	p := sampling.Plan{
		Rows: s.Train.Len(), Batch: tr.BatchSize, Micro: cfg.Micro(), Shuffle: cfg.Dataset.Shuffle, Seed: tr.Seed, Epochs: tr.Epochs, MaxSteps: tr.MaxSteps,
	}
	if tr.GroupByLength {
		for row := range s.Train.Len() {
			p.Lengths = append(p.Lengths, s.Train.RowLen(row))
		}
	}
	return p
}

// readRows reads the dataset, splits off the held-out rows and packs both parts if the run packs.
func (s *Setup) readRows(cfg *config.Config) error {
	o := DataOptions{
		Format: cfg.Dataset.Format, Columns: cfg.Dataset.Columns, MaxLength: cfg.Dataset.MaxLength, TrainOnPrompt: cfg.Dataset.TrainOnPrompt, Template: cfg.Dataset.Template,
		SkipBad: cfg.Dataset.OnBadRow == "skip", Classify: pretrained.Classifies(cfg),
	}
	if cfg.PEFT != nil {
		o.Virtual = peft.VirtualTokens(cfg.PEFT)
	}
	if h, err := pretrained.HeadOf(cfg); err != nil {
		return err
	} else if h != nil && h.At == string(nn.OnTop) {
		o.Classes = h.NumLabels
	}
	if cfg.Dataset.Packing && (o.Classify || s.Model.Decoder.Classes > 0) {
		return packingRefused(fault("packing_classifier", "a classifier reads one class at the end of each row, and a packed row holds several samples"))
	}
	ds, err := s.LoadData(o)
	if err != nil {
		return err
	}
	s.Train, s.Fingerprint = ds, strconv.FormatUint(ds.Fingerprint, 16)
	s.Chat, s.Openings = ds.Chat, ds.Openings
	if f := cfg.Dataset.ValidationSplit; f > 0 {
		if s.Train, s.Valid, err = ds.Split(f, cfg.Training.Seed); err != nil {
			return report.Fail("data", report.ExitConfig, "Choose a larger dataset or a smaller dataset.validation_split.", err)
		}
	}
	if cfg.Dataset.Packing {
		s.pack(cfg, ds.Fingerprint)
	}
	return nil
}

// pack packs the rows. fingerprint is that of the rows of the dataset. That of the run then also tells which samples share a row,
// because a run that resumes must train on the same rows.
func (s *Setup) pack(cfg *config.Config, fingerprint uint64) {
	train := *s.Train
	train.Fingerprint = fingerprint
	s.Train = train.Pack(cfg.Dataset.Shuffle, cfg.Training.Seed)
	s.Fingerprint = strconv.FormatUint(s.Train.Fingerprint, 16)
	s.Model.Remarks = append(s.Model.Remarks, s.Train.PackedRemark())
	if s.Valid != nil {
		s.Valid = s.Valid.Pack(false, 0)
	}
}

func fault(code, text string, pairs ...any) error { return message.NewFault(code, text, pairs...) }

// packingRefused is the failure of a run that cannot pack.
func packingRefused(why error) error {
	return report.Fail("config", report.ExitConfig, "Set dataset.packing to false.", fmt.Errorf("dataset.packing: %w", why))
}

// checkPacking refuses a model with which a sample in a packed row would not compute what it computes in a row of its own.
func (s *Setup) checkPacking() error {
	if s.Train.Stats.Packed == 0 {
		return nil
	}
	d := s.Model.Decoder
	if d.Prompt() > 0 {
		return packingRefused(fault("packing_virtual", "virtual tokens stand before each row, and a packed row holds several samples"))
	}
	for i, b := range d.Blocks {
		if v := d.Virtual(); v > 0 && b.Window > 0 && b.Window < v+s.Train.Longest() {
			return packingRefused(fault("packing_window", "block {block} attends over a window of {window} positions, which hides a prefix of {prefix} by the place in the row and not in the sample",
				"block", i, "window", b.Window, "prefix", v))
		}
	}
	return nil
}

// DataOptions say how LoadData reads a dataset. They are fields of the config or of an eval job.
type DataOptions struct {
	Format        string
	Columns       map[string]string
	MaxLength     *int
	TrainOnPrompt bool
	Template      string // of conversations; "" for the model's own
	SkipBad       bool
	Classify      bool // read labels also if the model is no classifier
	Classes       int  // number of classes, 0 for the number of labels in the data
	Virtual       int  // positions of the context that virtual tokens will take
	Outlines      int  // of how many rows the dataset keeps the outline
	Bytes         int  // of the file that are read before reading ends with the row at hand; 0 for all
}

// openDataset opens the one file of the dataset.
func (s *Setup) openDataset() (f fs.File, name string, err error) {
	if s.Model.Files.Dataset == nil {
		return nil, "", errors.New("no dataset was given")
	}
	entries, err := fs.ReadDir(s.Model.Files.Dataset, ".")
	if err != nil || len(entries) != 1 {
		return nil, "", fmt.Errorf("dataset: %d files where one is expected: %w", len(entries), err)
	}
	name = entries[0].Name()
	if f, err = s.Model.Files.Dataset.Open(name); err != nil {
		return nil, "", fmt.Errorf("dataset: %w", err)
	}
	return f, name, nil
}

// DataColumns are the columns of the data file, and the keys of its format with the columns that are read for them. There are none
// of a file that cannot be opened: LoadData says why.
func (s *Setup) DataColumns(o DataOptions) (columns []message.DataColumn, keys []message.DataKey, how message.DataFile) {
	f, name, err := s.openDataset()
	if err != nil {
		return nil, nil, how
	}
	defer f.Close()
	columns, keys, how, _ = data.Columns(f, name, data.Options{Format: o.Format, Columns: o.Columns, Classify: o.Classify || s.Model.Decoder.Classes > 0})
	return columns, keys, how
}

// LoadData reads the dataset. Its remarks are added to those of the model.
func (s *Setup) LoadData(o DataOptions) (*data.Dataset, error) {
	const hint = "Mend the file at the place named, choose dataset.format to match it, or leave such rows out with dataset.on_bad_row \"skip\"."
	bad := func(err error) (*data.Dataset, error) { return nil, report.Fail("data", report.ExitConfig, hint, err) }
	f, name, err := s.openDataset()
	if err != nil {
		return bad(err)
	}
	defer f.Close()
	f, read := count(f, s.Model.Files.DataRead)
	opt := data.Options{
		Format: o.Format, Columns: o.Columns, Context: s.Model.Decoder.MaxPositions - max(o.Virtual, s.Model.LongestPrefix()), Vocab: s.Model.Decoder.Vocab,
		TrainOnPrompt: o.TrainOnPrompt, SkipBad: o.SkipBad, Classify: o.Classify || s.Model.Decoder.Classes > 0, Classes: s.Model.Classes, NumClasses: s.Model.Decoder.Classes,
		Outlines: o.Outlines,
	}
	if opt.Classify && s.Model.Decoder.Classes == 0 {
		opt.NumClasses, opt.Classes = pretrained.ScoreOf(s.Model.AdapterStart())
		opt.NumClasses = max(opt.NumClasses, o.Classes)
	}
	if s.Model.Tokenizer != nil {
		opt.Tokenizer = s.Model.Tokenizer
		opt.Chat = func(tools bool) (*chat.Choice, error) {
			c, err := s.Model.Chat(o.Template, tools)
			if err == nil && (c.StandIn || o.Template != "" && o.Template != config.ModelTemplate) {
				s.Model.TrainedTemplate = c.Template
				s.Model.TrainedName, _ = strings.CutPrefix(o.Template, config.NamedTemplate)
				if s.Model.TrainedName == o.Template {
					s.Model.TrainedName = ""
				}
			}
			return c, err
		}
	}
	opt.Open = func() (fs.File, error) { return s.Model.Files.Dataset.Open(name) }
	if o.MaxLength != nil {
		opt.MaxLength = *o.MaxLength
	}
	if o.Bytes > 0 {
		opt.Stop = func() bool { return read.done >= int64(o.Bytes) }
	}
	ds, err := data.Load(f, name, opt)
	if err != nil {
		return bad(err)
	}
	if ds.Share = 1; ds.Part && read.total > 0 {
		ds.Share = min(1, float64(read.done)/float64(read.total))
	}
	read.end()
	if pad := s.Model.Decoder.PadToken; opt.Classify && pad != nil {
		if n, line := ds.EndsIn(*pad); n > 0 {
			ds.Remarks = append(ds.Remarks, message.NewRemark("rows_end_padded", "{file}: {n} of {rows} rows end in the padding token {pad}, the first at line {line}: their class is read at the last token before the padding, as in transformers",
				"file", ds.Name, "n", n, "rows", ds.Len(), "pad", *pad, "line", line))
		}
	}
	s.Model.Remarks = append(s.Model.Remarks, ds.Remarks...)
	return ds, nil
}
