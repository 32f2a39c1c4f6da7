// Package train runs jobs: it prepares a model and its data, plans and takes the memory, records the step, and trains,
// evaluates, generates or exports.
package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/message"
	"llamatab/engine/optim"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
)

// Job is all that a piece of work needs.
type Job struct {
	message.Job
	Files  report.Files
	Host   report.Host
	Open   report.Open
	Budget int64 // bytes of device memory that may be planned, 0 for no limit
	Bench  func(ctx context.Context, j *Job) error
	Dial   Dial // to the job's room
}

// Run does the job and tells the host how it ended: with Done or with Failed, once. The error is what Failed says.
func Run(ctx context.Context, j *Job) error {
	done, err := j.run(ctx)
	if err != nil {
		j.Host.Emit(message.Envelope{Type: "failed", Failed: report.Failure(err)})
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
	return nil, report.Fail("job", report.ExitConfig, "Update the page and the program together.", fmt.Errorf("unknown command %q", j.Command))
}

// open opens a device that the setup fits, or says why it does not fit anywhere here. Nothing has been allocated yet.
func (j *Job) open(s *Setup) (device.Device, error) {
	report.NewProgress(j.Host, "open", "", 0)
	if err := s.fit(s.limits, j.Budget); err != nil {
		return nil, err
	}
	dev, err := j.Open(s.Memory.Want())
	if err != nil {
		return nil, report.Fail("no_adapter", report.ExitBrowser, "Run llamatab doctor: it says what is missing.", err)
	}
	if s.numbers.params == tensor.F16 && !dev.Info().F16 {
		dev.Close()
		return nil, report.Fail("no_float16", report.ExitBrowser, `Set precision.param_dtype to "bfloat16", which every adapter can, or choose another adapter.`,
			errors.New(`precision.param_dtype "float16" needs an adapter that offers shader-f16, and this one does not`))
	}
	if err := s.fit(dev.Limits(), j.Budget); err != nil {
		dev.Close()
		return nil, err
	}
	s.tell(j.Host)
	return dev, nil
}

// fit plans for limits and a budget, and checks the plan.
func (s *Setup) fit(l device.Limits, budget int64) error {
	if err := s.planFor(l, budget); err != nil {
		return err
	}
	return s.check(l, budget)
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
		return nil, report.Fail("config", report.ExitConfig, next, err)
	}
	return c, nil
}

func (j *Job) train(ctx context.Context) (*message.Done, error) {
	start := time.Now()
	cfg, err := j.parseConfig()
	if err != nil {
		return nil, err
	}
	setup, err := Prepare(cfg, j.Files, device.UnboundedLimits())
	if err != nil {
		return nil, err
	}
	defer setup.Model.Close()
	if j.Files.Resume != nil && cfg.Kernels == nil {
		if err := keepKernels(cfg, j.Files); err != nil {
			return nil, err
		}
	}
	dev, err := j.open(setup)
	if err != nil {
		return nil, err
	}
	r := runner{job: j, start: start}
	if r.trainer, err = New(setup, cfg, dev, j.Host); err != nil {
		dev.Close()
		return nil, err
	}
	defer r.close()
	if r.samples, err = newSamples(setup, j.Job.Samples); err != nil {
		return nil, err
	}
	loading := time.Now()
	if err := r.trainer.Load(); err != nil {
		return nil, err
	}
	loaded := time.Now()
	if err := r.trainer.Build(); err != nil {
		return nil, err
	}
	r.loadSeconds, r.compileSeconds = loaded.Sub(loading).Seconds(), time.Since(loaded).Seconds()
	if setup.inRoom() {
		return r.member(ctx)
	}
	return r.loop(ctx)
}

