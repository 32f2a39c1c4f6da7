package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/memory"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// Trainer runs optimizer steps. It reads a step's loss after it has submitted the next one, so the device never waits
// for the host.
type Trainer struct {
	Setup   *replay.Setup
	Cfg     *config.Config
	Host    report.Host
	Dev     device.Device
	Mem     *memory.Parameters
	Stepper *replay.Stepper
	Sampler *data.Sampler
	Out     pretrained.Writer

	units      []string // names
	unitsEvery int      // steps from one whose units are on record to the next

	Submitted int // updates submitted
	Seen      int64
	skipped   int   // updates known to have been skipped, of which
	before    int   // came before a resume
	skips     []int // the same since each stage began
	Watch     watch
	scale     optim.LossScale
	offset    int     // steps that the position in the data is ahead of done: rows left out by going back
	leftOut   []int   // rows of the dataset that are not trained on any more
	factor    float64 // on the scheduled learning rate: halved by going back
	flight    *flight
	Last      time.Time // when the last result was there
	saved     []int     // steps of the checkpoints, oldest first
	resumed   int       // step of the checkpoint that the run started from
	full      bool      // the last checkpoint found no room

	most device.Usage // bytes of the device that were live at a time, by class
}

// flight is a submitted step whose result is not known yet.
type flight struct {
	landed  landed
	pending device.Pending
}

// landed is a step and its result.
type landed struct {
	message.Step
	rows     [][]int // of the dataset, by micro-batch
	position int     // of the step in the data, 0-based
	applied  bool    // false: loss or gradient norm was not finite, and nothing was changed
	overflow string  // the first unit of whose gradient the sum of squares is not finite, "" for none
	scaled   bool    // too much, that is: the loss scale alone was to blame for a step that was not applied
}

