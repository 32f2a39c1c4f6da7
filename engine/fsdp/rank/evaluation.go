package rank

import (
	"errors"
	"fmt"
	"math"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// Evaluations of a run in a room. A slot of one is a micro-batch of what measure does alone, so that with the same weights
// both sum the same numbers in the same order.

// evaluation says when a run in a room evaluates and what the slots count; nil where it never does.
func evaluation(s *replay.Setup) (*fsdp.Evaluation, error) {
	tr := s.Config.Training
	if s.Valid == nil || tr.EvalSteps == 0 && !tr.EvalOnStart {
		return nil, nil
	}
	e := &fsdp.Evaluation{Every: tr.EvalSteps, First: tr.EvalOnStart, Classes: s.Model.Decoder.Classes}
	err := s.Batches(s.Valid, func(_ int, b *data.Batch) error { e.Tokens = append(e.Tokens, b.Tokens); return nil })
	if err == nil && len(e.Tokens) > fsdp.MaxSlots {
		err = report.Fail("config", report.ExitConfig, "Lower dataset.validation_split, or raise training.per_device_train_batch_size.", &config.Error{Path: "dataset.validation_split",
			Message: fmt.Sprintf("sets %d micro-batches aside, and a run over several tabs evaluates %d at most", len(e.Tokens), fsdp.MaxSlots)})
	}
	if err == nil && min(s.BatchRows, e.Classes*e.Classes) > fsdp.MaxConfusionCounts {
		err = report.Fail("config", report.ExitConfig, "Lower training.per_device_train_batch_size.", &config.Error{Path: "training.per_device_train_batch_size",
			Message: fmt.Sprintf("is %d, and a run over several tabs evaluates %d rows of %d classes at a time at most", s.BatchRows, fsdp.MaxConfusionCounts, e.Classes)})
	}
	return e, err
}

// evaluateSlot computes a slot of an evaluation.
func (m *member) evaluateSlot(r *fsdp.Ready, stop <-chan struct{}) error {
	first := r.Slot * m.setup.BatchRows
	m.host.Emit(message.Envelope{Type: "progress", Progress: &message.Progress{Phase: "eval", Done: int64(first), Total: int64(len(m.setup.Valid.Samples)), Unit: "rows"}})
	b := m.setup.BatchFrom(m.setup.Valid, first)
	if err := m.loss(r, b, stop); err != nil {
		return err
	}
	r.Tokens = b.Tokens
	if m.run.Eval.Classes == 0 {
		return nil
	}
	confusion := fsdp.Confusion{}
	err := m.trainer.Stepper.CountPredictions(confusion, b)
	r.Confusion = confusion.List()
	return err
}

// loss computes the loss of a batch with the parameters that are here, or are gathered.
func (m *member) loss(r *fsdp.Ready, b *data.Batch, stop <-chan struct{}) (err error) {
	if m.gather == nil {
		end := m.spans.onGPU(message.Span{What: "evaluate", Step: int(r.Step) + 1, Slot: r.Slot})
		r.Loss, err = m.trainer.Stepper.LossSum([]*data.Batch{b})
		return errors.Join(err, end())
	}
	if _, err := m.gather.compute(m.ctx, r.Work, b, 0, stop); err != nil {
		return err
	}
	r.Loss, err = m.trainer.Stepper.ReadLoss()
	return err
}

// Evaluated implements fsdp.Engine. The line of the step that led to the version is complete with it.
func (m *member) Evaluated(e fsdp.Evaluated) {
	found := measuredOf(e)
	m.trainer.Last = time.Now()
	if e.Version == 0 {
		m.loop.StartsFrom(found, m.worker.Version() == 0) // who comes later has not seen it
		return
	}
	step := m.held
	if step == nil || step.Step != int(e.Version) {
		return
	}
	m.held = nil
	found.AddTo(step)
	m.tell(step)
	if int(e.BestStep) < step.Step { // what is the best may have been told to others only
		m.trainer.Watch.HeldOut.Best, m.trainer.Watch.HeldOut.BestStep = e.Best, int(e.BestStep)
	}
	if err := m.loop.JudgeEvaluation(step.Step, found.Loss); err != nil {
		m.failed <- err
	}
}

// measuredOf is what a room's evaluation has found.
func measuredOf(e fsdp.Evaluated) replay.Measured {
	m := replay.Measured{Loss: e.Loss, Tokens: e.Tokens, Accuracy: (*message.Float)(e.Accuracy), F1: (*message.Float)(e.F1)}
	if e.Invalid {
		m.Loss = math.NaN()
	}
	return m
}