// keepKernels takes over the table of kernel variants of the run that is resumed: the same bits need the same kernels.
func keepKernels(cfg *config.Config, files report.Files) error {
	raw, err := pretrained.ReadSmall(files.Resume, "run.json")
	if err != nil {
		return report.Fail("resume", report.ExitConfig, "Choose a complete checkpoint-N folder.", fmt.Errorf("resume_from_checkpoint: %w", err))
	}
	var c struct {
		Kernels map[string]string `json:"kernels"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return report.Fail("resume", report.ExitConfig, "Choose a complete checkpoint-N folder.", fmt.Errorf("resume_from_checkpoint: run.json: %w", err))
	}
	cfg.Kernels = c.Kernels
	return nil
}

// Folders that a run writes its result to.
const (
	adapterDir = "adapter"
	modelDir   = "model"
)

// bestDir is the folder of the weights with the lowest loss on the held-out rows.
const bestDir = "best"

// runner is the loop around a trainer: controls, metrics, evaluation, checkpoints, and what follows from the losses.
type runner struct {
	trainer        *Trainer
	job            *Job
	start          time.Time
	loadSeconds    float64
	compileSeconds float64
	trainStart     time.Time
	firstStep      float64 // seconds from the start of the job to the first result
	tokens         int64
	first          int // steps done before this run
	peak           device.Usage
	backs          backs
	lost           time.Time // when the device was lost last
	unsound        int       // steps in a row that were not finite
	stopped        bool      // by the person
	early          bool      // patience has run out
	paused         bool
	saveNow        bool // asked for by the person
	fresh          bool // what was asked for of the weights before training is still to be found out
	samples        *samples
	before         map[string]any // on held-out rows before training, by the names of metrics
}

func (r *runner) loop(ctx context.Context) (*message.Done, error) {
	r.first = r.trainer.Done()
	if err := r.writeConfig(); err != nil {
		return nil, err
	}
	if err := r.summary(); err != nil { // so that what was planned is on record even if the run ends badly
		return nil, err
	}
	r.fresh = r.first == 0
	r.trainStart = time.Now()
	for {
		done, err := r.advance(ctx)
		if s, ok := err.(*setback); ok { // one that is wrapped ends the run
			err = r.goBack(s)
		}
		if errors.Is(err, device.ErrLost) {
			err = r.reopen(err)
		}
		if done != nil || err != nil {
			return done, err
		}
	}
}

// advance takes one step with what belongs to it, or ends the run.
func (r *runner) advance(ctx context.Context) (*message.Done, error) {
	if err := r.control(ctx); err != nil {
		return nil, err
	}
	if r.stopped || r.early || r.trainer.Done() >= r.trainer.Total() {
		return r.finish()
	}
	if r.fresh && !r.idle() {
		if err := r.report(r.trainer.Flush()); err != nil {
			return nil, err
		}
		if err := r.begin(); err != nil {
			return nil, err
		}
	}
	if err := r.report(r.trainer.Step(ctx)); err != nil {
		return nil, err
	}
	tr := r.trainer.cfg.Training
	sample := r.samples.due(r.trainer.Done()) || r.samples != nil && r.trainer.Done() == r.trainer.Total()
	evaluate := tr.EvalSteps > 0 && r.trainer.Done()%tr.EvalSteps == 0 && r.trainer.setup.Valid != nil
	save := tr.SaveSteps > 0 && r.trainer.Done()%tr.SaveSteps == 0 || r.saveNow
	r.saveNow = false
	if evaluate || save || sample {
		step, err := r.trainer.Flush()
		if err == nil && evaluate && step != nil {
			err = r.evaluate(step)
		}
		if err := r.report(step, err); err != nil {
			return nil, err
		}
	}
	if save {
		if err := r.trainer.Save(); err != nil {
			return nil, err
		}
		r.trainer.last = time.Now()
	}
	if sample {
		return nil, r.sample(r.trainer.Done())
	}
	return nil, nil
}

// idle reports whether the next update changes no weight: the first of a warm-up has the learning rate 0. A person then
// sees a loss before what takes longer.
func (r *runner) idle() bool {
	tr := r.trainer.cfg.Training
	m, err := optim.Multiplier(tr.Scheduler, r.trainer.Done(), tr.WarmupSteps, r.trainer.Total(), tr.LearningRate)
	return err == nil && m == 0
}

// begin finds out what was asked for of the weights before training: samples, and the loss on the held-out rows.
func (r *runner) begin() error {
	r.fresh = false
	if r.samples != nil {
		if err := r.sample(0); err != nil {
			return err
		}
	}
	if !r.trainer.cfg.Training.EvalOnStart || r.trainer.setup.Valid == nil {
		return nil
	}
	m, err := r.trainer.setup.measure(r.trainer.setup.Valid, r.trainer.stepper, r.trainer.host)
	if err != nil {
		return err
	}
	r.trainer.last = time.Now()
	r.startsFrom(m, true)
	return nil
}

// startsFrom keeps what was measured before training for the summary, and tells of it where nobody has yet.
func (r *runner) startsFrom(m measured, tell bool) {
	r.before = map[string]any{"eval_loss": message.Float(m.loss), "perplexity": perplexity(m.loss)}
	if m.accuracy != nil {
		r.before["eval_accuracy"], r.before["eval_f1"] = m.accuracy, m.f1
	}
	if tell {
		report.Event(r.trainer.host, "info", "evaluated_on_start", 0, r.before, "before training the loss on held-out rows is %.4g", m.loss)
	}
}

// sample shows what the model writes after so many updates. Where it cannot, the run goes on without.
func (r *runner) sample(step int) error {
	err := r.samples.write(r.trainer, step)
	if err != nil && !errors.Is(err, device.ErrLost) {
		report.Event(r.trainer.host, "warning", "samples_failed", r.trainer.Done(), nil, "no samples: %v", err)
		r.samples, err = nil, nil
	}
	r.trainer.last = time.Now()
	return err
}

// control obeys what the person asked for; it blocks while paused.
func (r *runner) control(ctx context.Context) error {
	if r.paused { // after a single step
		if err := r.report(r.trainer.Flush()); err != nil {
			return err
		}
	}
	for {
		switch r.trainer.host.Control() {
		case message.Stop:
			r.stopped, r.paused = true, false
		case message.Pause:
			if !r.paused {
				r.paused = true
				if err := r.report(r.trainer.Flush()); err != nil {
					return err
				}
				report.Event(r.trainer.host, "info", "paused", r.trainer.Done(), nil, "paused after step %d", r.trainer.Done())
			}
		case message.Single:
			r.paused, r.trainer.last = true, time.Now()
			return ctx.Err()
		case message.Resume:
			r.paused, r.trainer.last = false, time.Now()
			report.Event(r.trainer.host, "info", "continued", r.trainer.Done(), nil, "going on")
		case message.Save:
			r.saveNow = true
		case message.Back:
			if err := r.report(r.trainer.Flush()); err != nil {
				return err
			}
			if r.trainer.Done() > 0 {
				return &setback{code: "asked", asked: true, first: r.trainer.Done() + 1, step: r.trainer.Done()}
			}
		}
		if !r.paused {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// report sends a step's metrics and judges it. It passes an error on, after the step that it belongs to.
func (r *runner) report(step *landed, err error) error {
	if step == nil {
		return err
	}
	if r.firstStep == 0 {
		r.firstStep = time.Since(r.start).Seconds()
	}
	r.tokens += int64(step.Tokens)
	done, total := int64(step.Step.Step), int64(r.trainer.Total())
	r.trainer.host.Emit(message.Envelope{Type: "step", Step: &step.Step}, message.Envelope{Type: "progress", Progress: &message.Progress{
		Phase: "train", Done: done, Total: total, Unit: "steps",
		ETASeconds: time.Since(r.trainStart).Seconds() / float64(max(done-int64(r.first), 1)) * float64(total-done),
	}})
	if err == nil {
		err = r.judge(step)
	}
	if err == nil && step.EvalLoss != nil {
		err = r.judgeEvaluation(step.Step.Step, float64(*step.EvalLoss))
	}
	return err
}

// judge tells what a person should know of a step, and follows the policies of the run.
func (r *runner) judge(step *landed) error {
	n := step.Step.Step
	if step.scaled { // the next has half the scale
		return nil
	}
	if step.applied {
		r.unsound = 0
	} else if err := r.nonfinite(step); err != nil {
		return err
	}
	if step.Tokens == 0 {
		report.Event(r.trainer.host, "warning", "step_without_tokens", n, map[string]any{"rows": step.rows}, "step %d has no token to train on", n)
		return nil
	}
	loss, band := float64(step.Loss), &r.trainer.watch.Band
	if band.spike(loss) {
		s := &setback{code: "loss_spike", first: n - band.Above + 1, step: n, cause: fmt.Sprintf("the loss %.4g is far above the %.4g of the steps before", loss, band.Mean)}
		report.Event(r.trainer.host, "warning", "loss_spike", n, map[string]any{"loss": step.Loss, "expected": band.Mean, "steps": band.Above, "rows": step.rows}, "%v", s)
		switch r.trainer.cfg.Training.OnSpike {
		case "stop":
			return s.stopFor("Lower training.learning_rate, add training.warmup_steps, or set training.on_spike to \"rollback\".")
		case "rollback":
			return s
		}
	} else if step.applied && band.Above == 0 && r.trainer.watch.Plateau.take(n, band.Mean) {
		report.Event(r.trainer.host, "info", "plateau", n, map[string]any{"loss": band.Mean, "steps": plateauSteps},
			"the loss has stayed at about %.4g for %d steps: stop here, or train more weights or with another learning rate", band.Mean, plateauSteps)
	}
	return nil
}

// nonfinite follows a step whose loss or gradient was not finite. The device has left its update out.
func (r *runner) nonfinite(step *landed) error {
	n := step.Step.Step
	s := &setback{code: "nonfinite", first: n, step: n,
		cause: fmt.Sprintf("the loss is %v and the gradient norm %v: the update was not applied", float64(step.Loss), float64(step.GradNorm))}
	about := map[string]any{"rows": step.rows, "loss": step.Loss, "grad_norm": step.GradNorm}
	if r.unsound++; r.unsound <= diagnoses {
		f, err := r.trainer.diagnose(step)
		if err != nil {
			return err
		}
		r.trainer.last = time.Now()
		if f.tensor != "" {
			about["tensor"], about["unit"] = f.tensor, f.unit
			s.cause += "; the first that was not finite is " + f.tensor
		} else {
			s.cause += "; with the weights after the next step it does not show again"
		}
		if f.rows != nil {
			lines := make([]int, len(f.rows))
			for i, row := range f.rows {
				lines[i] = r.trainer.setup.Train.Samples[row].Line
			}
			about["bad_rows"], about["bad_lines"] = f.rows, lines
			if f.some {
				s.rows = f.rows
			}
			s.cause += fmt.Sprintf(", from rows of %s at lines %v", r.trainer.setup.Train.Name, lines)
		}
	}
	report.Event(r.trainer.host, "warning", "nonfinite_step_skipped", n, about, "%v", s)
	switch r.trainer.cfg.Training.OnNonfinite {
	case "stop":
		return s.stopFor("Lower training.learning_rate, or look at the rows that the event names.")
	case "rollback":
		return s
	}
	if r.unsound == unsoundRow {
		report.Event(r.trainer.host, "error", "nonfinite_persists", n, map[string]any{"steps": unsoundRow},
			"%d steps in a row were not finite: nothing is learnt any more; stop, and start again at a lower learning rate or with training.on_nonfinite \"rollback\"", unsoundRow)
	}
	return nil
}

// diagnoses is how many steps in a row are looked into: what spoils more of them is in the weights.
const diagnoses = 3

// unsoundRow is how many steps in a row without a finite loss are worth saying that this will not pass.
const unsoundRow = 10

// judgeEvaluation follows a loss on the held-out rows: the best weights are kept where they are wanted at the end, and
// patience may run out.
func (r *runner) judgeEvaluation(n int, loss float64) error {
	tr, held := r.trainer.cfg.Training, &r.trainer.watch.HeldOut
	best, overfits := held.take(n, loss, r.trainer.watch.Band.Mean)
	if overfits {
		report.Event(r.trainer.host, "warning", "overfitting", n, map[string]any{"eval_loss": message.Float(loss), "best_step": held.BestStep},
			"the loss on held-out rows has risen %d times in a row, to %.4g, while that of training fell: the model learns its rows by heart; the best was %.4g after step %d", overfitRow, loss, held.Best, held.BestStep)
	}
	switch {
	case best && tr.LoadBest:
		if err := r.trainer.result(bestDir); err != nil {
			return err
		}
		if err := r.trainer.out.Commit(bestDir); err != nil {
			return err
		}
		r.trainer.last = time.Now()
		fallthrough
	case best:
		report.Event(r.trainer.host, "info", "best_model", n, map[string]any{"eval_loss": held.Best}, "the loss on held-out rows is the lowest so far: %.4g", held.Best)
	case tr.Patience > 0 && held.Stale >= tr.Patience:
		r.early = true
		report.Event(r.trainer.host, "info", "early_stopped", n, map[string]any{"best_step": held.BestStep, "best_eval_loss": held.Best},
			"stopped early: %d evaluations without a lower loss than the %.4g after step %d", held.Stale, held.Best, held.BestStep)
	}
	return nil
}

func (r *runner) writeConfig() error {
	run, err := r.trainer.resolved()
	if err == nil {
		r.trainer.host.Emit(message.Envelope{Type: "config", Config: run})
	}
	return err
}

// evaluate adds the loss on the held-out rows to a step's metrics.
func (r *runner) evaluate(step *landed) error {
	m, err := r.trainer.setup.measure(r.trainer.setup.Valid, r.trainer.stepper, r.trainer.host)
	if err != nil {
		return err
	}
	m.into(&step.Step)
	r.trainer.last = time.Now()
	return nil
}

// finish waits for the last step and writes what the run leaves.
func (r *runner) finish() (*message.Done, error) {
	if err := r.report(r.trainer.Flush()); err != nil {
		return nil, err
	}
	if (r.stopped || r.trainer.cfg.Training.SaveSteps > 0) && r.trainer.Done() > r.first {
		if err := r.trainer.Save(); err != nil {
			return nil, err
		}
	}
	if err := r.takeBest(); err != nil {
		return nil, err
	}
	dir := modelDir
	if r.trainer.setup.Model.Method != nil {
		dir = adapterDir
	}
	p := report.NewProgress(r.trainer.host, "save", "", 0)
	if err := r.trainer.result(dir); err != nil {
		return nil, err
	}
	if err := r.trainer.out.Commit(dir); err != nil {
		return nil, err
	}
	p.Update(1, dir)
	device.Trim(r.trainer.dev)
	if r.stopped {
		report.Event(r.trainer.host, "info", "stopped", r.trainer.Done(), nil, "stopped after step %d of %d on request", r.trainer.Done(), r.trainer.Total())
	}
	if err := r.summary(); err != nil {
		return nil, err
	}
	files := []string{dir}
	if r.trainer.cfg.Training.LoadBest && r.trainer.watch.HeldOut.BestStep > 0 {
		files = append(files, bestDir)
	}
	for _, step := range r.trainer.saved {
		files = append(files, checkpointDir(step))
	}
	return &message.Done{Stopped: r.stopped, Files: files}, nil
}

// takeBest makes the weights of the best evaluation the result, where that is asked for.
func (r *runner) takeBest() error {
	held := r.trainer.watch.HeldOut
	if !r.trainer.cfg.Training.LoadBest || held.BestStep == 0 {
		return nil
	}
	best, err := r.trainer.host.Open(bestDir)
	if err != nil {
		return err
	}
	back, err := r.trainer.setup.Model.UseCheckpoint(best)
	if err != nil {
		return err
	}
	defer back()
	report.Event(r.trainer.host, "info", "best_model_loaded", r.trainer.Done(), map[string]any{"step": held.BestStep, "eval_loss": held.Best},
		"the result is that after step %d, whose loss on held-out rows was the lowest: %.4g", held.BestStep, held.Best)
	return r.trainer.mem.load(r.trainer.setup.Model, r.trainer.trained(), r.trainer.host)
}

// summary sends summary.json.
func (r *runner) summary() error {
	r.trainer.weigh()
	for c := range r.trainer.most { // a device that was lost has had its own
		r.peak[c] = max(r.peak[c], r.trainer.most[c])
	}
	trainable, total := r.trainer.setup.Layout.Counts()
	limits := r.trainer.dev.Limits()
	s := map[string]any{
		"adapter":              r.trainer.dev.Info(),
		"adapter_backend":      r.job.AdapterBackend,
		"limits":               limits,
		"trainable_parameters": trainable,
		"total_parameters":     total,
		"recomputed_blocks":    r.trainer.setup.recompute,
		"planned_bytes":        r.trainer.setup.Memory.Usage.Map(),
		"allocated_bytes":      r.peak.Map(),
		"steps":                r.trainer.Done(),
		"load_seconds":         r.loadSeconds,
		"compile_seconds":      r.compileSeconds,
		"dataset":              r.trainer.setup.Train.Stats,
		"skipped_steps":        r.trainer.skipped,
		"loss_scale_overflows": r.trainer.scale.Overflows,
		"rollbacks":            r.backs.all,
		"learning_rate_factor": r.trainer.factor,
	}
	for name, v := range r.before {
		s["start_"+name] = v
	}
	if best := r.trainer.watch.HeldOut; best.BestStep > 0 {
		s["best_step"], s["best_eval_loss"] = best.BestStep, best.Best
	}
	if e := time.Since(r.trainStart).Seconds(); !r.trainStart.IsZero() && e > 0 {
		s["tokens_per_second"] = float64(r.tokens) / e
		s["train_seconds"] = e
		s["seconds_to_first_step"] = r.firstStep
	}
	b, err := json.Marshal(s)
	r.trainer.host.Emit(message.Envelope{Type: "summary", Summary: b})
	return err
}
