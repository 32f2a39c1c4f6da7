package train

import (
	"llamatab/engine/data"
	"llamatab/engine/replay"
)

// finding is the cause of a step that was not finite.
type finding struct {
	tensor string // the first with a NaN or an infinity, for people; "" if it was not found
	unit   string
	rows   []int // of the dataset: those that cause it alone, or all of the micro-batch if none does
	some   bool  // only some rows of the micro-batch cause it, so they are at fault and not the weights
}

// diagnose runs the micro-batches of a step again and finds the tensor that was the first, in the order of execution,
// to hold a NaN or an infinity, and the rows that it came from. The step has not changed the weights, but the step after it,
// which is submitted already, may have. Then everything may be finite now, and tensor is "".
//
// The programs are those of the step. After each of their launches another launch checks the values that were written.
func (t *Trainer) diagnose(l *stepResult) (f finding, err error) {
	if err := t.Stepper.Run(t.Stepper.ClearWork()); err != nil {
		return f, err
	}
	for k, rows := range l.rows {
		b, err := t.Collate(rows)
		if err != nil {
			return f, err
		}
		p, err := t.Stepper.Inspect(replay.ProgramKey{T: b.T, Gradients: true, Stage: t.Setup.StageAt(l.Step.Step - 1)})
		if err != nil {
			return f, err
		}
		defer p.Free()
		seed := replay.MaskSeed(t.Cfg.Training.Seed, l.position, k)
		first, err := p.Run(b, seed)
		if err != nil {
			return f, err
		}
		if first == nil {
			continue
		}
		f.tensor, f.unit = replay.NameOf(*first)
		for i, row := range rows { // each row alone, at its place in the micro-batch
			alone := make([]data.Sample, len(rows))
			if alone[i], err = t.Setup.Train.Row(row); err != nil {
				return f, err
			}
			if err := t.Stepper.Run(t.Stepper.ClearWork()); err != nil {
				return f, err
			}
			if first, err = p.Run(t.Setup.BatchOf(alone, b.T), seed); err != nil {
				return f, err
			} else if first != nil {
				f.rows = append(f.rows, row)
			}
		}
		f.some = len(f.rows) > 0 && len(f.rows) < len(rows)
		if f.rows == nil {
			f.rows = rows
		}
		return f, nil
	}
	if l.overflow != "" { // every gradient is finite, but a sum of their squares is not
		f.tensor, f.unit = "the sum of squares of the gradients of "+l.overflow, l.overflow
	}
	return f, nil
}
