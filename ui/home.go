package ui

import (
	"encoding/json"
	"math"
	"slices"
)

// Home is the first screen: ready runs, which start with one click, and kept runs.
type Home struct {
	*Words
	Ready []readyRun
	Runs  []keptRun // newest first
	Usage int64     // bytes that the browser stores for this site
	Quota int64     // bytes that it may store

	confirming string // the run whose remove button was pressed once
	page       *Page
}

// readyRun is a run that the server offers with model, data and settings.
type readyRun struct {
	Name   string            `json:"name"`
	Title  map[string]string `json:"title"` // by language
	About  map[string]string `json:"about"`
	Config json.RawMessage   `json:"config"`
	tryout
}

func (h *Home) Title(r readyRun) Text { return Text(r.Title[h.Lang()]) }
func (h *Home) About(r readyRun) Text { return Text(r.About[h.Lang()]) }

// TryText is the name of a ready run's button for screen readers.
func (h *Home) TryText(r readyRun) Text { return h.T("home.try") + ": " + h.Title(r) }

// ReadyClass highlights the button of the first card.
func (h *Home) ReadyClass(i int) string {
	if i == 0 {
		return "primary"
	}
	return ""
}

// Busy reports whether a run is under way in this tab.
func (h *Home) Busy() bool { return h.page.Run.Stage.Active() }

// Live reports whether a tab is training the run.
func (h *Home) Live(r keptRun) bool { return r.Live || h.Busy() && h.page.Run.ID == r.ID }

// Begin starts a ready run: one click.
func (h *Home) Begin(r readyRun) {
	s := h.page.Studio
	if s.load(string(r.Config)); s.Problem != "" || !s.ready() {
		h.page.goTo(screenStudio)
		return
	}
	s.begin(string(h.Title(r)), r.tryout)
}

// StageOf is how a kept run ended.
func (h *Home) StageOf(r keptRun) string {
	switch {
	case h.Live(r):
		return "live"
	case r.State == nil:
		return "cut"
	}
	return r.State.Stage
}

func (h *Home) StageText(r keptRun) Text { return h.T("stage." + h.StageOf(r)) }

// CanResume reports whether a run has ended before its last step.
func (h *Home) CanResume(r keptRun) bool {
	return r.Meta.Room == nil && !h.Live(r) && (r.State == nil || r.State.Stage == string(Stopped) || r.State.Stage == string(Failed))
}

// HasResult reports whether a run has left an adapter or a model.
func (h *Home) HasResult(r keptRun) bool {
	return slices.Contains(r.Files, "adapter") || slices.Contains(r.Files, "model")
}

// finished is the kept run with the id where it has taken all its steps, else nil.
func (h *Home) finished(id string) *keptRun {
	for i, r := range h.Runs {
		if r.ID == id && r.State != nil && r.State.Stage == string(Done) {
			return &h.Runs[i]
		}
	}
	return nil
}

// RunText summarizes a run.
func (h *Home) RunText(r keptRun) Text {
	text := h.say("home.run", "step", r.Step, "total", r.Meta.Steps, "size", Bytes(r.Bytes))
	if r.Loss != nil {
		text += " · " + h.say("loss") + " " + number(float64(*r.Loss))
	}
	return Text(text)
}

// Named is the text of a button, with the name of its run.
func (h *Home) Named(key string, r keptRun) Text { return h.T(key) + ": " + Text(r.Meta.Name) }

// Open shows a kept run on a screen.
func (h *Home) Open(r keptRun, screen string) {
	if !h.Busy() && h.page.Run.ID != r.ID {
		h.page.pending = pendingRun{run: r}
		h.page.browser.OpenRun(r.ID, math.MaxInt32)
	}
	if !h.Busy() || h.page.Run.ID == r.ID {
		h.page.goTo(screen)
	}
}

// Resume continues a run that was interrupted, was stopped or has failed.
func (h *Home) Resume(r keptRun) {
	if h.Busy() {
		return
	}
	h.page.pending = pendingRun{run: r, resume: true}
	h.page.browser.OpenRun(r.ID, r.Checkpoint)
	h.page.goTo(screenRun)
}

// RemoveKey is the text of the remove button, which has to be pressed twice.
func (h *Home) RemoveKey(r keptRun) string {
	if h.confirming == r.ID {
		return "home.sure"
	}
	return "home.remove"
}

// Remove deletes a run when its button is pressed twice.
func (h *Home) Remove(r keptRun) {
	if h.confirming != r.ID {
		h.confirming = r.ID
		return
	}
	h.confirming = ""
	h.page.browser.RemoveRun(r.ID)
}

// StorageText says how much storage the browser uses.
func (h *Home) StorageText() Text {
	return h.T("home.storage", "used", Bytes(h.Usage), "quota", Bytes(h.Quota))
}