// New opens nothing: setup is prepared, dev is open, and table is the choice of kernel variants to keep to.
func New(setup *replay.Setup, cfg *config.Config, dev device.Device, host report.Host) (*Trainer, error) {
	t := &Trainer{Setup: setup, Cfg: cfg, Host: host, Dev: dev, factor: 1, skips: make([]int, len(setup.Stages))}
	var err error
	tr := cfg.Training
	t.Sampler, err = data.NewSampler(data.Plan{
		Rows: len(setup.Train.Samples), Batch: tr.BatchSize, Micro: cfg.Micro(),
		Shuffle: cfg.Dataset.Shuffle, Seed: tr.Seed, Epochs: tr.Epochs, MaxSteps: tr.MaxSteps,
	})
	if err != nil {
		return nil, report.Fail("data", report.ExitConfig, "Change num_train_epochs, max_steps or the batch.", err)
	}
	setup.Repeats = t.Total() * cfg.Micro() * setup.Model.Decoder.Layers
	t.units = setup.UnitNames()
	t.unitsEvery = max(1, device.CeilDiv(t.Total()*len(t.units), unitLines))
	if t.Mem, err = memory.New(dev, setup.Layout, true); err != nil {
		return nil, err
	}
	t.Mem.Frozen = setup.Numbers.Params
	t.Out = pretrained.Writer{Host: host, Values: t.Mem}
	if t.Stepper, err = replay.NewStepper(setup, dev, t.Mem, host, cfg.Kernels); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close frees the device's memory.
func (t *Trainer) Close() {
	if t.Stepper != nil {
		t.Stepper.Free()
	}
	t.Mem.Free()
}

// Load fills the parameters, and the optimizer's state from the checkpoint that is resumed, if one is.
func (t *Trainer) Load() error {
	if err := errors.Join(t.place(trainerState{}), t.Mem.Load(t.Setup.Model, t.Setup.Model.Params(), t.Host)); err != nil || t.Setup.Model.Files.Resume == nil {
		return err
	}
	s, err := t.restore(t.Setup.Model.Files.Resume)
	if err != nil {
		return err
	}
	if t.Submitted >= t.Total() {
		return report.Fail("resume", report.ExitConfig, "Raise training.max_steps or num_train_epochs, or choose an earlier checkpoint.",
			fmt.Errorf("resume_from_checkpoint: the checkpoint has done %d steps and the run ends at %d", t.Submitted, t.Total()))
	}
	t.Watch, t.offset, t.leftOut, t.factor = s.Watch, s.DataOffset, s.LeftOut, s.factor()
	t.saved, t.resumed = []int{t.Submitted}, t.Submitted
	if held := &t.Watch.HeldOut; t.Cfg.Training.LoadBest && held.BestStep > 0 {
		if _, err := t.Host.Open(bestDir); errors.Is(err, fs.ErrNotExist) {
			report.Event(t.Host, "warning", "best_model_missing", t.Submitted, map[string]any{"step": held.BestStep},
				"%s, the best weights so far, is not in the output folder: the best is looked for among what follows", bestDir)
			held.Best, held.BestStep, held.Stale = 0, 0, 0
		} else if err != nil {
			return err
		}
	}
	report.Event(t.Host, "info", "resumed", t.Submitted, map[string]any{"step": t.Submitted}, "resumed after step %d", t.Submitted)
	return nil
}

// Build records, tunes and compiles the programs of an optimizer step.
func (t *Trainer) Build() error {
	if err := t.Stepper.Build(t.Host); err != nil {
		return err
	}
	return t.Stepper.BuildUpdate()
}

// Total is the number of steps of the whole run.
func (t *Trainer) Total() int { return t.Sampler.TotalSteps() }

// Done is the number of steps submitted.
func (t *Trainer) Done() int { return t.Submitted }

// Step submits the next optimizer update and returns the metrics of the one before it, nil when there is none.
func (t *Trainer) Step(ctx context.Context) (*landed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rows := t.Sampler.Step(t.Submitted + t.offset)
	var batches []*data.Batch
	tokens, inputs := 0, 0
	for _, r := range rows {
		b := t.Collate(r)
		batches = append(batches, b)
		tokens, inputs = tokens+b.Tokens, inputs+b.Inputs
	}
	mult, err := optim.Multiplier(t.Cfg.Training.Scheduler, t.Submitted, t.Cfg.Training.WarmupSteps, t.Total(), t.Cfg.Training.LearningRate)
	if err != nil {
		return nil, err
	}
	t.Seen += int64(inputs)
	f := &flight{landed: landed{rows: rows, position: t.Submitted + t.offset, Step: message.Step{
		Step: t.Submitted + 1, Epoch: t.Sampler.Epoch(t.Submitted + 1), LearningRate: t.Cfg.Training.LearningRate * mult * t.factor,
		Tokens: tokens, NumInputTokensSeen: t.Seen,
	}}}
	if t.Last.IsZero() {
		t.Last = time.Now()
	}
	in := replay.StepInput{Step: t.Submitted + t.offset, Seed: t.Cfg.Training.Seed, Stage: t.Setup.StageAt(t.Submitted)}
	for k, stage := range t.Setup.Stages { // each counts the updates since it began
		in.Scalars = append(in.Scalars, optim.Scalars{
			LR: f.landed.LearningRate, Tokens: tokens, Step: t.Submitted - stage.From - t.skips[k] + 1, KnownSkips: t.skipped - t.before,
			Number: t.Submitted + t.offset, Beta1: t.Cfg.Training.Beta1, Beta2: t.Cfg.Training.Beta2,
		})
	}
	t.enter(in.Stage, &f.landed.Step)
	if f.pending, err = t.Stepper.Submit(batches, in); err != nil {
		return nil, err
	}
	t.Submitted++
	t.weigh() // with two results in flight: no more is ever live
	before := t.flight
	t.flight = f
	if before == nil {
		return nil, nil
	}
	return t.land(before)
}

// weigh tells what is live of the device's memory; the most of each class is remembered.
func (t *Trainer) weigh() device.Usage {
	u := t.Dev.Usage()
	for c := range u {
		t.most[c] = max(t.most[c], u[c])
	}
	return u
}

// enter puts what trains on record: in a step's metrics, and where a stage begins as an event.
func (t *Trainer) enter(k int, step *message.Step) {
	stage := t.Setup.Stages[k]
	if step.Stage = stage.Entry; stage.Entry == 0 {
		return
	}
	step.Trainable = t.Setup.TrainableAt(k)
	if t.Submitted == stage.From && t.Submitted > 0 {
		added := step.Trainable
		if k > 0 {
			added -= t.Setup.TrainableAt(k - 1)
		}
		report.Event(t.Host, "info", "unfrozen", t.Submitted, map[string]any{"stage": stage.Entry, "trainable_parameters": step.Trainable},
			"stage %d after step %d: %d parameters more train, %d in all", stage.Entry, t.Submitted, added, step.Trainable)
	}
}

// Flush waits for the step in flight and returns its metrics, nil when there is none.
func (t *Trainer) Flush() (*landed, error) {
	f := t.flight
	t.flight = nil
	if f == nil {
		return nil, nil
	}
	return t.land(f)
}

// land waits for a step's result.
func (t *Trainer) land(f *flight) (*landed, error) {
	raw, err := f.pending.Wait()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	f.landed.StepSeconds = now.Sub(t.Last).Seconds()
	t.Last = now
	f.landed.TokensPerSecond = float64(f.landed.Tokens) / max(f.landed.StepSeconds, 1e-9)
	state, err := optim.DecodeState(raw[:4*optim.NumState])
	if err != nil {
		return nil, err
	}
	f.landed.applied, f.landed.scaled = state.Applied, state.Overflow
	times := f.landed.Tokens // of the mean loss's gradient, what the device has
	if t.Setup.Scaled() {
		times = max(f.landed.Tokens, 1) * int(t.scale.Scale)
	}
	if !f.landed.applied || f.landed.Step.Step%t.unitsEvery == 0 {
		if f.landed.Units, err = t.unitNorms(raw[4*t.Setup.SumsAt():][:12*len(t.units)], state, times); err != nil {
			return nil, err
		}
	}
	f.landed.Loss, f.landed.GradNorm = message.Float(state.LossSum/float64(max(f.landed.Tokens, 1))), message.Float(state.Norm)
	f.landed.GPUBytes = t.weigh().Total()
	if !f.landed.applied {
		t.skipped++
		for k, stage := range t.Setup.Stages {
			if f.landed.Step.Step > stage.From {
				t.skips[k]++
			}
		}
		for _, u := range f.landed.Units {
			if !finite(float64(u.GradNorm)) {
				f.landed.overflow = u.Name
				break
			}
		}
	}
	if t.Setup.Scaled() {
		if t.scale, err = optim.DecodeLossScale(raw[4*t.Setup.ScaleAt():]); err != nil {
			return nil, err
		}
		f.landed.LossScale = t.scale.Scale
	}
	return &f.landed, nil
}

// unitLines bounds how many norms of units a run puts on record.
const unitLines = 20_000

// unitNorms spells the norms of a step by unit.
func (t *Trainer) unitNorms(sums []byte, state optim.State, tokens int) ([]message.Unit, error) {
	norms, err := optim.Units(sums, state, tokens)
	if err != nil {
		return nil, err
	}
	units := make([]message.Unit, len(norms))
	for i, name := range t.units {
		n := norms[i]
		units[i] = message.Unit{Name: name, GradNorm: short(n.Grad), WeightNorm: short(n.Weight)}
		if n.Weight > 0 {
			units[i].UpdateRatio = short(n.Update / n.Weight)
		}
	}
	return units, nil
}

// short keeps four digits, which is all that a curve needs.
func short(x float64) message.Float {
	v, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64)
	if err != nil {
		v = x
	}
	return message.Float(v)
}

