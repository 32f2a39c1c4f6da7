package train

import (
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/replay"
)

// finding is what first went wrong in a step that was not finite.
type finding struct {
	tensor string
	unit   string
	rows   []int // of the dataset: those that do it alone, or all of the micro-batch where none does
	some   bool  // only some of the micro-batch's rows do it, so the cause is in them and not in the weights
}

// diagnose runs the micro-batches of a step again and finds the tensor that was the first, in the order of execution,
// to hold a NaN or an infinity, and the rows that it came from. The step has left the weights as they were. The one after
// it, which is submitted already, may have changed them since: then the trouble may not show again, and tensor is "".
//
// The programs are those of the step with a launch after each of its launches that looks at what it has written.
func (t *Trainer) diagnose(l *landed) (f finding, err error) {
	if err := t.Stepper.Run(device.Work{Run: t.Stepper.Begin.Executable}); err != nil {
		return f, err
	}
	for k, rows := range l.rows {
		b := t.Collate(rows)
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
		for i, row := range rows { // alone, each in its own place
			alone := make([]data.Sample, len(rows))
			alone[i] = t.Setup.Train.Samples[row]
			if err := t.Stepper.Run(device.Work{Run: t.Stepper.Begin.Executable}); err != nil {
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
	if l.overflow != "" { // every gradient is finite, their squares are not
		f.tensor, f.unit = "the sum of squares of the gradients of "+l.overflow, l.overflow
	}
	return f, nil
}
