package replay

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"sort"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/graph"
	"llamatab/engine/memory"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// Setup is a job made ready up to the point where a device is needed: model, data and the plan of its memory.
type Setup struct {
	Model        *pretrained.Model
	Train, Valid *data.Dataset // Valid is nil without a held-out part
	Layout       plan.Layout
	Memory       plan.Memory

	Config      *config.Config // of a run that trains, else nil
	Activations graph.Plan     // of all programs together
	Launches    int            // of a micro-batch of the longest rows
	Flops       float64        // of the same
	BatchRows   int            // rows a micro-batch
	Lengths     []int          // T of every program that may be needed, ascending
	Repeats     int            // how often each launch will be made, about
	Limits      device.Limits
	Optimizes   bool // an optimizer will step
	Gradients   bool // gradients are wanted
	Decodes     bool // a text is continued; there is no dataset
	remarked    bool // what there was to say of model and data

	Stages     []stage           // of a run that trains, at least one
	Shared     *plan.Shared      // of a run whose tabs own shards of what trains, else nil
	startStage map[*nn.Param]int // the stage with which a parameter begins to train; 0 for those not named

	Numbers       numbers
	checkpointing config.Checkpointing // as asked for
	Recompute     int                  // blocks that compute their activations again: the answer
}

// Prepare makes a training run ready. limits are those to plan for.
func Prepare(cfg *config.Config, files report.Files, limits device.Limits) (*Setup, error) {
	m, err := pretrained.Open(files, cfg.Model.Random, cfg.Training.Seed)
	if err != nil {
		return nil, err
	}
	s := NewSetup(cfg, m, limits)
	if err := s.Prepare(cfg); err != nil {
		m.Close()
		return nil, err
	}
	if err := s.Plan(); err != nil {
		m.Close()
		return nil, err
	}
	return s, nil
}

// NewSetup is the setup of a run before anything is attached or read.
func NewSetup(cfg *config.Config, m *pretrained.Model, limits device.Limits) *Setup {
	s := &Setup{
		Model: m, Config: cfg, BatchRows: cfg.Training.BatchSize, Limits: limits, Optimizes: true, Gradients: true,
		Numbers: numbersOf(cfg.Precision), checkpointing: cfg.Training.Checkpointing,
	}
	switch n := s.checkpointing; n {
	case config.CheckpointAuto: // none, until it is known what must fit
	case config.CheckpointAll:
		s.Recompute = m.Decoder.Layers
	default:
		s.Recompute = min(int(n), m.Decoder.Layers)
	}
	return s
}

// Prepare attaches what trains and reads the rows, unless they are there already.
func (s *Setup) Prepare(cfg *config.Config) error {
	if p := s.Model.Decoder.AttentionDropout; p != 0 {
		return report.Fail("model", report.ExitConfig, "Set attention_dropout to 0 in config.json.", fmt.Errorf("model: config.json: attention_dropout %v is not available in training", p))
	}
	if s.Train == nil {
		if err := s.readRows(cfg); err != nil {
			return err
		}
	}
	tr := &cfg.Training // as resolved, warm-up is a number of steps
	tr.WarmupSteps = tr.Warmup(s.DataPlan(cfg).TotalSteps())
	if cfg.Model.Path != "" {
		s.Model.Name = path.Base(filepath.ToSlash(cfg.Model.Path))
	}
	if h, err := pretrained.HeadOf(cfg); err != nil {
		return err
	} else if h != nil {
		if err := s.Model.AddHead(h, s.Train.Classes); err != nil {
			return err
		}
	}
	if names := s.Train.Classes; names != nil {
		if s.Model.Classes = names; s.Model.Decoder.Classes == 0 {
			s.Model.AddScore(len(names))
		}
	}
	chosen, err := s.chooseStages(cfg)
	if err != nil {
		return err
	}
	if cfg.PEFT == nil {
		for p := range chosen {
			p.Trainable = true
		}
	} else if err := s.Model.Adapt(cfg.PEFT, chosen); err != nil {
		return err
	}
	if err := s.Model.CheckWeights(); err != nil {
		return err
	}
	if cfg.PEFT == nil && s.Model.Files.Resume != nil {
		if err := s.Model.UseTrained(s.Model.Files.Resume); err != nil {
			return err
		}
	}
	return nil
}