// Collate puts rows of the dataset into a micro-batch.
func (t *Trainer) Collate(rows []int) *data.Batch {
	samples := t.Setup.Train.Pick(rows)
	longest := 0
	for i, s := range samples {
		if slices.Contains(t.leftOut, rows[i]) {
			samples[i] = data.Sample{}
			continue
		}
		longest = max(longest, len(s.IDs))
	}
	return t.Setup.BatchOf(samples, t.Setup.LengthFor(longest))
}

// trainerState is what a checkpoint holds besides tensors.
type trainerState struct {
	GlobalStep         int    `json:"global_step"`
	MaxSteps           int    `json:"max_steps"`
	NumInputTokensSeen int64  `json:"num_input_tokens_seen"`
	Skipped            int    `json:"skipped_steps"`
	Skips              []int  `json:"skipped_steps_by_stage"` // since each stage began
	Seed               uint64 `json:"seed"`                   // with the step it decides data order and dropout masks
	Rows               int    `json:"rows"`

	LossScale          *optim.LossScale `json:"loss_scale,omitempty"`
	DataOffset         int              `json:"data_offset"`
	LeftOut            []int            `json:"left_out_rows,omitempty"`
	LearningRateFactor *float64         `json:"learning_rate_factor"`
	Watch              watch            `json:"watch"`
}

