package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/message"
	"llamatab/engine/plan"
)

// Job is all that a piece of work needs.
type Job struct {
	message.Job
	Files  Files
	Host   Host
	Open   Open
	Budget int64 // bytes of device memory that may be planned, 0 for no limit
	Bench  func(ctx context.Context, j *Job) error
}

// Run does the job and tells the host how it ended: with Done or with Failed, once. The error is what Failed says.
func Run(ctx context.Context, j *Job) error {
	done, err := j.run(ctx)
	if err != nil {
		j.Host.Emit(message.Envelope{Type: "failed", Failed: Failure(err)})
		return err
	}
	j.Host.Emit(message.Envelope{Type: "done", Done: done})
	return nil
}

func (j *Job) run(ctx context.Context) (done *message.Done, err error) {
	switch j.Command {
	case message.Train:
		return j.train(ctx)
	case message.Eval:
		return &message.Done{}, j.eval(ctx)
	case message.Generate:
		return &message.Done{}, j.generate(ctx)
	case message.Export:
		return &message.Done{}, j.export(ctx)
	case message.Bench:
		return &message.Done{}, j.Bench(ctx, j)
	case message.Describe, message.Plan, message.Preview:
		return &message.Done{}, j.look()
	}
	return nil, fail("job", exitConfig, "Update the page and the program together.", fmt.Errorf("unknown command %q", j.Command))
}

// unbounded are limits for a first plan, which tells what to ask of the adapter.
var unbounded = func() device.Limits {
	l := device.DefaultLimits
	l.MaxBuffer, l.MaxBinding = 1<<50, 1<<50
	return l
}()

// open opens a device that the setup fits, or says why it does not fit anywhere here. Nothing has been allocated yet.
func (j *Job) open(s *Setup) (device.Device, error) {
	newProgress(j.Host, "open", "", 0)
	if err := s.fit(s.limits, j.Budget); err != nil {
		return nil, err
	}
	dev, err := j.Open(s.Memory.Want())
	if err != nil {
		return nil, fail("no_adapter", exitBrowser, "Run llamatab doctor: it says what is missing.", err)
	}
	if err := s.fit(dev.Limits(), j.Budget); err != nil {
		dev.Close()
		return nil, err
	}
	for _, w := range s.Warnings {
		event(j.Host, "warning", "note", 0, nil, "%s", w)
	}
	return dev, nil
}

// fit plans for limits and a budget, and checks the plan.
func (s *Setup) fit(l device.Limits, budget int64) error {
	if err := s.planFor(l, budget); err != nil {
		return err
	}
	return s.check(l, budget)
}

// check refuses what does not fit, and says by how much and what would make it fit.
func (s *Setup) check(l device.Limits, budget int64) error {
	err := s.Memory.Check(l, budget)
	if err == nil {
		return nil
	}
	return fail("does_not_fit", exitFailed, s.advice(l, budget), fmt.Errorf("memory: %w", err))
}

// advice looks for a smaller batch or shorter rows with which the run fits.
func (s *Setup) advice(l device.Limits, budget int64) string {
	if s.decode {
		return "Ask for fewer new tokens with --max-new-tokens, or choose a smaller model."
	}
	try := *s
	try.limits = l
	for try.batch > 1 {
		try.batch = (try.batch + 1) / 2
		if try.plan() == nil && try.Memory.Check(l, budget) == nil {
			return fmt.Sprintf("It fits with per_device_train_batch_size %d (%s); gradient_accumulation_steps keeps the effective batch.", try.batch, plan.Bytes(try.Memory.Total()))
		}
	}
	for length := try.longest() / 2; length >= 16; length /= 2 {
		short := *s.Train
		short.Samples = nil
		for _, row := range s.Train.Samples {
			n := min(len(row.IDs), length)
			short.Samples = append(short.Samples, data.Sample{IDs: row.IDs[:n], Labels: row.Labels[:n]})
		}
		try.Train, try.Valid = &short, nil
		if try.plan() == nil && try.Memory.Check(l, budget) == nil {
			return fmt.Sprintf("It fits with per_device_train_batch_size 1 and dataset.max_length %d (%s).", length, plan.Bytes(try.Memory.Total()))
		}
	}
	if s.steps && s.Method == nil {
		return "Train LoRA instead of all weights: gradients and optimizer states then take next to nothing. Or choose a smaller model."
	}
	return "Choose a smaller model, or an adapter (GPU) with larger limits."
}