// DataPlan says which rows each step of a run trains on.
func (s *Setup) DataPlan(cfg *config.Config) data.Plan {
	tr := cfg.Training
	return data.Plan{
		Rows: len(s.Train.Samples), Batch: tr.BatchSize, Micro: cfg.Micro(), Shuffle: cfg.Dataset.Shuffle, Seed: tr.Seed, Epochs: tr.Epochs, MaxSteps: tr.MaxSteps,
	}
}

// readRows reads the dataset and splits the held-out rows off.
func (s *Setup) readRows(cfg *config.Config) error {
	o := DataOptions{
		Format: cfg.Dataset.Format, Columns: cfg.Dataset.Columns, MaxLength: cfg.Dataset.MaxLength, TrainOnPrompt: cfg.Dataset.TrainOnPrompt,
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
	ds, err := s.LoadData(o)
	if err != nil {
		return err
	}
	s.Train = ds
	if f := cfg.Dataset.ValidationSplit; f > 0 {
		if s.Train, s.Valid, err = ds.Split(f, cfg.Training.Seed); err != nil {
			return report.Fail("data", report.ExitConfig, "Choose a larger dataset or a smaller dataset.validation_split.", err)
		}
	}
	return nil
}

type DataOptions struct {
	Format        string
	Columns       map[string]string
	MaxLength     *int
	TrainOnPrompt bool
	SkipBad       bool
	Classify      bool // whatever the model was made for
	Classes       int  // how many to expect; 0: as many as there are labels
	Virtual       int  // positions that virtual tokens will take
}

func (s *Setup) LoadData(o DataOptions) (*data.Dataset, error) {
	const hint = "Mend the file at the place named, choose dataset.format to match it, or leave such rows out with dataset.on_bad_row \"skip\"."
	bad := func(err error) (*data.Dataset, error) { return nil, report.Fail("data", report.ExitConfig, hint, err) }
	if s.Model.Files.Dataset == nil {
		return bad(errors.New("no dataset was given"))
	}
	entries, err := fs.ReadDir(s.Model.Files.Dataset, ".")
	if err != nil || len(entries) != 1 {
		return bad(fmt.Errorf("dataset: %d files where one is expected: %w", len(entries), err))
	}
	name := entries[0].Name()
	f, err := s.Model.Files.Dataset.Open(name)
	if err != nil {
		return bad(fmt.Errorf("dataset: %w", err))
	}
	defer f.Close()
	opt := data.Options{
		Format: o.Format, Columns: o.Columns, Context: s.Model.Decoder.MaxPositions - max(o.Virtual, s.Model.LongestPrefix()), Vocab: s.Model.Decoder.Vocab,
		TrainOnPrompt: o.TrainOnPrompt, SkipBad: o.SkipBad, Classify: o.Classify || s.Model.Decoder.Classes > 0, Classes: s.Model.Classes, NumClasses: s.Model.Decoder.Classes,
	}
	if opt.Classify && s.Model.Decoder.Classes == 0 {
		opt.NumClasses, opt.Classes = pretrained.ScoreOf(s.Model.AdapterStart())
		opt.NumClasses = max(opt.NumClasses, o.Classes)
	}
	if s.Model.Tokenizer != nil {
		opt.Tokenizer = s.Model.Tokenizer
	}
	if o.MaxLength != nil {
		opt.MaxLength = *o.MaxLength
	}
	ds, err := data.Load(f, name, opt)
	if err != nil {
		return bad(err)
	}
	s.Model.Remarks = append(s.Model.Remarks, ds.Remarks...)
	return ds, nil
}

// ReportRemarks sends the remarks on the model and the data to the host as events, once.
func (s *Setup) ReportRemarks(h report.Host) {
	if s.remarked {
		return
	}
	s.remarked = true
	for _, r := range s.Model.Remarks {
		report.Event(h, "warning", r.Code, 0, r.Data, "%s", r.Message)
	}
	if s.Train == nil {
		return
	}
	for _, b := range s.Train.Bad {
		report.Event(h, "warning", "bad_row_skipped", 0, map[string]any{"line": b.Line, "cause": b.Why()}, "%s: line %d is left out: %v", s.Train.Name, b.Line, b.Cause)
	}
}

// PlanFor plans for limits and, where the run leaves it open, takes the fewest checkpointed blocks with which it then
// fits limits and budget.
func (s *Setup) PlanFor(l device.Limits, budget int64) (err error) {
	s.Limits = l
	if s.checkpointing == config.CheckpointAuto {
		s.Recompute = sort.Search(s.Model.Decoder.Layers, func(n int) bool {
			s.Recompute = n
			if err == nil {
				err = s.Plan()
			}
			return err == nil && s.Memory.Check(l, budget) == nil
		})
	}
	if err == nil {
		err = s.Plan()
	}
	return err
}

// Plan adds up what the job needs.
func (s *Setup) Plan() error {
	s.Numbers.store(s.Model.Params())
	if err := s.layOut(); err != nil {
		return err
	}
	if !s.Decodes {
		return s.planBatches()
	}
	t, err := s.recordDecode()
	if err != nil {
		return report.Fail("model", report.ExitConfig, pretrained.ModelHint, err)
	}
	virtual, err := s.recordVirtual()
	if err != nil {
		return report.Fail("model", report.ExitConfig, pretrained.ModelHint, err)
	}
	s.Activations = graph.MergePlans(t.Plan(), virtual.Plan())
	further := append(s.staging(t.DimsBytes()+virtual.DimsBytes()), slices.Collect(maps.Values(s.decodeSpecs()))...)
	s.Memory = plan.Sum(s.Layout, false, s.Activations, further...)
	return nil
}

// layOut places the parameters.
func (s *Setup) layOut() (err error) {
	s.Shared = nil
	if f := s.FSDP(); f != nil && fsdp.Strategy(f.ShardingStrategy).Sharded() {
		if s.Shared, err = plan.NewShared(s.Model.Params(), fsdp.Strategy(f.ShardingStrategy), f.AutoWrapPolicy, f.Shards()); err != nil {
			return report.Fail("config", report.ExitConfig, "Change fsdp.", fmt.Errorf("fsdp: %w", err))
		}
		s.Layout = plan.NewSharedLayout(s.Model.Params(), s.Limits, s.Shared)
		return nil
	}
	s.Layout = plan.NewLayout(s.Model.Params(), s.Limits)
	return nil
}

// planBatches finds the shapes that may occur, records each once and adds up what they need.
func (s *Setup) planBatches() error {
	sets := []*data.Dataset{s.Train}
	if s.Valid != nil {
		sets = append(sets, s.Valid)
	}
	longest := 0
	for _, ds := range sets {
		longest = max(longest, ds.Longest())
	}
	seen := map[int]bool{}
	s.Lengths = nil
	for _, ds := range sets {
		for _, row := range ds.Samples {
			if T := bucket(max(len(row.IDs), 1), longest); !seen[T] {
				seen[T] = true
				s.Lengths = append(s.Lengths, T)
			}
		}
	}
	slices.Sort(s.Lengths)
	var plans []graph.Plan
	var dims int64
	add := func(t *graph.Tape) { plans, dims = append(plans, t.Plan()), dims+t.DimsBytes() }
	for _, T := range s.Lengths {
		for _, key := range s.programs(T) {
			t, err := s.record(key)
			if err != nil {
				return report.Fail("model", report.ExitConfig, pretrained.ModelHint, err)
			}
			if key.Gradients || !s.Gradients {
				s.Launches, s.Flops = t.Launches(), t.Flops()
			}
			add(t)
		}
	}
	switch {
	case !s.Optimizes:
	case s.InRoom():
		t, err := s.RecordApply(s.owned())
		if err != nil {
			return err
		}
		add(t)
	default:
		for k := range s.Stages {
			t, err := s.recordUpdate(k)
			if err != nil {
				return err
			}
			add(t)
		}
	}
	if s.Optimizes && s.Shared == nil {
		t := graph.NewTape()
		memory.RecordPublish(t, s.Layout)
		add(t)
	}
	s.Activations = graph.MergePlans(plans...)
	s.Memory = plan.Sum(s.Layout, s.Optimizes, s.Activations, s.staging(dims)...)
	return nil
}

// Longest is the number of columns of the largest batch.
func (s *Setup) Longest() int { return s.Lengths[len(s.Lengths)-1] }

// lossKey is the key of the running sum of losses.
type lossKey struct{}

// record puts the loss of a micro-batch, and its gradients where they are wanted, on a new tape.
func (s *Setup) record(key ProgramKey) (t *graph.Tape, err error) {
	t = graph.NewInferenceTape()
	if key.Gradients {
		t = graph.NewTape()
	}
	s.during(key.Stage, func() {
		err = graph.Record(func() {
			t.Store(s.Numbers.Params)
			if key.Gradients && s.Scaled() {
				t.ScaleLoss(s.scaleVar(t))
			}
			in := s.Model.Decoder.NewInput(t, s.BatchRows, key.T, s.RopeRows())
			in.Train = key.Gradients && s.Optimizes
			in.Recompute = s.Recompute
			h := s.Model.Decoder.Output(t, in)
			loss := s.Model.Decoder.LossOf(t, in, h)
			addLoss(t, loss)
			if !key.Gradients && s.Model.Decoder.Classes > 0 {
				y := s.Model.Decoder.Head.Forward(t, in, h)
				t.Copy(t.Extern(graph.Extern{Key: classLogitsKey{}, Shape: y.Shape, Name: s.classLogitsSpec().Label}), y)
			}
			if key.Gradients {
				t.Seed(loss, t.New(loss.Shape)) // the loss is the root: its gradient is 1 and is not looked at
				t.Backward()
			}
		})
	})
	return t, err
}

// LengthFor is the number of columns for rows of at most T tokens.
func (s *Setup) LengthFor(T int) int {
	i, _ := slices.BinarySearch(s.Lengths, bucket(max(T, 1), s.Longest()))
	return s.Lengths[min(i, len(s.Lengths)-1)]
}

// BatchOf makes the batch of rows, T columns of tokens with the patch's virtual ones before them.
func (s *Setup) BatchOf(rows []data.Sample, T int) *data.Batch {
	b := data.Collate(rows, s.BatchRows, T)
	b.Prepend(s.Model.Decoder.Prompt())
	return b
}

// LayoutOf is how a batch with T columns of tokens lies in memory.
func (s *Setup) LayoutOf(T int) BatchLayout {
	return newBatchLayout(s.BatchRows, T, s.Model.Decoder.Prompt(), s.Model.Decoder.Classes > 0, s.Limits)
}

// ropeFrom and ropeRows say which positions the rotation table has. A prefix takes the first positions, but a batch counts
// its own from 0, as attention wants them: the table begins later instead. A text that grows counts the virtual tokens
// along, since they lie in its caches.
func (s *Setup) ropeFrom() int {
	if s.Decodes || s.Model.Decoder.Prompt() > 0 {
		return 0
	}
	return s.Model.Decoder.Virtual()
}

func (s *Setup) RopeRows() int { return s.Longest() + s.Model.Decoder.Virtual() - s.ropeFrom() }

// ropeSpec is the buffer of the rotation table.
func (s *Setup) ropeSpec() device.Spec {
	return device.Spec{Len: s.RopeRows() * s.Model.Decoder.HeadDim, Kind: device.Staging, Label: string(nn.Rope)}
}
