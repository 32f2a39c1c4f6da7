package train

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"llamatab/engine/memory"
	"llamatab/engine/nn"
	"llamatab/engine/report"
)

// A setback is a step after which the run should not go on as it is.
type setback struct {
	code  string // of the failure, where it ends the run
	first int    // the first step that went wrong
	step  int    // the last of them: rows up to and with it are left out
	cause string
	rows  []int // of the dataset, known to be at fault: they are left out from then on
	asked bool  // by the person
}

func (s *setback) Error() string { return fmt.Sprintf("step %d: %s", s.step, s.cause) }

// Going back at half the learning rate is of no use forever: a run that needs it more often than maxBacks times
// without getting backClear steps past the place of the trouble is ended with advice. Twenty halvings are a factor of a
// million, which brings down any rate that a slip of the finger gave; what is wrong after that is something else.
const (
	maxBacks  = 20
	backClear = 100
)

// backs counts how often a run has gone back.
type backs struct {
	all  int
	row  int // without getting clear of the place
	last int // the step that was gone back from
}

// stopFor ends a run whose policy says so.
func (s *setback) stopFor(next string) error {
	return report.Fail(s.code, report.ExitFailed, next, s)
}

// goBack follows a setback: the weights and the optimizer are put back to the last checkpoint that is known to be
// sound, or to the start of the run. Training goes on with the rows after the bad ones at half the learning rate. Rows
// that are known to be at fault are not trained on again. PaLM went back some 100 steps and left out 200 to 500 batches (Chowdhery et al. 2022, arXiv:2204.02311, 5.1).
//
// Sound is a checkpoint whose weights have given a loss inside the band: the step after it came before the trouble.
func (r *Loop) goBack(s *setback) error {
	if s.asked || s.step > r.backs.last+backClear {
		r.backs.row = 0
	}
	if r.backs.row == maxBacks {
		return s.stopFor(fmt.Sprintf("The run went back %d times and the learning rate is %.3g now. Set training.learning_rate to a tenth of that, look at the rows that the events name, or use training.warmup_steps.",
			maxBacks, r.Trainer.Cfg.Training.LearningRate*r.Trainer.factor))
	}
	r.backs.all, r.backs.row, r.backs.last = r.backs.all+1, r.backs.row+1, s.step
	if err := r.Trainer.drop(); err != nil {
		return err
	}
	position := s.step + r.Trainer.offset
	to, err := r.Trainer.revert(s.first-2, r.Trainer.Trained())
	if err != nil {
		return err
	}
	r.Trainer.offset, r.Trainer.factor = position-r.Trainer.Submitted, r.Trainer.factor/2
	r.Trainer.leftOut = append(r.Trainer.leftOut, s.rows...)
	for n := len(r.Trainer.saved); n > 0 && r.Trainer.saved[n-1] > r.Trainer.Submitted; n = len(r.Trainer.saved) { // of a way that is given up
		r.Trainer.discard(r.Trainer.saved[n-1])
		r.Trainer.saved = r.Trainer.saved[:n-1]
	}
	report.Event(r.Trainer.Host, "warning", "rolled_back", s.step, map[string]any{"from": s.step, "to": r.Trainer.Submitted, "learning_rate_factor": r.Trainer.factor, "cause": s.code, "left_out_rows": r.Trainer.leftOut},
		"went back from step %d to %s; going on with the rows after it at %.3g times the learning rate", s.step, to, r.Trainer.factor)
	r.Trainer.Last = time.Now()
	return nil
}

// drop forgets the step in flight.
func (t *Trainer) drop() error {
	f := t.flight
	if t.flight = nil; f == nil {
		return nil
	}
	_, err := f.pending.Wait()
	return err
}

// anchor opens the latest checkpoint of at most a step. Without one it is the start of the run, which is nil, or, when
// the run has resumed and that checkpoint is gone, the oldest there is.
func (t *Trainer) anchor(most int) (from fs.FS, name string, err error) {
	at := -1
	for i, step := range t.saved {
		if step <= most {
			at = i
		}
	}
	if at < 0 && t.Setup.Model.Files.Resume == nil {
		return nil, "the start of the run", nil
	}
	step := t.saved[max(at, 0)]
	if name = checkpointDir(step); step == t.resumed {
		return t.Setup.Model.Files.Resume, name, nil
	}
	from, err = t.Host.Open(name)
	return from, name, err
}

// revert puts parameters, the optimizer and the count of steps back to the anchor of a step, and says where that is.
// Where the run stands in its data and the factor on its learning rate are the caller's concern.
func (t *Trainer) revert(most int, params []*nn.Param) (name string, err error) {
	from, name, err := t.anchor(most)
	if err != nil {
		return name, err
	}
	best := t.Watch.HeldOut
	var s trainerState
	if from == nil {
		err = errors.Join(t.place(s), t.Mem.Load(t.Setup.Model, params, t.Host), t.moments(func(_ string, key memory.MomentKey) error { return t.Mem.Zero(key) }))
	} else if back, e := t.Setup.Model.UseCheckpoint(from); e != nil {
		err = e
	} else {
		defer back()
		if err = t.Mem.Load(t.Setup.Model, params, t.Host); err == nil {
			s, err = t.restore(from)
		}
	}
	t.Watch = s.Watch
	if held := &t.Watch.HeldOut; best.BestStep > 0 && (held.BestStep == 0 || best.Best < held.Best) {
		held.Best, held.BestStep = best.Best, best.BestStep // what was kept is still there
	}
	return name, err
}

// Trained lists the parameters that training changes.
func (t *Trainer) Trained() (all []*nn.Param) {
	for _, s := range t.Setup.Layout.Segments {
		all = append(all, s.Params...)
	}
	return all
}
