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
	"llamatab/engine/data/sampling"
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

// Trainer runs optimizer steps. It reads the result of a step after it has submitted the next one, so the device never waits
// for the host.
type Trainer struct {
	Setup   *replay.Setup
	Cfg     *config.Config
	Host    report.Host
	Dev     device.Device
	Mem     *memory.Parameters
	Stepper *replay.Stepper

	sampler *sampling.Sampler
	out     pretrained.Writer

	units      []string // names
	unitsEvery int      // the norms of units are recorded every so many steps

	submitted     int   // updates submitted
	inputsSeen    int64 // tokens that the model has read, as transformers counts them
	skipped       int   // updates known to have been skipped
	skippedBefore int   // those of them that came before the run was resumed
	skipsByStage  []int // skipped updates since each stage began
	watch         watch
	scale         optim.LossScale
	dataOffset    int     // steps of data that rollbacks have left out: step s reads the rows of step s+dataOffset
	leftOut       []int   // rows of the dataset that are not trained on any more
	lrFactor      float64 // multiplies the scheduled learning rate; each rollback halves it
	inFlight      *pendingStep
	lastResult    time.Time // start of the time that the next step is said to take
	checkpoints   []int     // their steps, oldest first
	resumedStep   int       // of the checkpoint that the run started from
	storageFull   bool      // the last checkpoint did not fit, which was reported

	peak device.Usage // the most bytes that were allocated at a time, by kind of memory
}

// pendingStep is a submitted step whose result has not been read yet.
type pendingStep struct {
	result  stepResult
	pending device.Pending
}

// stepResult is the record of a step with what the loop needs to check it.
type stepResult struct {
	message.Step
	rows     [][]int // of the dataset, by micro-batch
	position int     // of the step in the data, counted from 0
	applied  bool    // false: the loss or the gradient norm was not finite, and the weights were not changed
	overflow string  // the first unit whose gradient has a sum of squares that is not finite, "" for none
	scaled   bool    // the step was not applied because of the loss scale, which has been halved
}

