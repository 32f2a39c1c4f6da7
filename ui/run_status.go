package ui

import (
	"strconv"

	"llamatab/engine/message"
)

// Title names the run.
func (r *Run) Title() Text {
	if r.ID == "" {
		return r.T("run")
	}
	return Text(r.Meta.Name)
}

// Status is one sentence about the state of the run.
func (r *Run) Status() string {
	if me := r.page.Room.ownTab(); r.InRoom() && me != nil && me.State != message.TabLoading && (r.Stage == Loading || r.Stage == Training && r.page.Room.Phase() == message.RoomPaused) {
		return string(r.page.Room.StatusText())
	}
	switch r.Stage {
	case Loading:
		if r.Waiting == nil {
			return r.say("status.starting")
		}
	case Training:
		if r.Waiting == nil && r.Last.Step == 0 {
			return r.say("phase.train")
		} else if r.Waiting == nil {
			return r.say("status.training", "step", r.Last.Step, "total", r.Total, "loss", r.LossText())
		}
	case Paused:
		if r.PauseReached {
			return r.say("status.paused", "step", r.Last.Step)
		}
		return r.say("status.pausing")
	case Stopping:
		if r.Waiting == nil {
			return r.say("status.stopping")
		}
	case Done:
		return r.say("status.done", "step", r.Last.Step, "loss", r.LossText())
	case Stopped:
		if r.Last.Step == 0 {
			return r.say("status.ended")
		}
		return r.say("status.stopped", "step", r.Last.Step)
	case Cut:
		return r.say("status.cut", "step", r.Last.Step)
	case Failed:
		if r.Last.Step == 0 {
			return r.say("status.unbegun")
		}
		return r.say("status.failed", "step", r.Last.Step)
	default:
		if r.canStart {
			return r.say("status.ready")
		}
		return r.say("status.idle")
	}
	text := r.phaseText()
	if r.Waiting.Total > 0 {
		text += " · " + r.say("amount", "done", amount(r.Waiting.Done, r.Waiting.Unit), "total", amount(r.Waiting.Total, r.Waiting.Unit))
	}
	if r.eta > 0 {
		text += " · " + r.say("eta", "time", r.Duration(r.eta))
	}
	return text
}

func (r *Run) phaseText() string {
	text := r.Waiting.Phase
	if key := "phase." + text; r.Has(key) {
		text = r.say(key)
	}
	if r.Waiting.Detail != "" {
		text += " (" + r.Waiting.Detail + ")"
	}
	return text
}

// amount formats a progress value. Only bytes have their unit.
func amount(n int64, unit string) string {
	if unit == "bytes" {
		return Bytes(n)
	}
	return strconv.FormatInt(n, 10)
}

// Bar is the progress bar's value between 0 and 1, nil where it is unknown.
func (r *Run) Bar() any {
	done, total := int64(r.Last.Step), int64(r.Total)
	switch {
	case r.Stage == Done:
		done, total = 1, 1
	case r.Waiting != nil:
		done, total = r.Waiting.Done, r.Waiting.Total
	case r.Stage == Loading:
		total = 0
	}
	if total <= 0 {
		return nil
	}
	return strconv.FormatFloat(min(float64(done)/float64(total), 1), 'f', 3, 64)
}
