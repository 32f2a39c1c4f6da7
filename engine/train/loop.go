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
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// Folders that a run writes its result to.
const (
	AdapterDir = "adapter"
	ModelDir   = "model"
)

// bestDir is the folder of the weights with the lowest loss on the held-out rows.
const bestDir = "best"

// Options are what a training run needs besides its setup.
type Options struct {
	Host    report.Host
	Open    func(*replay.Setup) (device.Device, error) // opens the device again after it was lost
	Backend string                                     // of WebGPU in the browser, for summary.json
	Samples *message.SampleJob                         // nil for none
	Start   time.Time                                  // of the job
}

// NewLoop makes a training run on dev ready for its first step: it loads the values and compiles the programs.
func NewLoop(setup *replay.Setup, cfg *config.Config, dev device.Device, o Options) (_ *Loop, err error) {
	r := &Loop{Options: o}
	if r.Trainer, err = New(setup, cfg, dev, o.Host); err != nil {
		dev.Close()
		return nil, err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.samples, err = newSamples(setup, o.Samples); err != nil {
		return nil, err
	}
	loading := time.Now()
	if err := r.Trainer.Load(); err != nil {
		return nil, err
	}
	loaded := time.Now()
	if err := r.Trainer.Build(); err != nil {
		return nil, err
	}
	r.loadSeconds, r.compileSeconds = loaded.Sub(loading).Seconds(), time.Since(loaded).Seconds()
	return r, nil
}

// Loop drives a Trainer through a run: controls, metrics, evaluation, checkpoints, and reactions to the losses.
type Loop struct {
	Trainer          *Trainer
	Options          Options
	loadSeconds      float64
	compileSeconds   float64
	trainStart       time.Time
	firstStepSeconds float64 // from the start of the job to the first result
	tokens           int64   // counted tokens of all steps
	first            int     // steps done before this run
	peak             device.Usage
	rollbacks        rollbackCount
	lostAt           time.Time // when the device was lost last
	nonfiniteInRow   int       // steps in a row whose loss or gradient was not finite
	stopped          bool      // by the person
	outOfPatience    bool      // the held-out loss has not improved for training.early_stopping_patience evaluations
	paused           bool
	saveNow          bool // the person asked for a checkpoint
	measureFirst     bool // samples and held-out loss before training are still to be measured
	samples          *samples
	startMetrics     map[string]any // on held-out rows before training, by the names of metrics
}

// Run trains to the last step, or until the person stops the run, and writes the result.
func (r *Loop) Run(ctx context.Context) (*message.Done, error) {
	r.first = r.Trainer.Done()
	if err := r.WriteConfig(); err != nil {
		return nil, err
	}
	if err := r.Summary(); err != nil { // the plan is recorded even if the run fails later
		return nil, err
	}
	r.measureFirst = r.first == 0
	r.trainStart = time.Now()
	for {
		done, err := r.advance(ctx)
		if s, ok := err.(*rollbackRequest); ok { // a wrapped request is a failure, which ends the run
			err = r.rollBack(s)
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
func (r *Loop) advance(ctx context.Context) (*message.Done, error) {
	if err := r.control(ctx); err != nil {
		return nil, err
	}
	if r.stopped || r.outOfPatience || r.Trainer.Done() >= r.Trainer.Total() {
		return r.finish()
	}
	if r.measureFirst && !r.nextUpdateIsZero() {
		if err := r.reportStep(r.Trainer.Flush()); err != nil {
			return nil, err
		}
		if err := r.evaluateFirst(); err != nil {
			return nil, err
		}
	}
	if err := r.reportStep(r.Trainer.Step(ctx)); err != nil {
		return nil, err
	}
	tr := r.Trainer.Cfg.Training
	sample := r.samples.due(r.Trainer.Done()) || r.samples != nil && r.Trainer.Done() == r.Trainer.Total()
	evaluate := tr.EvalSteps > 0 && r.Trainer.Done()%tr.EvalSteps == 0 && r.Trainer.Setup.Valid != nil
	save := tr.SaveSteps > 0 && r.Trainer.Done()%tr.SaveSteps == 0 || r.saveNow
	r.saveNow = false
	if evaluate || save || sample {
		step, err := r.Trainer.Flush()
		if err == nil && evaluate && step != nil {
			err = r.evaluate(step)
		}
		if err := r.reportStep(step, err); err != nil {
			return nil, err
		}
	}
	if save {
		if err := r.Trainer.Save(); err != nil {
			return nil, err
		}
		r.Trainer.lastResult = time.Now()
	}
	if sample {
		return nil, r.sample(r.Trainer.Done())
	}
	return nil, nil
}

// nextUpdateIsZero reports whether the next update changes no weight, because the first step of a warm-up has the learning
// rate 0. Such a step is run before samples and evaluation, so that a person sees a first loss early.
func (r *Loop) nextUpdateIsZero() bool {
	m, err := Schedule(&r.Trainer.Cfg.Training, r.Trainer.Total()).Multiplier(r.Trainer.Done())
	return err == nil && m == 0
}

// evaluateFirst measures the model before training: it writes samples and evaluates the held-out rows, if the run asks for
// that.
func (r *Loop) evaluateFirst() error {
	r.measureFirst = false
	if r.samples != nil {
		if err := r.sample(0); err != nil {
			return err
		}
	}
	if !r.Trainer.Cfg.Training.EvalOnStart || r.Trainer.Setup.Valid == nil {
		return nil
	}
	m, err := r.Trainer.Setup.Measure(r.Trainer.Setup.Valid, r.Trainer.Stepper, r.Trainer.Host)
	if err != nil {
		return err
	}
	r.Trainer.lastResult = time.Now()
	r.RecordStart(m, true)
	return nil
}

// RecordStart keeps what was measured before training for the summary. With event set it reports it as an event, too.
func (r *Loop) RecordStart(m replay.Measured, event bool) {
	r.startMetrics = map[string]any{"eval_loss": message.Float(m.Loss), "perplexity": replay.Perplexity(m.Loss)}
	if m.Accuracy != nil {
		r.startMetrics["eval_accuracy"], r.startMetrics["eval_f1"] = m.Accuracy, m.F1
	}
	if event {
		report.Event(r.Trainer.Host, "info", "evaluated_on_start", 0, r.startMetrics, "before training the loss on held-out rows is %.4g", m.Loss)
	}
}

// sample continues the prompts after a step. If that fails, the run goes on without samples.
func (r *Loop) sample(step int) error {
	err := r.samples.write(r.Trainer, step)
	if err != nil && !errors.Is(err, device.ErrLost) {
		report.Event(r.Trainer.Host, "warning", "samples_failed", r.Trainer.Done(), nil, "no samples: %v", err)
		r.samples, err = nil, nil
	}
	r.Trainer.lastResult = time.Now()
	return err
}

// control follows the commands of the person. It blocks while the run is paused.
func (r *Loop) control(ctx context.Context) error {
	if r.paused { // after a single step
		if err := r.reportStep(r.Trainer.Flush()); err != nil {
			return err
		}
	}
	for {
		switch r.Trainer.Host.Control() {
		case message.Stop:
			r.stopped, r.paused = true, false
		case message.Pause:
			if !r.paused {
				r.paused = true
				if err := r.reportStep(r.Trainer.Flush()); err != nil {
					return err
				}
				report.Event(r.Trainer.Host, "info", "paused", r.Trainer.Done(), nil, "paused after step %d", r.Trainer.Done())
			}
		case message.Single:
			r.paused, r.Trainer.lastResult = true, time.Now()
			return ctx.Err()
		case message.Resume:
			r.paused, r.Trainer.lastResult = false, time.Now()
			report.Event(r.Trainer.Host, "info", "continued", r.Trainer.Done(), nil, "going on")
		case message.Save:
			r.saveNow = true
		case message.Back:
			if err := r.reportStep(r.Trainer.Flush()); err != nil {
				return err
			}
			if r.Trainer.Done() > 0 {
				return &rollbackRequest{code: "asked", asked: true, first: r.Trainer.Done() + 1, step: r.Trainer.Done()}
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

// reportStep sends the metrics of a step and checks its loss. It returns err, which came with the step, after that.
func (r *Loop) reportStep(step *stepResult, err error) error {
	if step == nil {
		return err
	}
	if r.firstStepSeconds == 0 {
		r.firstStepSeconds = time.Since(r.Options.Start).Seconds()
	}
	r.tokens += int64(step.Tokens)
	done, total := int64(step.Step.Step), int64(r.Trainer.Total())
	r.Trainer.Host.Emit(message.Envelope{Type: "step", Step: &step.Step}, message.Envelope{Type: "progress", Progress: &message.Progress{
		Phase: "train", Done: done, Total: total, Unit: "steps",
		ETASeconds: time.Since(r.trainStart).Seconds() / float64(max(done-int64(r.first), 1)) * float64(total-done),
	}})
	if err == nil {
		err = r.checkStep(step)
	}
	if err == nil && step.EvalLoss != nil {
		err = r.checkEvaluation(step.Step.Step, float64(*step.EvalLoss))
	}
	return err
}

// checkStep reports what is unusual about the loss of a step, and follows training.on_spike and training.on_nonfinite.
func (r *Loop) checkStep(step *stepResult) error {
	n := step.Step.Step
	if step.scaled { // the next step has half the loss scale
		return nil
	}
	if step.applied {
		r.nonfiniteInRow = 0
	} else if err := r.nonfinite(step); err != nil {
		return err
	}
	if step.Tokens == 0 {
		report.Event(r.Trainer.Host, "warning", "step_without_tokens", n, map[string]any{"rows": step.rows}, "step %d has no token to train on", n)
		return nil
	}
	loss, band := float64(step.Loss), &r.Trainer.watch.Band
	if band.Spike(loss) {
		s := &rollbackRequest{code: "loss_spike", first: n - band.Above + 1, step: n, cause: fmt.Sprintf("the loss %.4g is far above the %.4g of the steps before", loss, band.Mean)}
		report.Event(r.Trainer.Host, "warning", "loss_spike", n, map[string]any{"loss": step.Loss, "expected": band.Mean, "steps": band.Above, "rows": step.rows}, "%v", s)
		switch r.Trainer.Cfg.Training.OnSpike {
		case "stop":
			return s.fail("Lower training.learning_rate, add training.warmup_steps, or set training.on_spike to \"rollback\".")
		case "rollback":
			return s
		}
	} else if step.applied && band.Above == 0 && r.Trainer.watch.Plateau.take(n, band.Mean) {
		report.Event(r.Trainer.Host, "info", "plateau", n, map[string]any{"loss": band.Mean, "steps": plateauSteps},
			"the loss has stayed at about %.4g for %d steps: stop here, or train more weights or with another learning rate", band.Mean, plateauSteps)
	}
	return nil
}

// nonfinite reports a step whose loss or gradient was not finite and follows training.on_nonfinite. The device has not
// applied its update.
func (r *Loop) nonfinite(step *stepResult) error {
	n := step.Step.Step
	s := &rollbackRequest{code: "nonfinite", first: n, step: n,
		cause: fmt.Sprintf("the loss is %v and the gradient norm %v: the update was not applied", float64(step.Loss), float64(step.GradNorm))}
	about := map[string]any{"rows": step.rows, "loss": step.Loss, "grad_norm": step.GradNorm}
	if r.nonfiniteInRow++; r.nonfiniteInRow <= diagnoses {
		f, err := r.Trainer.diagnose(step)
		if err != nil {
			return err
		}
		r.Trainer.lastResult = time.Now()
		if f.tensor != "" {
			about["tensor"], about["unit"] = f.tensor, f.unit
			s.cause += "; the first that was not finite is " + f.tensor
		} else {
			s.cause += "; with the weights after the next step it does not show again"
		}
		if f.rows != nil {
			var lines []int
			for _, row := range f.rows {
				lines = append(lines, r.Trainer.Setup.Train.RowLines(row)...)
			}
			about["bad_rows"], about["bad_lines"] = f.rows, lines
			if f.some {
				s.rows = f.rows
			}
			s.cause += fmt.Sprintf(", from rows of %s at lines %v", r.Trainer.Setup.Train.Name, lines)
		}
	}
	report.Event(r.Trainer.Host, "warning", "nonfinite_step_skipped", n, about, "%v", s)
	switch r.Trainer.Cfg.Training.OnNonfinite {
	case "stop":
		return s.fail("Lower training.learning_rate, or look at the rows that the event names.")
	case "rollback":
		return s
	}
	if r.nonfiniteInRow == nonfinitePersists {
		report.Event(r.Trainer.Host, "error", "nonfinite_persists", n, map[string]any{"steps": nonfinitePersists},
			"%d steps in a row were not finite: nothing is learnt any more; stop, and start again at a lower learning rate or with training.on_nonfinite \"rollback\"", nonfinitePersists)
	}
	return nil
}

// diagnoses is how many steps in a row are searched for the cause. If more are not finite, the weights are the cause.
const diagnoses = 3

// nonfinitePersists is the number of steps in a row without a finite loss after which an error is reported.
const nonfinitePersists = 10

// checkEvaluation follows the loss on the held-out rows after a step: it reports overfitting, saves the best weights with
// training.load_best_model_at_end, and ends the run when its patience has run out.
func (r *Loop) checkEvaluation(n int, loss float64) error {
	tr, held := r.Trainer.Cfg.Training, &r.Trainer.watch.HeldOut
	best, overfits := held.take(n, loss, r.Trainer.watch.Band.Mean)
	if overfits {
		report.Event(r.Trainer.Host, "warning", "overfitting", n, map[string]any{"eval_loss": message.Float(loss), "best_step": held.BestStep},
			"the loss on held-out rows has risen %d times in a row, to %.4g, while that of training fell: the model learns its rows by heart; the best was %.4g after step %d", overfitRow, loss, held.Best, held.BestStep)
	}
	switch {
	case best && tr.LoadBest:
		if err := r.Trainer.writeBest(); err != nil {
			return err
		}
		r.Trainer.lastResult = time.Now()
		fallthrough
	case best:
		report.Event(r.Trainer.Host, "info", "best_model", n, map[string]any{"eval_loss": held.Best}, "the loss on held-out rows is the lowest so far: %.4g", held.Best)
	case tr.Patience > 0 && held.Stale >= tr.Patience:
		r.outOfPatience = true
		report.Event(r.Trainer.Host, "info", "early_stopped", n, map[string]any{"best_step": held.BestStep, "best_eval_loss": held.Best},
			"stopped early: %d evaluations without a lower loss than the %.4g after step %d", held.Stale, held.Best, held.BestStep)
	}
	return nil
}

// WriteConfig sends run.json with every default.
func (r *Loop) WriteConfig() error {
	run, err := r.Trainer.resolved()
	if err == nil {
		r.Trainer.Host.Emit(message.Envelope{Type: "config", Config: run})
	}
	return err
}

// evaluate adds the loss on the held-out rows to a step's metrics.
func (r *Loop) evaluate(step *stepResult) error {
	m, err := r.Trainer.Setup.Measure(r.Trainer.Setup.Valid, r.Trainer.Stepper, r.Trainer.Host)
	if err != nil {
		return err
	}
	m.AddTo(&step.Step)
	r.Trainer.lastResult = time.Now()
	return nil
}

// finish waits for the last step and writes the last checkpoint, the result and the summary.
func (r *Loop) finish() (*message.Done, error) {
	if err := r.reportStep(r.Trainer.Flush()); err != nil {
		return nil, err
	}
	if r.stopped && r.Trainer.Done() == 0 { // the weights are the untrained ones
		report.Event(r.Trainer.Host, "info", "stopped", 0, nil, "stopped before the first step on request: nothing is saved")
		return &message.Done{Stopped: true}, r.Summary()
	}
	if (r.stopped || r.Trainer.Cfg.Training.SaveSteps > 0) && r.Trainer.Done() > r.first {
		if err := r.Trainer.Save(); err != nil {
			return nil, err
		}
	}
	if err := r.takeBest(); err != nil {
		return nil, err
	}
	dir := r.Trainer.ResultDir()
	p := report.NewProgress(r.Trainer.Host, "save", "", 0)
	if err := r.Trainer.WriteResult(dir); err != nil {
		return nil, err
	}
	p.Update(1, dir)
	device.Trim(r.Trainer.Dev)
	if r.stopped {
		report.Event(r.Trainer.Host, "info", "stopped", r.Trainer.Done(), nil, "stopped after step %d of %d on request", r.Trainer.Done(), r.Trainer.Total())
	}
	if err := r.Summary(); err != nil {
		return nil, err
	}
	files := []string{dir}
	if r.Trainer.Cfg.Training.LoadBest && r.Trainer.watch.HeldOut.BestStep > 0 {
		files = append(files, bestDir)
	}
	for _, step := range r.Trainer.checkpoints {
		files = append(files, checkpointDir(step))
	}
	return &message.Done{Stopped: r.stopped, Files: files}, nil
}

// takeBest loads the weights of the best evaluation with training.load_best_model_at_end, so that they become the result.
func (r *Loop) takeBest() error {
	held := r.Trainer.watch.HeldOut
	if !r.Trainer.Cfg.Training.LoadBest || held.BestStep == 0 {
		return nil
	}
	best, damage, err := r.Trainer.openSaved(bestDir)
	if err != nil {
		return err
	}
	if damage != nil {
		report.Event(r.Trainer.Host, "warning", "best_model_damaged", r.Trainer.Done(), map[string]any{"step": held.BestStep},
			"%s, the weights after step %d, cannot be used: the result is that after step %d (%v)", bestDir, held.BestStep, r.Trainer.Done(), damage)
		return nil
	}
	back, err := r.Trainer.Setup.Model.UseCheckpoint(best)
	if err != nil {
		return err
	}
	defer back()
	report.Event(r.Trainer.Host, "info", "best_model_loaded", r.Trainer.Done(), map[string]any{"step": held.BestStep, "eval_loss": held.Best},
		"the result is that after step %d, whose loss on held-out rows was the lowest: %.4g", held.BestStep, held.Best)
	return r.Trainer.Mem.Load(r.Trainer.Setup.Model, r.Trainer.Trained(), r.Trainer.Host)
}

// Summary sends summary.json.
func (r *Loop) Summary() error {
	r.Trainer.recordUsage()
	for c := range r.Trainer.peak { // a device that was lost has a peak of its own
		r.peak[c] = max(r.peak[c], r.Trainer.peak[c])
	}
	trainable, total := r.Trainer.Setup.Layout.Counts()
	limits := r.Trainer.Dev.Limits()
	s := map[string]any{
		"adapter":              r.Trainer.Dev.Info(),
		"adapter_backend":      r.Options.Backend,
		"limits":               limits,
		"trainable_parameters": trainable,
		"total_parameters":     total,
		"recomputed_blocks":    r.Trainer.Setup.Recompute,
		"planned_bytes":        r.Trainer.Setup.Memory.Usage.Map(),
		"allocated_bytes":      r.peak.Map(),
		"steps":                r.Trainer.Done(),
		"load_seconds":         r.loadSeconds,
		"compile_seconds":      r.compileSeconds,
		"dataset":              r.Trainer.Setup.Train.Stats,
		"skipped_steps":        r.Trainer.skipped,
		"loss_scale_overflows": r.Trainer.scale.Overflows,
		"rollbacks":            r.rollbacks.all,
		"learning_rate_factor": r.Trainer.lrFactor,
	}
	for name, v := range r.startMetrics {
		s["start_"+name] = v
	}
	if best := r.Trainer.watch.HeldOut; best.BestStep > 0 {
		s["best_step"], s["best_eval_loss"] = best.BestStep, best.Best
	}
	if e := time.Since(r.trainStart).Seconds(); !r.trainStart.IsZero() && e > 0 {
		s["tokens_per_second"] = float64(r.tokens) / e
		s["train_seconds"] = e
		s["seconds_to_first_step"] = r.firstStepSeconds
	}
	b, err := json.Marshal(s)
	r.Trainer.Host.Emit(message.Envelope{Type: "summary", Summary: b})
	return err
}
