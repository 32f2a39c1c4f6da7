package train

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

	cfg         *config.Config // of a run that trains, else nil
	activations graph.Plan     // of all programs together
	launches    int            // of a micro-batch of the longest rows
	flops       float64        // of the same
	batch       int            // rows a micro-batch
	lengths     []int          // T of every program that may be needed, ascending
	repeats     int            // how often each launch will be made, about
	limits      device.Limits
	steps       bool // an optimizer will step
	grads       bool // gradients are wanted
	decode      bool // a text is continued; there is no dataset
	told        bool // what there was to say of model and data

	stages []stage           // of a run that trains, at least one
	shared *plan.Shared      // of a run whose tabs own shards of what trains, else nil
	thaw   map[*nn.Param]int // the stage with which a parameter begins to train; 0 for those not named

	numbers       numbers
	checkpointing config.Checkpointing // as asked for
	recompute     int                  // blocks that compute their activations again: the answer
}

// Prepare makes a training run ready. limits are those to plan for.
func Prepare(cfg *config.Config, files report.Files, limits device.Limits) (*Setup, error) {
	m, err := pretrained.Open(files, cfg.Model.Random, cfg.Training.Seed)
	if err != nil {
		return nil, err
	}
	s := newSetup(cfg, m, limits)
	if err := s.prepare(cfg); err != nil {
		m.Close()
		return nil, err
	}
	if err := s.plan(); err != nil {
		m.Close()
		return nil, err
	}
	return s, nil
}

// newSetup is the setup of a run before anything is attached or read.
func newSetup(cfg *config.Config, m *pretrained.Model, limits device.Limits) *Setup {
	s := &Setup{
		Model: m, cfg: cfg, batch: cfg.Training.BatchSize, limits: limits, steps: true, grads: true,
		numbers: numbersOf(cfg.Precision), checkpointing: cfg.Training.Checkpointing,
	}
	switch n := s.checkpointing; n {
	case config.CheckpointAuto: // none, until it is known what must fit
	case config.CheckpointAll:
		s.recompute = m.Decoder.Layers
	default:
		s.recompute = min(int(n), m.Decoder.Layers)
	}
	return s
}

