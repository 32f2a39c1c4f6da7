package train

import (
	"time"

	"llamatab/engine/message"
	"llamatab/engine/replay"
)

// In a run over tabs the room decides the steps. A rank computes parts of them, and calls the methods of this file in place
// of Run to record the steps of the whole run.

// Follow begins a run whose steps the room decides.
func (r *Loop) Follow() error {
	if err := r.WriteConfig(); err != nil {
		return err
	}
	r.trainStart = time.Now()
	r.RestartStepTime()
	return nil
}

// RestartStepTime leaves the time until now out of the duration of the next step.
func (r *Loop) RestartStepTime() { r.Trainer.lastResult = time.Now() }

// FollowStep completes the metrics of a step that the room has committed. inputs are the tokens that the model has read since
// the step that was followed before.
func (r *Loop) FollowStep(step *message.Step, applied bool, inputs int64) {
	t, now := r.Trainer, time.Now()
	t.submitted = step.Step
	t.inputsSeen += inputs
	step.NumInputTokensSeen = t.inputsSeen
	step.StepSeconds = now.Sub(t.lastResult).Seconds()
	step.TokensPerSecond = float64(step.Tokens) / max(step.StepSeconds, 1e-9)
	step.GPUBytes = t.Dev.Usage().Total()
	t.lastResult = now
	r.tokens += int64(step.Tokens)
	if r.firstStepSeconds == 0 {
		r.firstStepSeconds = now.Sub(r.Options.Start).Seconds()
	}
	if applied && step.Tokens > 0 {
		t.watch.Band.Spike(float64(step.Loss)) // evaluations are compared with the mean of the training losses
	}
}

// FollowEvaluation checks an evaluation that the room has made of a step. best is the lowest held-out loss so far and bestStep
// its step: a tab that joined late has not seen the evaluations before.
func (r *Loop) FollowEvaluation(step int, found replay.Measured, best float64, bestStep int) error {
	if held := &r.Trainer.watch.HeldOut; bestStep < step {
		held.Best, held.BestStep = best, bestStep
	}
	return r.checkEvaluation(step, found.Loss)
}

// Rows returns the rows of the dataset of a step, counted from 0, by micro-batch.
func (t *Trainer) Rows(step int) [][]int { return t.sampler.Step(step) }
