package replay

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"

	"llamatab/engine/chat"
	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/graph"
	"llamatab/engine/memory"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// Setup is a job before a device is opened: the model, the data and the memory plan.
type Setup struct {
	Model        *pretrained.Model
	Train, Valid *data.Dataset // Valid is nil without a held-out part
	Layout       plan.Layout
	Memory       plan.Memory

	Config      *config.Config // nil for a job that does not train
	Fingerprint string         // of the rows of the dataset before any were held out
	// Chat is the chat template of the dataset's conversations, nil where its rows are none. Openings are some of them, as
	// data.Dataset has them.
	Chat        *chat.Choice
	Openings    []*chat.Conversation
	Activations graph.Plan // of all programs together
	Launches    int        // of a micro-batch of the longest rows
	Flops       float64    // of a micro-batch of the longest rows; of packed rows with the mean number of pairs that attention computes
	BatchRows   int        // rows of a micro-batch
	Lengths     []int      // T of the programs of micro-batches, ascending
	Repeats     int        // about how often each launch will be replayed, for the tuner
	Limits      device.Limits
	Optimizes   bool // the job updates parameters
	Gradients   bool // the job computes gradients
	Decodes     bool // the job continues a text, without a dataset
	remarked    bool // the remarks have been reported

	// Beside are buffers of other models that are on the device at the same time. They count in the plan.
	Beside []device.Spec

	Stages     []stage           // at least one if the job trains
	Shared     *plan.Shared      // of a run over tabs that own shards of the trained parameters, else nil
	startStage map[*nn.Param]int // the stage in which a parameter begins to train, 0 for those that are not in it

	Numbers       numbers
	checkpointing config.Checkpointing // as the config has it, maybe "auto"
	Recompute     int                  // blocks that compute their activations again in the backward pass
}

// Prepare opens the files of a training run and plans its memory for the given limits.
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

// NewSetup is the setup of a run without an adapter, rows or a plan. Setup.Prepare and Setup.Plan add them.
func NewSetup(cfg *config.Config, m *pretrained.Model, limits device.Limits) *Setup {
	s := &Setup{
		Model: m, Config: cfg, BatchRows: cfg.Training.BatchSize, Limits: limits, Optimizes: true, Gradients: true,
		Numbers: numbersOf(cfg.Precision), checkpointing: cfg.Training.Checkpointing,
	}
	switch n := s.checkpointing; n {
	case config.CheckpointAuto: // PlanFor chooses the number
	case config.CheckpointAll:
		s.Recompute = m.Decoder.Layers
	default:
		s.Recompute = min(int(n), m.Decoder.Layers)
	}
	return s
}

