package ui

import (
	"encoding/json"
	"math"
	"slices"
)

// Home is the first screen: runs that need one click, and those of the past.
type Home struct {
	*Words
	Ready []readyRun
	Runs  []keptRun // newest first
	Usage int64     // bytes that this site keeps in the browser
	Quota int64     // and may keep

	confirming string // the run whose removal was asked for once
	page       *Page
}

// readyRun is a run that the server offers whole.
type readyRun struct {
	Name   string            `json:"name"`
	Title  map[string]string `json:"title"` // by language
	About  map[string]string `json:"about"`
	Config json.RawMessage   `json:"config"`
	tryout
}

func (h *Home) Title(r readyRun) Text { return Text(r.Title[h.Lang()]) }
func (h *Home) About(r readyRun) Text { return Text(r.About[h.Lang()]) }

// TryText is the button of a ready run for those who do not see the card around it.
func (h *Home) TryText(r readyRun) Text { return h.T("home.try") + ": " + h.Title(r) }

// ReadyClass makes the first card's button the one to press.
func (h *Home) ReadyClass(i int) string {
	if i == 0 {
		return "primary"
	}
	return ""
}

// Busy reports whether a run is under way in this tab.
func (h *Home) Busy() bool { return h.page.Run.Stage.Active() }

// Live reports whether a run is under way in some tab.
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

// CanResume reports whether a run has steps left that it could take.
func (h *Home) CanResume(r keptRun) bool {
	return r.Meta.Room == nil && !h.Live(r) && (r.State == nil || r.State.Stage == string(Stopped) || r.State.Stage == string(Failed))
}

// HasResult reports whether a run has left what can be tried.
func (h *Home) HasResult(r keptRun) bool {
	return slices.Contains(r.Files, "adapter") || slices.Contains(r.Files, "model")
}

// finished is the kept run with the id if it came to its end, else nil.
func (h *Home) finished(id string) *keptRun {
	for i, r := range h.Runs {
		if r.ID == id && r.State != nil && r.State.Stage == string(Done) {
			return &h.Runs[i]
		}
	}
	return nil
}

// RunText sums a run up.
func (h *Home) RunText(r keptRun) Text {
	text := h.say("home.run", "step", r.Step, "total", r.Meta.Steps, "size", Bytes(r.Bytes))
	if r.Loss != nil {
		text += " · " + h.say("loss") + " " + number(float64(*r.Loss))
	}
	return Text(text)
}

// Named is a button's name with the run's.
func (h *Home) Named(key string, r keptRun) Text { return h.T(key) + ": " + Text(r.Meta.Name) }

// Open turns to a kept run.
func (h *Home) Open(r keptRun, screen string) {
	if !h.Busy() && h.page.Run.ID != r.ID {
		h.page.pending = pendingRun{run: r}
		h.page.browser.OpenRun(r.ID, math.MaxInt32)
	}
	if !h.Busy() || h.page.Run.ID == r.ID {
		h.page.goTo(screen)
	}
}

// Resume goes on with a run that was cut off, stopped or failed.
func (h *Home) Resume(r keptRun) {
	if h.Busy() {
		return
	}
	h.page.pending = pendingRun{run: r, resume: true}
	h.page.browser.OpenRun(r.ID, r.Checkpoint)
	h.page.goTo(screenRun)
}

// RemoveKey is what the button says: removal is asked for twice.
func (h *Home) RemoveKey(r keptRun) string {
	if h.confirming == r.ID {
		return "home.sure"
	}
	return "home.remove"
}

// Remove deletes a run when it is asked for twice.
func (h *Home) Remove(r keptRun) {
	if h.confirming != r.ID {
		h.confirming = r.ID
		return
	}
	h.confirming = ""
	h.page.browser.RemoveRun(r.ID)
}

// StorageText says what the browser keeps.
func (h *Home) StorageText() Text {
	return h.T("home.storage", "used", Bytes(h.Usage), "quota", Bytes(h.Quota))
}
