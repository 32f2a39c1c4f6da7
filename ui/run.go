package ui

import (
	"slices"
	"time"

	"llamatab/engine/message"
)

// Stage is the state of a run.
type Stage string

const (
	Idle     Stage = "idle"
	Loading  Stage = "loading" // until the first step is finished
	Training Stage = "training"
	Paused   Stage = "paused"
	Stopping Stage = "stopping"
	Done     Stage = "done"
	Stopped  Stage = "stopped" // ended by the person, saved
	Failed   Stage = "failed"
	Cut      Stage = "cut" // interrupted by a crash or a closed tab
)

// Active reports whether the engine is working on the run.
func (s Stage) Active() bool { return s == Loading || s == Training || s == Paused || s == Stopping }

// Run is the screen of a run. It follows the engine's messages, or shows the record of a kept run.
type Run struct {
	*Words
	ID           string // "" before the first
	Meta         runMeta
	Stage        Stage
	Total        int               // steps of the whole run
	Waiting      *message.Progress // the phase that the run waits for, nil while it trains
	Last         message.Step
	Eval         *message.Float  // newest held-out loss
	Before       *measures       // on the held-out rows before training, nil where not measured
	Accuracy     *message.Float  // newest accuracy of a classifier on the held-out rows
	Latest       []message.Event // newest first
	Samples      []stepSamples   // by step
	Failure      *message.Failed
	Units        []message.Unit // newest norms by block
	Blocks       bool           // the table of Units is shown
	Details      bool           // the details of the failure are shown
	PauseReached bool           // the run is paused and its last step is finished
	Config       string         // run.json as the engine resolved it
	ShowConfig   bool

	files       map[string]int64 // the result: size by path
	inMemory    bool             // the browser's storage had no space for the result: it is in memory
	phaseBegan  time.Time        // when the phase of Waiting began
	eta         float64          // seconds left of that phase, 0 for unknown
	pace        float64          // seconds per step, smoothed
	samplesBack int              // which samples are shown, counted back from the newest
	canStart    bool             // model and data are chosen

	page *Page
}

// receive handles one message of the engine.
func (r *Run) receive(now time.Time, e message.Envelope) {
	switch {
	case e.Progress != nil:
		r.progress(now, e.Progress)
	case e.Step != nil:
		r.step(e.Step)
	case e.Event != nil:
		r.addEvent(*e.Event)
	case e.Sample != nil:
		if n := len(r.Samples); n == 0 || r.Samples[n-1].Step != e.Sample.Step {
			r.Samples = append(r.Samples, stepSamples{Step: e.Sample.Step})
		}
		last := &r.Samples[len(r.Samples)-1]
		last.Texts = append(last.Texts, *e.Sample)
	case e.Config != nil:
		if config, err := parseTree(e.Config); err == nil {
			r.Config = config.Indented()
		}
	case e.Failed != nil:
		r.Failure, r.Stage, r.Waiting = e.Failed, Failed, nil
		r.ended()
	case e.Done != nil:
		r.Stage, r.Waiting = Done, nil
		if e.Done.Stopped {
			r.Stage = Stopped
		}
		r.ended()
	}
}

func (r *Run) ended() {
	r.page.browser.EndEngine(runEngine)
	r.page.Try.forget()
}

func (r *Run) progress(now time.Time, p *message.Progress) {
	if p.Phase == "wait" && r.InRoom() { // all steps of the room are done: this tab saves the result, too
		r.control(message.Save)
	}
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
		r.phaseBegan = now
	}
	r.Waiting, r.eta = p, p.ETASeconds
	// Without a forecast of the engine the rest is assumed to take as long as the part before it. The first second is too short
	// to say.
	if elapsed := now.Sub(r.phaseBegan).Seconds(); r.eta == 0 && elapsed >= 1 && p.Done > 0 && p.Total > p.Done {
		r.eta = elapsed * float64(p.Total-p.Done) / float64(p.Done)
	}
}

func (r *Run) step(s *message.Step) {
	if s.Step <= r.Last.Step { // the run went back
		r.Samples = slices.DeleteFunc(r.Samples, func(old stepSamples) bool { return old.Step >= s.Step })
	}
	r.Last, r.Waiting = *s, nil
	if len(s.Units) > 0 {
		r.Units = s.Units
	}
	if s.EvalLoss != nil {
		r.Eval, r.Accuracy = s.EvalLoss, s.EvalAccuracy
	}
	if r.pace == 0 {
		r.pace = s.StepSeconds
	}
	r.pace = 0.9*r.pace + 0.1*s.StepSeconds
	if r.Stage == Loading {
		r.Stage = Training
	}
}

// chartWords are the texts in the charts.
func (r *Run) chartWords() map[string]string {
	words := map[string]string{}
	for name, key := range map[string]string{"step": "step", "loss": "loss", "smooth": "smooth", "eval": "eval", "accuracy": "accuracy", "lr": "learning-rate",
		"norm": "norm", "speed": "speed", "memory": "memory", "ratio": "ratio", "table": "chart.table", "log": "chart.log", "clip": "chart.clip",
		"smoothing": "chart.smoothing", "window": "chart.window", "all": "chart.all", "latest": "chart.latest", "take": "chart.take"} {
		words[name] = r.say(key)
	}
	words["file"] = r.fileName() + "-loss"
	return words
}