// New makes a trainer of a prepared setup on an open device. It allocates all memory. The weights are 0 until Load.
func New(setup *replay.Setup, cfg *config.Config, dev device.Device, host report.Host) (*Trainer, error) {
	t := &Trainer{Setup: setup, Cfg: cfg, Host: host, Dev: dev, lrFactor: 1, skipsByStage: make([]int, len(setup.Stages))}
	var err error
	if t.sampler, err = sampling.New(setup.DataPlan(cfg)); err != nil {
		return nil, report.Fail("data", report.ExitConfig, "Change num_train_epochs, max_steps or the batch.", err)
	}
	setup.Repeats = t.Total() * cfg.Micro() * setup.Model.Decoder.Layers
	t.units = setup.UnitNames()
	t.unitsEvery = max(1, device.CeilDiv(t.Total()*len(t.units), unitLines))
	if t.Mem, err = memory.New(dev, setup.Layout, true); err != nil {
		return nil, err
	}
	t.Mem.RoundFrozen(setup.Numbers.Params)
	t.out = pretrained.Writer{Host: host, Values: t.Mem}
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
	if err := errors.Join(t.setPosition(trainerState{}), t.Mem.Load(t.Setup.Model, t.Setup.Model.Params(), t.Host)); err != nil || t.Setup.Model.Files.Resume == nil {
		return err
	}
	s, err := t.restore(t.Setup.Model.Files.Resume)
	if err != nil {
		return err
	}
	if t.submitted >= t.Total() {
		return report.Fail("resume", report.ExitConfig, "Raise training.max_steps or num_train_epochs, or choose an earlier checkpoint.",
			fmt.Errorf("resume_from_checkpoint: the checkpoint has done %d steps and the run ends at %d", t.submitted, t.Total()))
	}
	t.watch, t.dataOffset, t.leftOut, t.lrFactor = s.Watch, s.DataOffset, s.LeftOut, s.factor()
	t.checkpoints, t.resumedStep = []int{t.submitted}, t.submitted
	if held := &t.watch.HeldOut; t.Cfg.Training.LoadBest && held.BestStep > 0 {
		if _, damage, err := t.openSaved(bestDir); err != nil {
			return err
		} else if damage != nil {
			report.Event(t.Host, "warning", "best_model_missing", t.submitted, map[string]any{"step": held.BestStep},
				"%s, the best weights so far, cannot be used (%v): the best is looked for among what follows", bestDir, damage)
			held.Best, held.BestStep, held.Stale = 0, 0, 0
		}
	}
	report.Event(t.Host, "info", "resumed", t.submitted, map[string]any{"step": t.submitted}, "resumed after step %d", t.submitted)
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
func (t *Trainer) Total() int { return t.sampler.TotalSteps() }

// Done is the number of updates submitted.
func (t *Trainer) Done() int { return t.submitted }

// Step submits the next optimizer update and returns the metrics of the one before it, nil when there is none.
func (t *Trainer) Step(ctx context.Context) (*stepResult, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rows := t.sampler.Step(t.submitted + t.dataOffset)
	var batches []*data.Batch
	tokens, inputs := 0, 0
	for _, r := range rows {
		b, err := t.Collate(r)
		if err != nil {
			return nil, err
		}
		batches = append(batches, b)
		tokens, inputs = tokens+b.Tokens, inputs+b.Inputs
	}
	mult, err := Schedule(&t.Cfg.Training, t.Total()).Multiplier(t.submitted)
	if err != nil {
		return nil, err
	}
	t.inputsSeen += int64(inputs)
	f := &pendingStep{result: stepResult{rows: rows, position: t.submitted + t.dataOffset, Step: message.Step{
		Step: t.submitted + 1, Epoch: t.sampler.Epoch(t.submitted + 1), LearningRate: t.Cfg.Training.LearningRate * mult * t.lrFactor,
		Tokens: tokens, NumInputTokensSeen: t.inputsSeen,
	}}}
	if t.lastResult.IsZero() {
		t.lastResult = time.Now()
	}
	in := replay.StepInput{Step: t.submitted + t.dataOffset, Seed: t.Cfg.Training.Seed, Stage: t.Setup.StageAt(t.submitted)}
	for k, stage := range t.Setup.Stages { // each counts the updates since it began
		in.Scalars = append(in.Scalars, optim.Scalars{
			LR: f.result.LearningRate, Tokens: tokens, Step: t.submitted - stage.From - t.skipsByStage[k] + 1, KnownSkips: t.skipped - t.skippedBefore,
			Number: t.submitted + t.dataOffset, Beta1: t.Cfg.Training.Beta1, Beta2: t.Cfg.Training.Beta2,
		})
	}
	t.recordStage(in.Stage, &f.result.Step)
	if f.pending, err = t.Stepper.Submit(batches, in); err != nil {
		return nil, err
	}
	t.submitted++
	t.recordUsage() // with two results in flight: no more is ever live
	before := t.inFlight
	t.inFlight = f
	if before == nil {
		return nil, nil
	}
	return t.finishStep(before)
}

// recordUsage returns the bytes that are allocated on the device, by kind of memory, and keeps the peak of each.
func (t *Trainer) recordUsage() device.Usage {
	u := t.Dev.Usage()
	for c := range u {
		t.peak[c] = max(t.peak[c], u[c])
	}
	return u
}

// recordStage writes the stage and its number of trainable parameters into a step's metrics, and reports an event when a
// stage begins.
func (t *Trainer) recordStage(k int, step *message.Step) {
	stage := t.Setup.Stages[k]
	if step.Stage = stage.Entry; stage.Entry == 0 {
		return
	}
	step.Trainable = t.Setup.TrainableAt(k)
	if t.submitted == stage.From && t.submitted > 0 {
		added := step.Trainable
		if k > 0 {
			added -= t.Setup.TrainableAt(k - 1)
		}
		report.Event(t.Host, "info", "unfrozen", t.submitted, map[string]any{"stage": stage.Entry, "trainable_parameters": step.Trainable},
			"stage %d after step %d: %d parameters more train, %d in all", stage.Entry, t.submitted, added, step.Trainable)
	}
}

// Flush waits for the step in flight and returns its metrics, nil when there is none.
func (t *Trainer) Flush() (*stepResult, error) {
	f := t.inFlight
	t.inFlight = nil
	if f == nil {
		return nil, nil
	}
	return t.finishStep(f)
}

// finishStep waits for the result of a step.
func (t *Trainer) finishStep(f *pendingStep) (*stepResult, error) {
	raw, err := f.pending.Wait()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	f.result.StepSeconds = now.Sub(t.lastResult).Seconds()
	t.lastResult = now
	f.result.TokensPerSecond = float64(f.result.Tokens) / max(f.result.StepSeconds, 1e-9)
	state, err := optim.DecodeState(raw[:4*optim.NumState])
	if err != nil {
		return nil, err
	}
	f.result.applied, f.result.scaled = state.Applied, state.Overflow
	times := f.result.Tokens // the gradients on the device are those of the mean loss multiplied by this
	if t.Setup.Scaled() {
		times = max(f.result.Tokens, 1) * int(t.scale.Scale)
	}
	if !f.result.applied || f.result.Step.Step%t.unitsEvery == 0 {
		if f.result.Units, err = t.unitNorms(raw[4*t.Setup.SumsAt():][:12*len(t.units)], state, times); err != nil {
			return nil, err
		}
	}
	f.result.Loss, f.result.GradNorm = message.Float(state.LossSum/float64(max(f.result.Tokens, 1))), message.Float(state.Norm)
	f.result.GPUBytes = t.recordUsage().Total()
	if !f.result.applied {
		t.skipped++
		for k, stage := range t.Setup.Stages {
			if f.result.Step.Step > stage.From {
				t.skipsByStage[k]++
			}
		}
		for _, u := range f.result.Units {
			if !finite(float64(u.GradNorm)) {
				f.result.overflow = u.Name
				break
			}
		}
	}
	if t.Setup.Scaled() {
		if t.scale, err = optim.DecodeLossScale(raw[4*t.Setup.ScaleAt():]); err != nil {
			return nil, err
		}
		f.result.LossScale = t.scale.Scale
	}
	return &f.result, nil
}

// unitLines is about how many norms of units a run records.
const unitLines = 20_000

// unitNorms decodes the norms of a step by unit. tokens is the factor between the gradients on the device and those of the
// mean loss.
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

// short rounds to four digits, which is enough for a curve.
func short(x float64) message.Float {
	v, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64)
	if err != nil {
		v = x
	}
	return message.Float(v)
}

