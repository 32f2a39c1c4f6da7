package ui

import (
	"slices"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Pause pauses or resumes.
func (r *Run) Pause(vugu.DOMEvent) {
	switch r.Stage {
	case Training:
		r.Stage = Paused
		r.control(message.Pause)
	case Paused:
		r.Stage, r.PauseReached = Training, false
		r.control(message.Resume)
	}
}

// Single takes one step and pauses.
func (r *Run) Single(vugu.DOMEvent) {
	if r.Stage == Training {
		r.control(message.Pause)
	}
	if r.Stage == Training || r.Stage == Paused {
		r.Stage = Paused
		r.control(message.Single)
	}
}

// Stop ends the run and saves the result.
func (r *Run) Stop(vugu.DOMEvent) {
	switch {
	case r.Stage == Loading: // nothing is trained yet, so there is nothing to save
		r.Stage, r.Waiting = Stopped, nil
		r.ended()
		r.page.refresh(time.Now())
	case r.Stage.Active():
		r.Stage = Stopping
		r.control(message.Stop)
	}
}

func (r *Run) control(c message.Control) {
	r.page.browser.ControlEngine(runEngine, c)
	r.page.refresh(time.Now())
}

// PauseText is what the pause button says.
func (r *Run) PauseText() Text {
	if r.Stage == Paused {
		return r.T("resume")
	}
	return r.T("pause")
}

// troubles are the events after which the page offers to go back to a checkpoint.
var troubles = []string{"nonfinite_step_skipped", "loss_spike", "spike", "plateau", "overfitting"}

// CanGoBack reports whether something went wrong and the run has a checkpoint.
func (r *Run) CanGoBack() bool {
	return r.checkpoint() > 0 && slices.ContainsFunc(r.Latest, func(e message.Event) bool { return slices.Contains(troubles, e.Code) })
}

func (r *Run) GoBackText() Text { return r.T("goback", "step", r.checkpoint()) }

// GoBack continues from the last checkpoint with half the learning rate.
func (r *Run) GoBack(vugu.DOMEvent) {
	if r.Stage.Active() {
		r.control(message.Back)
		return
	}
	r.continueChanged(halve)
}