// factor is 1 where nothing is said of it.
func (s *trainerState) factor() float64 {
	if s.LearningRateFactor == nil {
		return 1
	}
	return *s.LearningRateFactor
}

const (
	stateFile     = "trainer_state.json"
	optimizerFile = "optimizer.safetensors"
	firstMoment   = ".exp_avg"
	secondMoment  = ".exp_avg_sq"
)

// moments calls f for every moment of every parameter that trains, with its name in a checkpoint.
func (t *Trainer) moments(f func(name string, key memory.MomentKey) error) error {
	for _, s := range t.Setup.Layout.Segments {
		for _, p := range s.Params {
			if err := f(p.Name+firstMoment, memory.MomentKey{Param: p, Copy: plan.Moment1}); err != nil {
				return err
			}
			if err := f(p.Name+secondMoment, memory.MomentKey{Param: p, Copy: plan.Moment2}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Save writes checkpoint-N: the adapter or the model, the optimizer's state and where the run stands. Older
// checkpoints beyond save_total_limit are removed after it is complete.
func (t *Trainer) Save() error {
	dir := checkpointDir(t.Submitted)
	if n := len(t.saved); n > 0 && t.saved[n-1] == t.Submitted {
		return nil
	}
	p := report.NewProgress(t.Host, "save", "", 0)
	defer p.Update(1, dir)
	if err := t.Result(dir); err != nil {
		return err
	}
	var specs []weights.Spec
	keys := map[string]memory.MomentKey{}
	t.moments(func(name string, key memory.MomentKey) error {
		specs, keys[name] = append(specs, weights.Spec{Name: name, DType: tensor.F32, Shape: key.Shape}), key
		return nil
	})
	if err := t.Out.File(path.Join(dir, optimizerFile), func(w io.Writer) error {
		return t.Out.Tensors(w, specs, nil, func(name string, w io.Writer) error {
			key := keys[name]
			return t.Mem.Stream(key, key.Shape, false, func(b []byte) error { _, err := w.Write(b); return err })
		})
	}); err != nil {
		return err
	}
	var scale *optim.LossScale
	if t.Setup.Scaled() {
		scale = &t.scale
	}
	state, err := json.MarshalIndent(trainerState{
		GlobalStep: t.Submitted, MaxSteps: t.Total(), NumInputTokensSeen: t.Seen, Skipped: t.skipped, Skips: t.skips, Seed: t.Cfg.Training.Seed, Rows: len(t.Setup.Train.Samples),
		LossScale:  scale,
		DataOffset: t.offset, LeftOut: t.leftOut, LearningRateFactor: &t.factor, Watch: t.Watch,
	}, "", "  ")
	if err != nil {
		return err
	}
	run, err := t.resolved()
	if err != nil {
		return err
	}
	if err := errors.Join(t.Out.Bytes(path.Join(dir, stateFile), append(state, '\n')), t.Out.Bytes(path.Join(dir, "run.json"), run)); err != nil {
		return err
	}
	err = t.Out.Commit(dir)
	device.Trim(t.Dev)
	if full := (*report.NoRoom)(nil); errors.As(err, &full) {
		return t.makeRoom(full)
	} else if err != nil {
		return err
	}
	t.saved, t.full = append(t.saved, t.Submitted), false
	if limit := t.Cfg.Training.SaveTotalLimit; limit > 0 {
		for len(t.saved) > limit {
			t.discard(t.saved[0])
			t.saved = t.saved[1:]
		}
	}
	return nil
}

// makeRoom gives the oldest checkpoint up for the new one, as long as there is another; else the run goes on without a new
// one, and says so the first time.
func (t *Trainer) makeRoom(full *report.NoRoom) error {
	if len(t.saved) > 1 {
		t.discard(t.saved[0])
		t.saved = t.saved[1:]
		return t.Save()
	}
	if !t.full {
		t.full = true
		report.Event(t.Host, "warning", "storage_full", t.Submitted, map[string]any{"path": checkpointDir(t.Submitted), "bytes": full.Bytes}, "%v", full)
	}
	return nil
}

// checkpointDir is the folder of the checkpoint after a step.
func checkpointDir(step int) string { return fmt.Sprintf("checkpoint-%d", step) }

// discard removes a checkpoint.
func (t *Trainer) discard(step int) {
	if err := t.Host.Remove(checkpointDir(step)); err != nil {
		report.Event(t.Host, "warning", "checkpoint_not_removed", t.Submitted, nil, "%s could not be removed: %v", checkpointDir(step), err)
	}
}

// Result writes what the run is for into dir: the adapter, or the model.
func (t *Trainer) Result(dir string) error {
	if t.Setup.Model.Method != nil {
		return errors.Join(t.Out.Adapter(dir, t.Setup.Model), t.Out.Head(dir, t.Setup.Model, func(p *nn.Param, w io.Writer) error { return t.Out.Stream(w, p, p) }))
	}
	return t.Out.Trained(dir, t.Setup.Model)
}

// resolved is run.json with every default and the table of kernel variants.
func (t *Trainer) resolved() ([]byte, error) {
	c := *t.Cfg
	c.Kernels = t.Stepper.Table()
	if c.Training.Checkpointing == config.CheckpointAuto {
		c.Training.Checkpointing = config.Checkpointing(t.Setup.Recompute)
	}
	b, err := json.MarshalIndent(&c, "", "  ")
	return append(b, '\n'), err
}

// restore brings the optimizer and the position in the run back from a checkpoint, whose weights were loaded before.
func (t *Trainer) restore(from fs.FS) (s trainerState, err error) {
	const hint = "Choose a checkpoint-N folder of a run with the same model, data and configuration."
	bad := func(err error) (trainerState, error) {
		return s, report.Fail("resume", report.ExitConfig, hint, fmt.Errorf("resume_from_checkpoint: %w", err))
	}
	raw, err := pretrained.ReadSmall(from, stateFile)
	if err != nil {
		return bad(err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return bad(fmt.Errorf("%s: %w", stateFile, err))
	}
	switch {
	case s.GlobalStep < 0 || s.Skipped < 0 || s.Skipped > s.GlobalStep || s.DataOffset < 0:
		return bad(fmt.Errorf("%s: step %d with %d skipped", stateFile, s.GlobalStep, s.Skipped))
	case len(s.Skips) != len(t.Setup.Stages):
		return bad(fmt.Errorf("the run has %d stages of unfreezing, the checkpoint's had %d", len(t.Setup.Stages), len(s.Skips)))
	case !(s.factor() > 0 && s.factor() <= 1):
		return bad(fmt.Errorf("%s: learning_rate_factor is %v", stateFile, s.factor()))
	case s.Seed != t.Cfg.Training.Seed:
		return bad(fmt.Errorf("seed is %d, the checkpoint's is %d", t.Cfg.Training.Seed, s.Seed))
	case s.Rows != len(t.Setup.Train.Samples):
		return bad(fmt.Errorf("the dataset has %d rows, the checkpoint's had %d", len(t.Setup.Train.Samples), s.Rows))
	}
	c, err := weights.OpenFile(from, optimizerFile)
	if err != nil {
		return bad(err)
	}
	defer c.Close()
	if err := t.moments(func(name string, key memory.MomentKey) error {
		if msg := pretrained.Mismatch(c, name, key.Shape); msg != "" {
			return errors.New(msg)
		}
		return t.Mem.Upload(key, key.Shape, false, c, name, func(int64) {})
	}); err != nil {
		return bad(err)
	}
	return s, t.place(s)
}

// place puts the count of steps where a checkpoint says.
func (t *Trainer) place(s trainerState) error {
	t.Submitted, t.Seen = s.GlobalStep, s.NumInputTokensSeen
	t.skipped, t.before = s.Skipped, s.Skipped
	t.skips = make([]int, len(t.Setup.Stages))
	copy(t.skips, s.Skips) // none at the start of the run
	t.scale = optim.FirstLossScale
	if s.LossScale != nil {
		t.scale = *s.LossScale
	}
	return t.Stepper.Reset(t.scale)
}
