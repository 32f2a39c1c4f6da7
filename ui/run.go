package ui

import (
	"math"
	"strconv"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Stage is where a run stands.
type Stage string

const (
	Idle     Stage = "idle"
	Loading  Stage = "loading" // until the first step is done
	Training Stage = "training"
	Paused   Stage = "paused"
	Stopping Stage = "stopping"
	Done     Stage = "done"
	Stopped  Stage = "stopped" // ended by the person, saved
	Failed   Stage = "failed"
)

// Active reports whether the engine is at work.
func (s Stage) Active() bool { return s == Loading || s == Training || s == Paused || s == Stopping }

// eventsKept is how many of the latest events the panel shows; events.jsonl has all.
const eventsKept = 50

// Run is the panel of a run: it grows by what the engine says.
type Run struct {
	*Words
	Stage   Stage
	Total   int               // steps the run will take
	Waiting *message.Progress // what is being waited for, nil while steps are made
	Last    message.Step
	Curve   Curve
	Latest  []message.Event // newest first
	Failure *message.Failed
	Still   bool // paused, and the last step is done
	Packing bool // the result is being packed for download

	files map[string]int64 // the result: size by path
	since time.Time        // when the phase of Waiting began
	eta   float64          // seconds that remain of it, 0 unknown
	pace  float64          // seconds a step, smoothed

	page *Page
}

// begin forgets the last run.
func (r *Run) begin(steps int) {
	*r = Run{Words: r.Words, page: r.page, Stage: Loading, Total: steps, files: map[string]int64{}}
}

// take follows one message of the engine.
func (r *Run) take(now time.Time, e message.Envelope) {
	switch {
	case e.Progress != nil:
		r.progress(now, e.Progress)
	case e.Step != nil:
		r.step(e.Step)
	case e.Event != nil:
		r.Still = e.Event.Code == "paused" || r.Still && e.Event.Code != "continued"
		r.Latest = append([]message.Event{*e.Event}, r.Latest[:min(len(r.Latest), eventsKept-1)]...)
	case e.Failed != nil:
		r.Failure, r.Stage, r.Waiting = e.Failed, Failed, nil
	case e.Done != nil:
		r.Stage, r.Waiting = Done, nil
		if e.Done.Stopped {
			r.Stage = Stopped
		}
	}
}

func (r *Run) progress(now time.Time, p *message.Progress) {
	if p.Phase == "train" {
		if p.Total > 0 {
			r.Total = int(p.Total)
		}
		r.Waiting = nil
		if r.Stage == Loading {
			r.Stage = Training
		}
		return
	}
	if r.Waiting == nil || r.Waiting.Phase != p.Phase {
		r.since = now
	}
	r.Waiting, r.eta = p, p.ETASeconds
	// Where the engine makes no forecast, what is left takes as long as what is done took, after a second of it.
	if elapsed := now.Sub(r.since).Seconds(); r.eta == 0 && elapsed >= 1 && p.Done > 0 && p.Total > p.Done {
		r.eta = elapsed * float64(p.Total-p.Done) / float64(p.Done)
	}
}

func (r *Run) step(s *message.Step) {
	r.Last, r.Waiting = *s, nil
	r.Curve.Add(s.Step, float64(s.Loss))
	if r.pace == 0 {
		r.pace = s.StepSeconds
	}
	r.pace = 0.9*r.pace + 0.1*s.StepSeconds
	if r.Stage == Loading {
		r.Stage = Training
	}
}

// Pause pauses or resumes.
func (r *Run) Pause(vugu.DOMEvent) {
	switch r.Stage {
	case Training:
		r.Stage = Paused
		r.page.host.Control(message.Pause)
	case Paused:
		r.Stage, r.Still = Training, false
		r.page.host.Control(message.Resume)
	}
	r.page.refresh(time.Now())
}

// Stop ends the run and keeps what it has trained.
func (r *Run) Stop(vugu.DOMEvent) {
	switch {
	case r.Stage == Loading: // nothing is trained yet: there is nothing to wait for
		r.Stage, r.Waiting = Stopped, nil
		r.page.host.End()
	case r.Stage.Active():
		r.Stage = Stopping
		r.page.host.Control(message.Stop)
	}
	r.page.refresh(time.Now())
}

// Download hands the result over.
func (r *Run) Download(vugu.DOMEvent) {
	if !r.Packing {
		r.Packing = true
		r.page.host.Download("llamatab-" + r.page.Setup.Model.Name + ".zip")
	}
}

// PauseText is what the pause button says.
func (r *Run) PauseText() Text {
	if r.Stage == Paused {
		return r.T("resume")
	}
	return r.T("pause")
}

// Status is one sentence about where the run stands.
func (r *Run) Status() string {
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
		if r.Still {
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
	case Failed:
		if r.Last.Step == 0 {
			return r.say("status.unbegun")
		}
		return r.say("status.failed", "step", r.Last.Step)
	default:
		if r.page.Setup.Model.Usable() && r.page.Setup.Data.Usable() {
			return r.say("status.ready")
		}
		return r.say("status.idle")
	}
	text := r.phase()
	if r.Waiting.Total > 0 {
		text += " · " + r.say("amount", "done", amount(r.Waiting.Done, r.Waiting.Unit), "total", amount(r.Waiting.Total, r.Waiting.Unit))
	}
	if r.eta > 0 {
		text += " · " + r.say("eta", "time", r.Duration(r.eta))
	}
	return text
}

func (r *Run) phase() string {
	text := r.Waiting.Phase
	if key := "phase." + text; r.Has(key) {
		text = r.say(key)
	}
	if r.Waiting.Detail != "" {
		text += " (" + r.Waiting.Detail + ")"
	}
	return text
}

// amount spells how much is done of what is waited for. Only bytes need their unit said.
func amount(n int64, unit string) string {
	if unit == "bytes" {
		return Bytes(n)
	}
	return strconv.FormatInt(n, 10)
}

// Bar is the progress bar's value between 0 and 1, nil where nobody knows.
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

// dash stands for a number that is not known yet.
const dash = "–"

// StepText, LossText, SpeedText and LeftText are the numbers of the run.
func (r *Run) StepText() Text {
	if r.Total == 0 {
		return dash
	}
	return r.T("step.of", "step", r.Last.Step, "total", r.Total)
}

func (r *Run) LossText() Text {
	switch loss := float64(r.Last.Loss); {
	case r.Last.Step == 0:
		return dash
	case math.IsNaN(loss) || math.IsInf(loss, 0):
		return r.T("status.nan")
	default:
		return Text(strconv.FormatFloat(loss, 'f', 4, 64))
	}
}

func (r *Run) SpeedText() Text {
	if r.Last.TokensPerSecond <= 0 {
		return dash
	}
	return Text(number(r.Last.TokensPerSecond))
}

func (r *Run) LeftText() Text {
	if r.Last.Step == 0 || !r.Stage.Active() {
		return dash
	}
	return Text(r.Duration(float64(r.Total-r.Last.Step) * r.pace))
}

// ChartText describes the chart to those who cannot see it.
func (r *Run) ChartText() Text {
	n := len(r.Curve.Smooth)
	if n == 0 {
		return r.T("loss")
	}
	return r.T("chart", "first", number(r.Curve.Loss[0]), "last", number(r.Curve.Smooth[n-1]))
}

// FailedText says in a sentence what failed.
func (r *Run) FailedText() Text {
	if r.Failure != nil && r.Has("failed."+r.Failure.Code) {
		return r.T("failed." + r.Failure.Code)
	}
	return r.T("failed")
}

// LevelText names the level of an event.
func (r *Run) LevelText(e message.Event) Text {
	if key := "level." + e.Level; r.Has(key) {
		return r.T(key)
	}
	return r.T("level.info")
}

// EventText says what happened: in the person's language where the code is known, with the engine's own words where
// that leaves something open.
func (r *Run) EventText(e message.Event) Text {
	text := e.Message
	if key := "event." + e.Code; r.Has(key) {
		text = r.say(key)
		if e.Level != "info" {
			text += " " + e.Message
		}
	}
	if e.Step > 0 {
		text += r.say("event.at", "step", e.Step)
	}
	return Text(text)
}

// HasResult reports whether there is something worth downloading: what was trained, or the record of what was tried.
func (r *Run) HasResult() bool { return !r.Stage.Active() && len(r.files) > 0 && r.Last.Step > 0 }

// DownloadText says what the button gives.
func (r *Run) DownloadText() Text {
	if r.Packing {
		return r.T("download.work")
	}
	var bytes int64
	for _, size := range r.files {
		bytes += size
	}
	return r.T("download.size", "n", len(r.files), "size", Bytes(bytes))
}