// prepare attaches what trains and reads the rows, unless they are there already.
func (s *Setup) prepare(cfg *config.Config) error {
	if p := s.Model.Decoder.AttentionDropout; p != 0 {
		return report.Fail("model", report.ExitConfig, "Set attention_dropout to 0 in config.json.", fmt.Errorf("model: config.json: attention_dropout %v is not available in training", p))
	}
	if s.Train == nil {
		if err := s.readRows(cfg); err != nil {
			return err
		}
	}
	tr := &cfg.Training // as resolved, warm-up is a number of steps
	tr.WarmupSteps = tr.Warmup(data.Plan{Rows: len(s.Train.Samples), Batch: tr.BatchSize, Micro: cfg.Micro(), Epochs: tr.Epochs, MaxSteps: tr.MaxSteps}.TotalSteps())
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

// readRows reads the dataset and sets a part of it aside.
func (s *Setup) readRows(cfg *config.Config) error {
	o := dataOptions{
		format: cfg.Dataset.Format, columns: cfg.Dataset.Columns, maxLength: cfg.Dataset.MaxLength, trainOnPrompt: cfg.Dataset.TrainOnPrompt,
		skipBad: cfg.Dataset.OnBadRow == "skip", classify: pretrained.Classifies(cfg),
	}
	if cfg.PEFT != nil {
		o.virtual = peft.VirtualTokens(cfg.PEFT)
	}
	if h, err := pretrained.HeadOf(cfg); err != nil {
		return err
	} else if h != nil && h.At == string(nn.OnTop) {
		o.classes = h.NumLabels
	}
	ds, err := s.loadData(o)
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

type dataOptions struct {
	format        string
	columns       map[string]string
	maxLength     *int
	trainOnPrompt bool
	skipBad       bool
	classify      bool // whatever the model was made for
	classes       int  // how many to expect; 0: as many as there are labels
	virtual       int  // positions that virtual tokens will take
}

func (s *Setup) loadData(o dataOptions) (*data.Dataset, error) {
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
		Format: o.format, Columns: o.columns, Context: s.Model.Decoder.MaxPositions - max(o.virtual, s.Model.LongestPrefix()), Vocab: s.Model.Decoder.Vocab,
		TrainOnPrompt: o.trainOnPrompt, SkipBad: o.skipBad, Classify: o.classify || s.Model.Decoder.Classes > 0, Classes: s.Model.Classes, NumClasses: s.Model.Decoder.Classes,
	}
	if opt.Classify && s.Model.Decoder.Classes == 0 {
		opt.NumClasses, opt.Classes = pretrained.ScoreOf(s.Model.AdapterStart())
		opt.NumClasses = max(opt.NumClasses, o.classes)
	}
	if s.Model.Tokenizer != nil {
		opt.Tokenizer = s.Model.Tokenizer
	}
	if o.maxLength != nil {
		opt.MaxLength = *o.maxLength
	}
	ds, err := data.Load(f, name, opt)
	if err != nil {
		return bad(err)
	}
	s.Model.Remarks = append(s.Model.Remarks, ds.Remarks...)
	return ds, nil
}

// tell says once what a person should know of the model and the data.
func (s *Setup) tell(h report.Host) {
	if s.told {
		return
	}
	s.told = true
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

// planFor plans for limits and, where the run leaves it open, takes the fewest checkpointed blocks with which it then
// fits limits and budget.
func (s *Setup) planFor(l device.Limits, budget int64) (err error) {
	s.limits = l
	if s.checkpointing == config.CheckpointAuto {
		s.recompute = sort.Search(s.Model.Decoder.Layers, func(n int) bool {
			s.recompute = n
			if err == nil {
				err = s.plan()
			}
			return err == nil && s.Memory.Check(l, budget) == nil
		})
	}
	if err == nil {
		err = s.plan()
	}
	return err
}

// plan adds up what the job needs.
func (s *Setup) plan() error {
	s.numbers.store(s.Model.Params())
	if err := s.layOut(); err != nil {
		return err
	}
	if !s.decode {
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
	s.activations = graph.MergePlans(t.Plan(), virtual.Plan())
	further := append(s.staging(t.DimsBytes()+virtual.DimsBytes()), slices.Collect(maps.Values(s.decodeSpecs()))...)
	s.Memory = plan.Sum(s.Layout, false, s.activations, further...)
	return nil
}

// layOut places the parameters.
func (s *Setup) layOut() (err error) {
	s.shared = nil
	if f := s.fsdp(); f != nil && fsdp.Strategy(f.ShardingStrategy).Sharded() {
		if s.shared, err = plan.NewShared(s.Model.Params(), fsdp.Strategy(f.ShardingStrategy), f.AutoWrapPolicy, f.Shards()); err != nil {
			return report.Fail("config", report.ExitConfig, "Change fsdp.", fmt.Errorf("fsdp: %w", err))
		}
		s.Layout = plan.NewSharedLayout(s.Model.Params(), s.limits, s.shared)
		return nil
	}
	s.Layout = plan.NewLayout(s.Model.Params(), s.limits)
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
	s.lengths = nil
	for _, ds := range sets {
		for _, row := range ds.Samples {
			if T := bucket(max(len(row.IDs), 1), longest); !seen[T] {
				seen[T] = true
				s.lengths = append(s.lengths, T)
			}
		}
	}
	slices.Sort(s.lengths)
	var plans []graph.Plan
	var dims int64
	add := func(t *graph.Tape) { plans, dims = append(plans, t.Plan()), dims+t.DimsBytes() }
	for _, T := range s.lengths {
		for _, key := range s.programs(T) {
			t, err := s.record(key)
			if err != nil {
				return report.Fail("model", report.ExitConfig, pretrained.ModelHint, err)
			}
			if key.gradients || !s.grads {
				s.launches, s.flops = t.Launches(), t.Flops()
			}
			add(t)
		}
	}
	switch {
	case !s.steps:
	case s.inRoom():
		t, err := s.recordApply(s.owned())
		if err != nil {
			return err
		}
		add(t)
	default:
		for k := range s.stages {
			t, err := s.recordUpdate(k)
			if err != nil {
				return err
			}
			add(t)
		}
	}
	if s.steps && s.shared == nil {
		t := graph.NewTape()
		recordPublish(t, s.Layout)
		add(t)
	}
	s.activations = graph.MergePlans(plans...)
	s.Memory = plan.Sum(s.Layout, s.steps, s.activations, s.staging(dims)...)
	return nil
}

// longest is the number of columns of the largest batch.
func (s *Setup) longest() int { return s.lengths[len(s.lengths)-1] }

// lossKey is the key of the running sum of losses.
type lossKey struct{}

// record puts the loss of a micro-batch, and its gradients where they are wanted, on a new tape.
func (s *Setup) record(key programKey) (t *graph.Tape, err error) {
	t = graph.NewInferenceTape()
	if key.gradients {
		t = graph.NewTape()
	}
	s.during(key.stage, func() {
		err = graph.Record(func() {
			t.Store(s.numbers.params)
			if key.gradients && s.scaled() {
				t.ScaleLoss(s.scaleVar(t))
			}
			in := s.Model.Decoder.NewInput(t, s.batch, key.T, s.ropeRows())
			in.Train = key.gradients && s.steps
			in.Recompute = s.recompute
			h := s.Model.Decoder.Output(t, in)
			loss := s.Model.Decoder.LossOf(t, in, h)
			addLoss(t, loss)
			if !key.gradients && s.Model.Decoder.Classes > 0 {
				y := s.Model.Decoder.Head.Forward(t, in, h)
				t.Copy(t.Extern(graph.Extern{Key: classLogitsKey{}, Shape: y.Shape, Name: s.classLogitsSpec().Label}), y)
			}
			if key.gradients {
				t.Seed(loss, t.New(loss.Shape)) // the loss is the root: its gradient is 1 and is not looked at
				t.Backward()
			}
		})
	})
	return t, err
}

// lengthFor is the number of columns for rows of at most T tokens.
func (s *Setup) lengthFor(T int) int {
	i, _ := slices.BinarySearch(s.lengths, bucket(max(T, 1), s.longest()))
	return s.lengths[min(i, len(s.lengths)-1)]
}

// batchOf makes the batch of rows, T columns of tokens with the patch's virtual ones before them.
func (s *Setup) batchOf(rows []data.Sample, T int) *data.Batch {
	b := data.Collate(rows, s.batch, T)
	b.Prepend(s.Model.Decoder.Prompt())
	return b
}

// layoutOf is how a batch with T columns of tokens lies in memory.
func (s *Setup) layoutOf(T int) batchLayout {
	return newBatchLayout(s.batch, T, s.Model.Decoder.Prompt(), s.Model.Decoder.Classes > 0, s.limits)
}

// ropeFrom and ropeRows say which positions the rotation table has. A prefix takes the first positions, but a batch counts
// its own from 0, as attention wants them: the table begins later instead. A text that grows counts the virtual tokens
// along, since they lie in its caches.
func (s *Setup) ropeFrom() int {
	if s.decode || s.Model.Decoder.Prompt() > 0 {
		return 0
	}
	return s.Model.Decoder.Virtual()
}

func (s *Setup) ropeRows() int { return s.longest() + s.Model.Decoder.Virtual() - s.ropeFrom() }

// ropeSpec is the buffer of the rotation table.
func (s *Setup) ropeSpec() device.Spec {
	return device.Spec{Len: s.ropeRows() * s.Model.Decoder.HeadDim, Class: device.Staging, Label: string(nn.Rope)}
}