// Collate puts rows of the dataset into a micro-batch.
func (t *Trainer) Collate(rows []int) (*data.Batch, error) {
	samples, err := t.Setup.Train.Pick(rows)
	if err != nil {
		return nil, err
	}
	longest := 0
	for i, s := range samples {
		if slices.Contains(t.leftOut, rows[i]) {
			samples[i] = data.Sample{}
			continue
		}
		longest = max(longest, len(s.IDs))
	}
	return t.Setup.BatchOf(samples, t.Setup.LengthFor(longest)), nil
}

// trainerState is trainer_state.json, what a checkpoint holds besides tensors.
type trainerState struct {
	GlobalStep         int    `json:"global_step"`
	MaxSteps           int    `json:"max_steps"`
	NumInputTokensSeen int64  `json:"num_input_tokens_seen"`
	Skipped            int    `json:"skipped_steps"`
	Skips              []int  `json:"skipped_steps_by_stage"` // since each stage began
	Seed               uint64 `json:"seed"`                   // with the step it decides data order and dropout masks
	Rows               int    `json:"rows"`
	Fingerprint        string `json:"dataset_fingerprint,omitempty"` // of the rows, before any were held out
	Frozen             string `json:"frozen_fingerprint,omitempty"`  // of the base model's weights that do not train

	LossScale          *optim.LossScale `json:"loss_scale,omitempty"`
	DataOffset         int              `json:"data_offset"`
	LeftOut            []int            `json:"left_out_rows,omitempty"`
	LearningRateFactor *float64         `json:"learning_rate_factor"`
	Watch              watch            `json:"watch"`
}

// factor is the factor on the learning rate, 1 in a checkpoint that has none.
func (s *trainerState) factor() float64 {
	if s.LearningRateFactor == nil {
		return 1
	}
	return *s.LearningRateFactor
}

const (
	optimizerFile = "optimizer.safetensors"
	firstMoment   = ".exp_avg"
	secondMoment  = ".exp_avg_sq"
)

