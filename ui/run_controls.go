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

// Stop ends the run and keeps what it has trained.
func (r *Run) Stop(vugu.DOMEvent) {
	switch {
	case r.Stage == Loading: // nothing is trained yet: there is nothing to wait for
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

// troubles are the events after which going back is worth offering.
var troubles = []string{"nonfinite_step_skipped", "loss_spike", "spike", "plateau", "overfitting"}

// CanGoBack reports whether something went wrong and there is a checkpoint from before.
func (r *Run) CanGoBack() bool {
	return r.checkpoint() > 0 && slices.ContainsFunc(r.Latest, func(e message.Event) bool { return slices.Contains(troubles, e.Code) })
}

func (r *Run) GoBackText() Text { return r.T("goback", "step", r.checkpoint()) }

// GoBack goes on from the last checkpoint at half the learning rate.
func (r *Run) GoBack(vugu.DOMEvent) {
	if r.Stage.Active() {
		r.control(message.Back)
		return
	}
	r.continueChanged(halve)
}
