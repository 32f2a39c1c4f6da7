package train

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"llamatab/engine/nn"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// A rollbackRequest is the error by which a step asks the loop to roll the run back.
type rollbackRequest struct {
	code  string // of the failure, if the run ends instead
	first int    // the first step that went wrong
	step  int    // the last step that went wrong: training goes on with the rows after it
	cause string
	rows  []int // of the dataset, which caused it: they are not trained on again
	asked bool  // the person asked for it
}

func (s *rollbackRequest) Error() string { return fmt.Sprintf("step %d: %s", s.step, s.cause) }

// A run that is rolled back more than maxRollbacks times, each less than rollbackClearance steps after the one before, fails
// with advice. Each rollback halves the learning rate, and twenty halvings are a factor of a million: a learning rate that
// was too high is not the cause any more.
const (
	maxRollbacks      = 20
	rollbackClearance = 100
)

// rollbackCount counts the rollbacks of a run.
type rollbackCount struct {
	all      int
	inRow    int // each less than rollbackClearance steps after the one before
	lastStep int // the step that the last one left
}

// fail returns the request as the failure that ends a run, with advice.
func (s *rollbackRequest) fail(next string) error {
	return report.Fail(s.code, report.ExitFailed, next, s)
}

// rollBack restores the weights and the optimizer from the last checkpoint before the request's first step, or from the start
// of the run. Training goes on with the rows after the bad ones at half the learning rate. Rows that caused the request are
// not trained on again. PaLM was restarted some 100 steps back and skipped 200 to 500 batches (Chowdhery et al. 2022,
// arXiv:2204.02311, 5.1).
//
// The step after that checkpoint had a normal loss, which shows that its weights are good.
func (r *Loop) rollBack(s *rollbackRequest) error {
	if s.asked || s.step > r.rollbacks.lastStep+rollbackClearance {
		r.rollbacks.inRow = 0
	}
	if r.rollbacks.inRow == maxRollbacks {
		return s.fail(fmt.Sprintf("The run went back %d times and the learning rate is %.3g now. Set training.learning_rate to a tenth of that, look at the rows that the events name, or use training.warmup_steps.",
			maxRollbacks, r.Trainer.Cfg.Training.LearningRate*r.Trainer.lrFactor))
	}
	r.rollbacks.all, r.rollbacks.inRow, r.rollbacks.lastStep = r.rollbacks.all+1, r.rollbacks.inRow+1, s.step
	if err := r.Trainer.dropInFlight(); err != nil {
		return err
	}
	position := s.step + r.Trainer.dataOffset
	to, err := r.Trainer.restoreBefore(s.first-2, r.Trainer.Trained())
	if err != nil {
		return err
	}
	r.Trainer.dataOffset, r.Trainer.lrFactor = position-r.Trainer.submitted, r.Trainer.lrFactor/2
	r.Trainer.leftOut = append(r.Trainer.leftOut, s.rows...)
	for n := len(r.Trainer.checkpoints); n > 0 && r.Trainer.checkpoints[n-1] > r.Trainer.submitted; n = len(r.Trainer.checkpoints) { // checkpoints after the one that was restored
		r.Trainer.removeCheckpoint(r.Trainer.checkpoints[n-1])
		r.Trainer.checkpoints = r.Trainer.checkpoints[:n-1]
	}
	report.Event(r.Trainer.Host, "warning", "rolled_back", s.step, map[string]any{"from": s.step, "to": r.Trainer.submitted, "learning_rate_factor": r.Trainer.lrFactor, "cause": s.code, "left_out_rows": r.Trainer.leftOut},
		"went back from step %d to %s; going on with the rows after it at %.3g times the learning rate", s.step, to, r.Trainer.lrFactor)
	r.Trainer.lastResult = time.Now()
	return nil
}

// dropInFlight waits for the step in flight and ignores its result.
func (t *Trainer) dropInFlight() error {
	f := t.inFlight
	if t.inFlight = nil; f == nil {
		return nil
	}
	_, err := f.pending.Wait()
	return err
}

// checkpointBefore opens the latest checkpoint whose step is at most latest and whose files hold what was written. One that is
// damaged or gone is reported and passed over. Without a checkpoint it returns nil, the start of the run. A run that was resumed
// has no start, so there the oldest checkpoint is opened.
func (t *Trainer) checkpointBefore(latest int) (from fs.FS, name string, err error) {
	for passed := false; ; passed = true {
		at := -1
		for i, step := range t.checkpoints {
			if step <= latest {
				at = i
			}
		}
		if at < 0 && t.Setup.Model.Files.Resume == nil {
			return nil, "the start of the run", nil
		}
		if len(t.checkpoints) == 0 || at < 0 && passed { // what is left is later than what went wrong
			return nil, "", report.Fail("damaged", report.ExitFailed, "Begin the run again.", errors.New("no earlier checkpoint of the run can be used, and a resumed run has no start to go back to"))
		}
		at = max(at, 0)
		step := t.checkpoints[at]
		var damage error
		if name = checkpointDir(step); step == t.resumedStep {
			from = t.Setup.Model.Files.Resume
			if _, err = pretrained.Verify(from); errors.As(err, new(*pretrained.Damaged)) || errors.Is(err, fs.ErrNotExist) {
				damage, err = err, nil
			}
		} else {
			from, damage, err = t.openSaved(name)
		}
		if damage == nil {
			return from, name, err
		}
		report.Event(t.Host, "warning", "checkpoint_damaged", t.submitted, map[string]any{"path": name}, "%s cannot be used, an earlier state is taken: %v", name, damage)
		t.checkpoints = slices.Delete(t.checkpoints, at, at+1)
	}
}

// restoreBefore restores parameters, the optimizer and the count of steps from checkpointBefore(latest), and returns that
// checkpoint's name. The caller sets the position in the data and the factor on the learning rate.
func (t *Trainer) restoreBefore(latest int, params []*nn.Param) (name string, err error) {
	from, name, err := t.checkpointBefore(latest)
	if err != nil {
		return name, err
	}
	best := t.watch.HeldOut
	var s trainerState
	if from == nil {
		err = errors.Join(t.setPosition(s), t.Mem.Load(t.Setup.Model, params, t.Host), t.Mem.ZeroMoments())
	} else if back, e := t.Setup.Model.UseCheckpoint(from); e != nil {
		err = e
	} else {
		defer back()
		if err = t.Mem.Load(t.Setup.Model, params, t.Host); err == nil {
			s, err = t.restore(from)
		}
	}
	t.watch = s.Watch
	if held := &t.watch.HeldOut; best.BestStep > 0 && (held.BestStep == 0 || best.Best < held.Best) {
		held.Best, held.BestStep = best.Best, best.BestStep // the folder with the best weights is still there
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
