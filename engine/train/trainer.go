package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/message"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// Trainer runs optimizer steps. It reads a step's loss after it has submitted the next one, so the device never waits
// for the host.
type Trainer struct {
	*Setup
	cfg     *config.Config
	host    Host
	dev     device.Device
	mem     *memory
	stepper *stepper
	sampler *data.Sampler
	out     output

	done    int // updates submitted
	seen    int64
	skipped int // updates known to have been skipped, of which
	before  int // came before a resume
	flight  *flight
	last    time.Time // when the last result was there
	saved   []string  // checkpoints, oldest first
}

// flight is a submitted step whose result is not known yet.
type flight struct {
	step    message.Step
	rows    [][]int
	pending device.Pending
}

// New opens nothing: setup is prepared, dev is open, and table is the choice of kernel variants to keep to.
func New(setup *Setup, cfg *config.Config, dev device.Device, host Host) (*Trainer, error) {
	t := &Trainer{Setup: setup, cfg: cfg, host: host, dev: dev}
	var err error
	tr := cfg.Training
	t.sampler, err = data.NewSampler(data.Plan{
		Rows: len(setup.Train.Samples), Batch: tr.BatchSize, Micro: tr.Accumulation,
		Shuffle: cfg.Dataset.Shuffle, Seed: tr.Seed, Epochs: tr.Epochs, MaxSteps: tr.MaxSteps,
	})
	if err != nil {
		return nil, fail("data", exitConfig, "Change num_train_epochs, max_steps or the batch.", err)
	}
	if t.mem, err = newMemory(dev, setup.Layout, true); err != nil {
		return nil, err
	}
	t.out = output{host, t.mem}
	if t.stepper, err = newStepper(setup, dev, t.mem, host, cfg.Kernels); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close frees the device's memory.
func (t *Trainer) Close() {
	if t.stepper != nil {
		t.stepper.free()
	}
	t.mem.free()
}

// Load fills the parameters, and the optimizer's state from a checkpoint where there is one.
func (t *Trainer) Load() error {
	if err := t.mem.load(t.Model, t.host); err != nil {
		return err
	}
	if t.files.Resume != nil {
		return t.restore()
	}
	return nil
}

// Build records, tunes and compiles the programs of an optimizer step.
func (t *Trainer) Build() error {
	tr := t.cfg.Training
	if err := t.stepper.build(t.host); err != nil {
		return err
	}
	return t.stepper.buildUpdate(optim.AdamWConfig{
		Beta1: tr.Beta1, Beta2: tr.Beta2, Eps: tr.Epsilon, WeightDecay: tr.WeightDecay, LRScale: 1,
	}, tr.NoDecay, tr.MaxGradNorm)
}

// Total is the number of steps of the whole run.
func (t *Trainer) Total() int { return t.sampler.TotalSteps() }

// Done is the number of steps submitted.
func (t *Trainer) Done() int { return t.done }

// Step submits the next optimizer update and returns the metrics of the one before it, nil when there is none.
func (t *Trainer) Step(ctx context.Context) (*message.Step, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rows := t.sampler.Step(t.done)
	var batches []*data.Batch
	tokens, inputs := 0, 0
	for _, r := range rows {
		samples := t.Train.Pick(r)
		longest := 0
		for _, s := range samples {
			longest = max(longest, len(s.IDs))
		}
		b := data.Collate(samples, t.batch, t.lengthFor(longest))
		batches = append(batches, b)
		tokens, inputs = tokens+b.Tokens, inputs+b.Inputs
	}
	mult, err := optim.Multiplier(t.cfg.Training.Scheduler, t.done, t.cfg.Training.WarmupSteps, t.Total(), t.cfg.Training.LearningRate)
	if err != nil {
		return nil, err
	}
	t.seen += int64(inputs)
	f := &flight{rows: rows, step: message.Step{
		Step: t.done + 1, Epoch: t.sampler.Epoch(t.done + 1), LearningRate: t.cfg.Training.LearningRate * mult,
		Tokens: tokens, NumInputTokensSeen: t.seen,
	}}
	if t.last.IsZero() {
		t.last = time.Now()
	}
	if f.pending, err = t.stepper.submit(batches, stepInput{
		step: t.done, seed: t.cfg.Training.Seed, scalars: optim.Scalars{
			LR: f.step.LearningRate, Tokens: tokens, Step: t.done - t.skipped + 1, KnownSkips: t.skipped - t.before,
			Beta1: t.cfg.Training.Beta1, Beta2: t.cfg.Training.Beta2,
		},
	}); err != nil {
		return nil, err
	}
	t.done++
	before := t.flight
	t.flight = f
	if before == nil {
		return nil, nil
	}
	return t.land(before)
}

// Flush waits for the step in flight and returns its metrics, nil when there is none.
func (t *Trainer) Flush() (*message.Step, error) {
	f := t.flight
	t.flight = nil
	if f == nil {
		return nil, nil
	}
	return t.land(f)
}

// errNonfinite ends a run whose on_nonfinite is "stop".
var errNonfinite = errors.New("not a finite number")

// land waits for a step's result.
func (t *Trainer) land(f *flight) (*message.Step, error) {
	raw, err := f.pending.Wait()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	f.step.StepSeconds = now.Sub(t.last).Seconds()
	t.last = now
	f.step.TokensPerSecond = float64(f.step.Tokens) / max(f.step.StepSeconds, 1e-9)
	state, err := optim.DecodeState(raw)
	if err != nil {
		return nil, err
	}
	f.step.Loss, f.step.GradNorm = message.Float(state.LossSum/float64(max(f.step.Tokens, 1))), message.Float(state.Norm)
	if state.Applied {
		if f.step.Tokens == 0 {
			event(t.host, "warning", "step_without_tokens", f.step.Step, map[string]any{"rows": f.rows}, "step %d has no token to train on", f.step.Step)
		}
		return &f.step, nil
	}
	t.skipped++
	event(t.host, "warning", "nonfinite_step_skipped", f.step.Step, map[string]any{"rows": f.rows, "loss": f.step.Loss, "grad_norm": f.step.GradNorm},
		"step %d: loss %v, gradient norm %v: the update was not applied", f.step.Step, f.step.Loss, f.step.GradNorm)
	if t.cfg.Training.OnNonfinite == "stop" {
		return &f.step, fail("nonfinite", exitFailed, "Lower the learning rate, or look at the rows that the event names.",
			fmt.Errorf("step %d: the loss or the gradient norm is %w", f.step.Step, errNonfinite))
	}
	return &f.step, nil
}

// trainerState is what a checkpoint holds besides tensors.
type trainerState struct {
	GlobalStep         int    `json:"global_step"`
	MaxSteps           int    `json:"max_steps"`
	NumInputTokensSeen int64  `json:"num_input_tokens_seen"`
	Skipped            int    `json:"skipped_steps"`
	Seed               uint64 `json:"seed"` // with the step it decides data order and dropout masks
	Rows               int    `json:"rows"`
}

const (
	stateFile     = "trainer_state.json"
	optimizerFile = "optimizer.safetensors"
	firstMoment   = ".exp_avg"
	secondMoment  = ".exp_avg_sq"
)

// moments calls f for every moment of every parameter that trains, with its name in a checkpoint.
func (t *Trainer) moments(f func(name string, key momentKey) error) error {
	for _, s := range t.Layout.Segments {
		for _, p := range s.Params {
			if err := f(p.Name+firstMoment, momentKey{p, plan.Moment1}); err != nil {
				return err
			}
			if err := f(p.Name+secondMoment, momentKey{p, plan.Moment2}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Save writes checkpoint-N: the adapter or the model, the optimizer's state and where the run stands. Older
// checkpoints beyond save_total_limit are removed after it is complete.
func (t *Trainer) Save() error {
	dir := fmt.Sprintf("checkpoint-%d", t.done)
	if n := len(t.saved); n > 0 && t.saved[n-1] == dir {
		return nil
	}
	p := newProgress(t.host, "save", "", 0)
	defer p.at(1, dir)
	if err := t.result(dir); err != nil {
		return err
	}
	var specs []weights.Spec
	keys := map[string]momentKey{}
	t.moments(func(name string, key momentKey) error {
		specs, keys[name] = append(specs, weights.Spec{Name: name, DType: tensor.F32, Shape: key.Shape}), key
		return nil
	})
	if err := t.out.file(path.Join(dir, optimizerFile), func(w io.Writer) error {
		return t.out.tensors(w, specs, func(name string, w io.Writer) error {
			key := keys[name]
			return t.mem.stream(key, key.Shape, false, func(b []byte) error { _, err := w.Write(b); return err })
		})
	}); err != nil {
		return err
	}
	state, err := json.MarshalIndent(trainerState{
		GlobalStep: t.done, MaxSteps: t.Total(), NumInputTokensSeen: t.seen, Skipped: t.skipped, Seed: t.cfg.Training.Seed, Rows: len(t.Train.Samples),
	}, "", "  ")
	if err != nil {
		return err
	}
	run, err := t.resolved()
	if err != nil {
		return err
	}
	if err := errors.Join(t.out.bytes(path.Join(dir, stateFile), append(state, '\n')), t.out.bytes(path.Join(dir, "run.json"), run)); err != nil {
		return err
	}
	if err := t.out.commit(dir); err != nil {
		return err
	}
	t.saved = append(t.saved, dir)
	trim(t.dev)
	if limit := t.cfg.Training.SaveTotalLimit; limit > 0 {
		for len(t.saved) > limit {
			if err := t.host.Remove(t.saved[0]); err != nil {
				event(t.host, "warning", "checkpoint_not_removed", t.done, nil, "%s could not be removed: %v", t.saved[0], err)
			}
			t.saved = t.saved[1:]
		}
	}
	return nil
}

// result writes what the run is for into dir: the adapter, or the model.
func (t *Trainer) result(dir string) error {
	if t.Method != nil {
		return t.out.adapter(dir, t.Model)
	}
	return t.out.trained(dir, t.Model)
}

// resolved is run.json with every default and the table of kernel variants.
func (t *Trainer) resolved() ([]byte, error) {
	c := *t.cfg
	c.Kernels = t.stepper.table()
	if c.Training.Checkpointing == config.CheckpointAuto {
		c.Training.Checkpointing = config.Checkpointing(t.recompute)
	}
	b, err := json.MarshalIndent(&c, "", "  ")
	return append(b, '\n'), err
}

// restore brings the optimizer and the position in the run back from the resume folder. The weights were loaded
// from there already.
func (t *Trainer) restore() error {
	const hint = "Choose a checkpoint-N folder of a run with the same model, data and configuration."
	bad := func(err error) error {
		return fail("resume", exitConfig, hint, fmt.Errorf("resume_from_checkpoint: %w", err))
	}
	raw, err := readSmall(t.files.Resume, stateFile)
	if err != nil {
		return bad(err)
	}
	var s trainerState
	if err := json.Unmarshal(raw, &s); err != nil {
		return bad(fmt.Errorf("%s: %w", stateFile, err))
	}
	switch {
	case s.GlobalStep < 0 || s.Skipped < 0 || s.Skipped > s.GlobalStep:
		return bad(fmt.Errorf("%s: step %d with %d skipped", stateFile, s.GlobalStep, s.Skipped))
	case s.GlobalStep >= t.Total():
		return bad(fmt.Errorf("the checkpoint has done %d steps and the run ends at %d", s.GlobalStep, t.Total()))
	case s.Seed != t.cfg.Training.Seed:
		return bad(fmt.Errorf("seed is %d, the checkpoint's is %d", t.cfg.Training.Seed, s.Seed))
	case s.Rows != len(t.Train.Samples):
		return bad(fmt.Errorf("the dataset has %d rows, the checkpoint's had %d", len(t.Train.Samples), s.Rows))
	}
	c, err := weights.OpenFile(t.files.Resume, optimizerFile)
	if err != nil {
		return bad(err)
	}
	defer c.Close()
	if err := t.moments(func(name string, key momentKey) error {
		if msg := mismatch(c, name, key.Shape); msg != "" {
			return errors.New(msg)
		}
		return t.mem.upload(key, key.Shape, false, c, name, func(int64) {})
	}); err != nil {
		return bad(err)
	}
	t.done, t.seen = s.GlobalStep, s.NumInputTokensSeen
	t.skipped, t.before = s.Skipped, s.Skipped
	t.saved = []string{fmt.Sprintf("checkpoint-%d", t.done)}
	event(t.host, "info", "resumed", t.done, map[string]any{"step": t.done}, "resumed after step %d", t.done)
	return nil
}

// perplexity is exp of a mean loss.
func perplexity(loss float64) *message.Float {
	p := message.Float(math.Exp(loss))
	return &p
}