// parseConfig reads the resolved run.json of a job.
func (j *Job) parseConfig() (*config.Config, error) {
	c, err := config.Parse(j.Config, "run.json")
	if err != nil {
		next := "Correct run.json."
		var ce *config.Error
		if errors.As(err, &ce) && ce.Next != "" {
			next = ce.Next
		}
		return nil, fail("config", exitConfig, next, err)
	}
	return c, nil
}

func (j *Job) train(ctx context.Context) (*message.Done, error) {
	start := time.Now()
	cfg, err := j.parseConfig()
	if err != nil {
		return nil, err
	}
	setup, err := Prepare(cfg, j.Files, unbounded)
	if err != nil {
		return nil, err
	}
	defer setup.Close()
	if j.Files.Resume != nil && cfg.Kernels == nil {
		if err := keepKernels(cfg, j.Files); err != nil {
			return nil, err
		}
	}
	dev, err := j.open(setup)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	t, err := New(setup, cfg, dev, j.Host)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	loading := time.Now()
	if err := t.Load(); err != nil {
		return nil, err
	}
	loaded := time.Now()
	if err := t.Build(); err != nil {
		return nil, err
	}
	r := runner{Trainer: t, job: j, start: start, loadSeconds: loaded.Sub(loading).Seconds(), compileSeconds: time.Since(loaded).Seconds()}
	return r.loop(ctx)
}

