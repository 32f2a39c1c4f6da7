package rank

import (
	"fmt"
	"math"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// evaluation returns when a run over tabs evaluates and the counted tokens of each slot, nil if it never evaluates. A slot is
// a micro-batch of replay.Setup.Measure, so one tab and many add the same losses in the same order.
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

// measuredOf converts the result of a room's evaluation. An invalid loss is NaN.
func measuredOf(e fsdp.Evaluated) replay.Measured {
	m := replay.Measured{Loss: e.Loss, Tokens: e.Tokens, Accuracy: (*message.Float)(e.Accuracy), F1: (*message.Float)(e.F1)}
	if e.Invalid {
		m.Loss = math.NaN()
	}
	return m
}