// Prepare adds the adapter or chooses the trained parameters, and reads the rows unless s.Train is set.
func (s *Setup) Prepare(cfg *config.Config) error {
	if p := s.Model.Decoder.AttentionDropout; p != 0 {
		return report.Fail("model", report.ExitConfig, "Set attention_dropout to 0 in config.json.", fmt.Errorf("model: config.json: attention_dropout %v is not available in training", p))
	}
	if s.Train == nil {
		if err := s.readRows(cfg); err != nil {
			return err
		}
	}
	tr := &cfg.Training // the config may give the warm-up as a fraction; from here on it is a number of steps
	tr.WarmupSteps = tr.Warmup(s.DataPlan(cfg).TotalSteps())
	s.Model.Decoder.LabelSmoothing, s.Model.Decoder.NoiseAlpha = float32(tr.LabelSmoothing), tr.NEFTuneAlpha
	if cfg.Model.Path != "" {
		s.Model.Name = cfg.Model.Name()
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
	if s.Model.Files.Resume != nil {
		if err := s.compareWithCheckpoint(cfg); err != nil {
			return err
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
	if err := s.checkPacking(); err != nil {
		return err
	}
	if err := s.Model.CheckWeights(); err != nil {
		return err
	}
	if err := s.quantize(cfg); err != nil {
		return err
	}
	if cfg.PEFT == nil && s.Model.Files.Resume != nil {
		if err := s.Model.UseTrained(s.Model.Files.Resume); err != nil {
			return err
		}
	}
	return nil
}

// ReportRemarks sends the remarks on the model and the data to the host as events, once.
func (s *Setup) ReportRemarks(h report.Host) {
	if s.remarked {
		return
	}
	s.remarked = true
	for _, r := range s.Model.Remarks {
		report.Event(h, r.Level(), r.Code, 0, r.Data, "%s", r.Message)
	}
	if s.Train == nil {
		return
	}
	if s.Optimizes {
		counts := s.Train.CountsRemark()
		report.Event(h, counts.Level(), counts.Code, 0, counts.Data, "%s", counts.Message)
	}
	for _, b := range s.Train.Bad {
		report.Event(h, "warning", "bad_row_skipped", 0, map[string]any{"line": b.Line, "cause": b.Why()}, "%s: line %d is left out: %v", s.Train.Name, b.Line, b.Cause)
	}
}

// PlanFor plans for the limits of a device. With checkpointing "auto" it chooses the smallest number of checkpointed blocks with
// which the plan fits the limits and the budget in bytes.
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

// Plan records all programs of the job and adds up the memory that they need.
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
	further = append(further, s.Beside...)
	s.Memory = plan.Sum(s.Layout, false, s.Activations, further...)
	return nil
}

// WorkingSpecs are the planned buffers without those of the parameters.
func (s *Setup) WorkingSpecs() []device.Spec { return s.Memory.Specs[len(s.Layout.Specs(false)):] }

// layOut places the parameters in memory.
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

// planBatches finds the lengths of micro-batches, records their programs and adds up the memory that they need.
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
		for row := range ds.Len() {
			if T := bucket(max(ds.RowLen(row), 1), longest); !seen[T] {
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
				s.Launches, s.Flops = t.Launches(), s.flops(t)
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

// flops is the number of operations of a micro-batch. In packed rows attention computes the pairs within a sample only.
func (s *Setup) flops(t *graph.Tape) float64 {
	if s.Train.Stats.Packed == 0 {
		return t.Flops()
	}
	return t.FlopsBy(op.PackedFlops(func(window int) float64 { return s.Train.VisiblePairs(window) / float64(s.Train.Len()) }))
}

// Longest is the number of tokens in the longest rows of a batch.
func (s *Setup) Longest() int { return s.Lengths[len(s.Lengths)-1] }

// lossKey is the key of the running sum of losses.
type lossKey struct{}

// record records the loss of a micro-batch on a new tape, with its gradients if the key has them.
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
				t.Seed(loss, t.New(loss.Shape)) // the gradient of the loss is 1, which no kernel reads
				t.Backward()
			}
		})
	})
	return t, err
}

// LengthFor is the length of the program for rows of at most T tokens.
func (s *Setup) LengthFor(T int) int {
	i, _ := slices.BinarySearch(s.Lengths, bucket(max(T, 1), s.Longest()))
	return s.Lengths[min(i, len(s.Lengths)-1)]
}

// BatchOf pads rows to T tokens and puts the virtual rows of the patch before them.
func (s *Setup) BatchOf(rows []data.Sample, T int) *data.Batch {
	b := data.Collate(rows, s.BatchRows, T)
	if pad := s.Model.Decoder.PadToken; pad != nil {
		b.SkipPadding(*pad)
	}
	b.Prepend(s.Model.Decoder.Prompt())
	return b
}

// LayoutOf is the layout of a batch with rows of T tokens.
func (s *Setup) LayoutOf(T int) BatchLayout {
	d := s.Model.Decoder
	return newBatchLayout(s.BatchRows, T, d.Prompt(), d.Classes > 0, d.NoiseAlpha/math.Sqrt(float64(d.Hidden)), s.Limits)
}

// ropeFrom is the first position in the table of rotations. The tokens of a prefix take the first positions, but a batch numbers
// its own tokens from 0, so the table begins after the prefix. A growing text numbers the virtual tokens too, because they are
// in its caches, so there the table begins at 0.
func (s *Setup) ropeFrom() int {
	if s.Decodes || s.Model.Decoder.Prompt() > 0 {
		return 0
	}
	return s.Model.Decoder.Virtual()
}

// RopeRows is the number of positions in the table of rotations.
func (s *Setup) RopeRows() int { return s.Longest() + s.Model.Decoder.Virtual() - s.ropeFrom() }

// ropeSpec is the buffer of the rotation table.
func (s *Setup) ropeSpec() device.Spec {
	return device.Spec{Len: s.RopeRows() * s.Model.Decoder.HeadDim, Kind: device.Staging, Label: string(nn.Rope)}
}