// eachMoment calls f for each moment of each trained parameter, with its name in a checkpoint.
func (t *Trainer) eachMoment(f func(name string, key memory.MomentKey) error) error {
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

// Save writes checkpoint-N: the adapter or the model, the optimizer's state and the position in the run. Older
// checkpoints beyond save_total_limit are removed after it is complete.
func (t *Trainer) Save() error {
	dir := checkpointDir(t.submitted)
	if n := len(t.checkpoints); n > 0 && t.checkpoints[n-1] == t.submitted {
		return nil
	}
	p := report.NewProgress(t.Host, "save", "", 0)
	defer p.Update(1, dir)
	out := t.out.Summing()
	if err := t.writeWeights(out, dir); err != nil {
		return err
	}
	var specs []weights.Spec
	keys := map[string]memory.MomentKey{}
	t.eachMoment(func(name string, key memory.MomentKey) error {
		specs, keys[name] = append(specs, weights.Spec{Name: name, DType: tensor.F32, Shape: key.Shape}), key
		return nil
	})
	if err := out.File(path.Join(dir, optimizerFile), func(w io.Writer) error {
		return out.Tensors(w, specs, nil, func(name string, w io.Writer) error {
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
		GlobalStep: t.submitted, MaxSteps: t.Total(), NumInputTokensSeen: t.inputsSeen, Skipped: t.skipped, Skips: t.skipsByStage, Seed: t.Cfg.Training.Seed, Rows: t.Setup.Train.Len(), Fingerprint: t.Setup.Fingerprint, Frozen: t.Mem.FrozenFingerprint(),
		LossScale:  scale,
		DataOffset: t.dataOffset, LeftOut: t.leftOut, LearningRateFactor: &t.lrFactor, Watch: t.watch,
	}, "", "  ")
	if err != nil {
		return err
	}
	run, err := t.resolved()
	if err != nil {
		return err
	}
	if err := errors.Join(out.Bytes(path.Join(dir, message.StateFile), append(state, '\n')), out.Bytes(path.Join(dir, "run.json"), run), out.Checksums(dir)); err != nil {
		return err
	}
	err = out.Commit(dir)
	device.Trim(t.Dev)
	if full := (*report.NoRoom)(nil); errors.As(err, &full) {
		return t.makeRoom(full)
	} else if err != nil {
		return err
	}
	t.checkpoints, t.storageFull = append(t.checkpoints, t.submitted), false
	if limit := t.Cfg.Training.SaveTotalLimit; limit > 0 {
		for len(t.checkpoints) > limit {
			t.removeCheckpoint(t.checkpoints[0])
			t.checkpoints = t.checkpoints[1:]
		}
	}
	return nil
}

// makeRoom removes the oldest checkpoint and saves again. With one checkpoint left the run goes on without a new one, which
// is reported the first time.
func (t *Trainer) makeRoom(full *report.NoRoom) error {
	if len(t.checkpoints) > 1 {
		t.removeCheckpoint(t.checkpoints[0])
		t.checkpoints = t.checkpoints[1:]
		return t.Save()
	}
	if !t.storageFull {
		t.storageFull = true
		report.Event(t.Host, "warning", "storage_full", t.submitted, map[string]any{"path": checkpointDir(t.submitted), "bytes": full.Bytes}, "%v", full)
	}
	return nil
}

// openSaved opens a folder that this run wrote and holds its files against their checksums. damage says why the folder cannot
// be used: it is not there any more, or does not hold what was written.
func (t *Trainer) openSaved(dir string) (files fs.FS, damage, err error) {
	files, err = t.Host.Open(dir)
	if err == nil {
		_, err = pretrained.Verify(files)
	}
	if wrong := (*pretrained.Damaged)(nil); errors.As(err, &wrong) || errors.Is(err, fs.ErrNotExist) {
		return nil, err, nil
	}
	return files, nil, err
}

// checkpointDir is the folder of the checkpoint after a step.
func checkpointDir(step int) string { return message.CheckpointPrefix + strconv.Itoa(step) }

// removeCheckpoint removes the checkpoint of a step.
func (t *Trainer) removeCheckpoint(step int) {
	if err := t.Host.Remove(checkpointDir(step)); err != nil {
		report.Event(t.Host, "warning", "checkpoint_not_removed", t.submitted, nil, "%s could not be removed: %v", checkpointDir(step), err)
	}
}

// ResultDir is the folder of a run's result.
func (t *Trainer) ResultDir() string {
	if t.Setup.Model.Method != nil {
		return AdapterDir
	}
	return ModelDir
}

// WriteResult writes the adapter, or the model of a run without one, into dir and commits it.
func (t *Trainer) WriteResult(dir string) error {
	if err := t.writeWeights(t.out, dir); err != nil {
		return err
	}
	return t.out.Commit(dir)
}

// writeBest writes the weights of the best evaluation, which takeBest reads again.
func (t *Trainer) writeBest() error {
	out := t.out.Summing()
	if err := errors.Join(t.writeWeights(out, bestDir), out.Checksums(bestDir)); err != nil {
		return err
	}
	return out.Commit(bestDir)
}

// writeWeights writes the adapter, or the model of a run without one, into dir.
func (t *Trainer) writeWeights(out pretrained.Writer, dir string) error {
	if t.Setup.Model.Method != nil {
		return errors.Join(out.Adapter(dir, t.Setup.Model), out.Head(dir, t.Setup.Model, func(p *nn.Param, w io.Writer) error { return out.Stream(w, p, p) }))
	}
	return out.Trained(dir, t.Setup.Model)
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

// restore loads the optimizer's state and the position in the run from a checkpoint. Its weights are loaded before.
func (t *Trainer) restore(from fs.FS) (s trainerState, err error) {
	const hint = "Choose a checkpoint-N folder of a run with the same model, data and configuration."
	bad := func(err error) (trainerState, error) {
		return s, report.Fail("resume", report.ExitConfig, hint, fmt.Errorf("resume_from_checkpoint: %w", err))
	}
	raw, err := pretrained.ReadSmall(from, message.StateFile)
	if err != nil {
		return bad(err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return bad(fmt.Errorf("%s: %w", message.StateFile, err))
	}
	switch {
	case s.GlobalStep < 0 || s.Skipped < 0 || s.Skipped > s.GlobalStep || s.DataOffset < 0:
		return bad(fmt.Errorf("%s: step %d with %d skipped", message.StateFile, s.GlobalStep, s.Skipped))
	case len(s.Skips) != len(t.Setup.Stages):
		return bad(fmt.Errorf("the run has %d stages of unfreezing, the checkpoint's had %d", len(t.Setup.Stages), len(s.Skips)))
	case !(s.factor() > 0 && s.factor() <= 1):
		return bad(fmt.Errorf("%s: learning_rate_factor is %v", message.StateFile, s.factor()))
	case s.Seed != t.Cfg.Training.Seed:
		return bad(fmt.Errorf("seed is %d, the checkpoint's is %d", t.Cfg.Training.Seed, s.Seed))
	case s.Rows != t.Setup.Train.Len():
		return bad(fmt.Errorf("the dataset has %d rows, the checkpoint's had %d", t.Setup.Train.Len(), s.Rows))
	case s.Frozen != "" && s.Frozen != t.Mem.FrozenFingerprint():
		return bad(errors.New("the weights of the model that do not train are others than those of the checkpoint's run"))
	}
	c, err := weights.OpenFile(from, optimizerFile)
	if err != nil {
		return bad(err)
	}
	defer c.Close()
	if err := t.eachMoment(func(name string, key memory.MomentKey) error {
		if msg := pretrained.Mismatch(c, name, key.Shape); msg != "" {
			return errors.New(msg)
		}
		return t.Mem.Upload(key, key.Shape, false, c, name, func(int64) {})
	}); err != nil {
		return bad(err)
	}
	return s, t.setPosition(s)
}

// setPosition sets the counts of steps to those of a checkpoint, or to 0 for the zero state.
func (t *Trainer) setPosition(s trainerState) error {
	t.submitted, t.inputsSeen = s.GlobalStep, s.NumInputTokensSeen
	t.skipped, t.skippedBefore = s.Skipped, s.Skipped
	t.skipsByStage = make([]int, len(t.Setup.Stages))
	copy(t.skipsByStage, s.Skips) // the zero state has none
	t.scale = optim.FirstLossScale
	if s.LossScale != nil {
		t.scale = *s.LossScale
	}
	return t.Stepper.Reset(t.scale)
}