// keepKernels takes over the table of kernel variants of the run that is resumed: the same bits need the same kernels.
func keepKernels(cfg *config.Config, files Files) error {
	raw, err := readSmall(files.Resume, "run.json")
	if err != nil {
		return fail("resume", exitConfig, "Choose a complete checkpoint-N folder.", fmt.Errorf("resume_from_checkpoint: %w", err))
	}
	var c struct {
		Kernels map[string]string `json:"kernels"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return fail("resume", exitConfig, "Choose a complete checkpoint-N folder.", fmt.Errorf("resume_from_checkpoint: run.json: %w", err))
	}
	cfg.Kernels = c.Kernels
	return nil
}

// Folders that a run writes its result to.
const (
	adapterDir = "adapter"
	modelDir   = "model"
)

// runner is the loop around a trainer: controls, metrics, evaluation and checkpoints.
type runner struct {
	*Trainer
	job            *Job
	start          time.Time
	loadSeconds    float64
	compileSeconds float64
	trainStart     time.Time
	firstStep      float64 // seconds from the start of the job to the first result
	tokens         int64
	first          int // steps done before this run
	peak           device.Usage
	band           band
	paused         bool
	saveNow        bool // asked for by the person
}

func (r *runner) loop(ctx context.Context) (*message.Done, error) {
	total := r.Total()
	r.first = r.Done()
	if err := r.writeConfig(); err != nil {
		return nil, err
	}
	if err := r.summary(); err != nil { // so that what was planned is on record even if the run ends badly
		return nil, err
	}
	r.trainStart = time.Now()
	for r.Done() < total {
		stop, err := r.control(ctx)
		if err != nil {
			return nil, err
		}
		if stop {
			return r.finish(true)
		}
		if err := r.report(r.Step(ctx)); err != nil {
			return nil, err
		}
		tr := r.cfg.Training
		evaluate := tr.EvalSteps > 0 && r.Done()%tr.EvalSteps == 0 && r.Valid != nil
		save := tr.SaveSteps > 0 && r.Done()%tr.SaveSteps == 0 || r.saveNow
		r.saveNow = false
		if evaluate || save || tr.OnNonfinite == "stop" {
			step, err := r.Flush()
			if err == nil && evaluate && step != nil {
				err = r.evaluate(step)
			}
			if err := r.report(step, err); err != nil {
				return nil, err
			}
		}
		if save {
			if err := r.Save(); err != nil {
				return nil, err
			}
			r.last = time.Now()
		}
	}
	return r.finish(false)
}

// control obeys what the person asked for; it blocks while paused.
func (r *runner) control(ctx context.Context) (stop bool, err error) {
	if r.paused { // after a single step
		if err := r.report(r.Flush()); err != nil {
			return false, err
		}
	}
	for {
		switch r.host.Control() {
		case message.Stop:
			return true, nil
		case message.Pause:
			if !r.paused {
				if err := r.report(r.Flush()); err != nil {
					return false, err
				}
				r.paused = true
				event(r.host, "info", "paused", r.Done(), nil, "paused after step %d", r.Done())
			}
		case message.Single:
			r.paused, r.last = true, time.Now()
			return false, ctx.Err()
		case message.Resume:
			r.paused, r.last = false, time.Now()
			event(r.host, "info", "continued", r.Done(), nil, "going on")
		case message.Save:
			r.saveNow = true
		}
		if !r.paused {
			return false, ctx.Err()
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// report sends a step's metrics. It passes an error on, after the step that it belongs to.
func (r *runner) report(step *message.Step, err error) error {
	if step != nil {
		if r.firstStep == 0 {
			r.firstStep = time.Since(r.start).Seconds()
		}
		r.tokens += int64(step.Tokens)
		if r.band.spike(float64(step.Loss)) { // on_spike: "warn"
			event(r.host, "warning", "loss_spike", step.Step, map[string]any{"loss": step.Loss, "expected": r.band.mean},
				"step %d: the loss %.4g is far above the %.4g of the steps before", step.Step, float64(step.Loss), r.band.mean)
		}
		done, total := int64(step.Step), int64(r.Total())
		r.host.Emit(message.Envelope{Type: "step", Step: step}, message.Envelope{Type: "progress", Progress: &message.Progress{
			Phase: "train", Done: done, Total: total, Unit: "steps",
			ETASeconds: time.Since(r.trainStart).Seconds() / float64(done-int64(r.first)) * float64(total-done),
		}})
	}
	return err
}

func (r *runner) writeConfig() error {
	run, err := r.resolved()
	if err == nil {
		r.host.Emit(message.Envelope{Type: "config", Config: run})
	}
	return err
}

// evaluate adds the loss on the held-out rows to a step's metrics.
func (r *runner) evaluate(step *message.Step) error {
	loss, _, err := r.meanLoss(r.Valid, r.stepper, r.host)
	if err != nil {
		return err
	}
	l := message.Float(loss)
	step.EvalLoss, step.Perplexity = &l, perplexity(loss)
	r.last = time.Now()
	return nil
}

// finish waits for the last step and writes what the run leaves.
func (r *runner) finish(stopped bool) (*message.Done, error) {
	if err := r.report(r.Flush()); err != nil {
		return nil, err
	}
	if (stopped || r.cfg.Training.SaveSteps > 0) && r.Done() > r.first {
		if err := r.Save(); err != nil {
			return nil, err
		}
	}
	dir := modelDir
	if r.Method != nil {
		dir = adapterDir
	}
	p := newProgress(r.host, "save", "", 0)
	if err := r.result(dir); err != nil {
		return nil, err
	}
	if err := r.out.commit(dir); err != nil {
		return nil, err
	}
	p.at(1, dir)
	trim(r.dev)
	if stopped {
		event(r.host, "info", "stopped", r.Done(), nil, "stopped after step %d of %d on request", r.Done(), r.Total())
	}
	if err := r.summary(); err != nil {
		return nil, err
	}
	return &message.Done{Stopped: stopped, Files: append([]string{dir}, r.saved...)}, nil
}

// summary sends summary.json.
func (r *runner) summary() error {
	u := r.dev.Usage()
	for c := range u {
		r.peak[c] = max(r.peak[c], u[c])
	}
	trainable, total := r.Layout.Counts()
	limits := r.dev.Limits()
	s := map[string]any{
		"adapter":              r.dev.Info(),
		"adapter_backend":      r.job.AdapterBackend,
		"limits":               limits,
		"trainable_parameters": trainable,
		"total_parameters":     total,
		"recomputed_blocks":    r.recompute,
		"planned_bytes":        r.Memory.Usage.Map(),
		"allocated_bytes":      r.peak.Map(),
		"steps":                r.Done(),
		"load_seconds":         r.loadSeconds,
		"compile_seconds":      r.compileSeconds,
		"dataset":              r.Train.Stats,
	}
	if e := time.Since(r.trainStart).Seconds(); !r.trainStart.IsZero() && e > 0 {
		s["tokens_per_second"] = float64(r.tokens) / e
		s["train_seconds"] = e
		s["seconds_to_first_step"] = r.firstStep
	}
	b, err := json.Marshal(s)
	r.host.Emit(message.Envelope{Type: "summary", Summary: b})
	return err
}
