package ui

import (
	"strconv"
	"strings"

	"github.com/vugu/vugu"
)

// hubModels is the part of the studio where the person names a model of a hub, which the server fetches.
type hubModels struct {
	*Words
	Host    string // of the hub; "" where the server fetches nothing for this page
	Name    string // as typed
	Fetches []hubFetch
	Problem *hubProblem // of the last request

	wanted     string // the fetch whose model is chosen once it is there
	confirming string // the model whose remove button was pressed once
	page       *Page
}

// hubFetch is a model that the server fetches or has fetched.
type hubFetch struct {
	Name    string      `json:"name"`
	State   string      `json:"state"` // "fetching", "paused", "failed" or "fetched"
	Done    int64       `json:"done"`  // bytes
	Total   int64       `json:"total"` // bytes; 0 until it is known
	Rate    float64     `json:"rate"`  // bytes per second; 0 until it is known
	Waiting string      `json:"waiting"`
	Model   string      `json:"model"` // its name in the list of models, once it is there
	Problem *hubProblem `json:"problem"`
}

// hubProblem is why nothing comes. Its code is a key of the texts "hub_problem." and "hub_mend.".
type hubProblem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Next    string `json:"next"`
}

// hubMessage is the hub and the fetches, as the server tells them.
type hubMessage struct {
	Host    string     `json:"host"`
	Fetches []hubFetch `json:"fetches"`
	Began   string     `json:"began"` // the fetch that this page has just begun
}

// isOfHub reports whether a model of the server has come from a hub: its name is org/name@COMMIT.
func isOfHub(name string) bool {
	repo, commit, _ := strings.Cut(name, "@")
	return strings.Count(repo, "/") == 1 && len(commit) == 40 && strings.Trim(commit, "0123456789abcdef") == ""
}

// shortName is the name of a model for people: without "builtin:", and with seven digits of a commit.
func shortName(name string) Text {
	if isOfHub(name) {
		return Text(name[:len(name)-33])
	}
	return withoutPrefix(name)
}

// receive takes what the server tells, and chooses the model for which the person waits.
func (h *hubModels) receive(m hubMessage) {
	h.Host, h.Fetches, h.Problem = m.Host, m.Fetches, nil
	if m.Began != "" {
		h.wanted, h.Name = m.Began, ""
	}
	for _, f := range m.Fetches {
		if f.Name == h.wanted && f.State == "fetched" {
			h.wanted = ""
			h.page.Studio.TakeModel(f.Model)
		}
	}
}

// refused takes why the server has not done what the person wants.
func (h *hubModels) refused(p hubProblem) { h.Problem = &p }

// Kept lists the models of the server that have come from a hub.
func (h *hubModels) Kept() (names []string) {
	for _, m := range h.page.Studio.Models {
		if isOfHub(m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}

// Shown lists the fetches that need the person's attention: those whose model is there are in the list of models.
func (h *hubModels) Shown() (list []hubFetch) {
	for _, f := range h.Fetches {
		if f.State != "fetched" {
			list = append(list, f)
		}
	}
	return list
}

// Fetch has the server fetch the model that is typed in.
func (h *hubModels) Fetch(vugu.DOMEvent) {
	if name := strings.TrimSpace(h.Name); name != "" {
		h.Problem = nil
		h.page.browser.FetchModel(name)
	}
}

// Key takes the Enter key of the text field for the button, as it would begin the run.
func (h *hubModels) Key(event vugu.DOMEvent) {
	if event.PropString("key") == "Enter" {
		event.PreventDefault()
		h.Fetch(event)
	}
}

// Continue goes on with a fetch that was paused or has failed.
func (h *hubModels) Continue(f hubFetch) { h.page.browser.FetchModel(f.Name) }

// Pause ends a fetch and keeps what has come.
func (h *hubModels) Pause(f hubFetch) { h.page.browser.PauseFetch(f.Name) }

// Cancel ends a fetch and removes what has come.
func (h *hubModels) Cancel(f hubFetch) { h.page.browser.CancelFetch(f.Name) }

// StateText says how far a fetch is.
func (h *hubModels) StateText(f hubFetch) Text {
	switch {
	case f.State == "failed" && f.Done == 0:
		return h.T("hub.refused", "name", f.Name)
	case f.State == "failed":
		return h.T("hub.failed", "name", f.Name)
	case f.State == "paused":
		return h.T("hub.paused", "name", f.Name, "done", Bytes(f.Done), "total", Bytes(f.Total))
	case f.Total == 0:
		return h.T("hub.asking", "name", f.Name)
	}
	left, rate := string(dash), string(dash)
	if f.Rate > 0 {
		left, rate = h.Duration(float64(f.Total-f.Done)/f.Rate), Bytes(int64(f.Rate))
	}
	return h.T("hub.fetching", "name", f.Name, "done", Bytes(f.Done), "total", Bytes(f.Total), "rate", rate, "left", left)
}

// Part is how much of a model has come, between 0 and 1.
func (h *hubModels) Part(f hubFetch) string {
	if f.Total == 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(f.Done)/float64(f.Total), 'f', 3, 64)
}

// Cause says why nothing comes and what to do, "" where there is no problem.
func (h *hubModels) Cause(p *hubProblem) Text {
	if p == nil {
		return ""
	}
	text := h.T("hub_problem.other")
	if h.Has("hub_problem." + p.Code) {
		text = h.T("hub_problem." + p.Code)
	}
	if h.Has("hub_mend." + p.Code) {
		text += " " + h.T("hub_mend."+p.Code)
	}
	return text
}

// Detail is the problem in the server's words.
func (h *hubModels) Detail(p *hubProblem) Text {
	if p == nil {
		return ""
	}
	return Text(strings.TrimSuffix(p.Message+"; "+p.Next, "; "))
}

// Action names what a button does, with the model that it is about.
func (h *hubModels) Action(key, name string) Text { return h.T(key) + ": " + shortName(name) }

// RemoveKey is the text of a model's remove button, which has to be pressed twice.
func (h *hubModels) RemoveKey(name string) string {
	if h.confirming == name {
		return "home.sure"
	}
	return "home.remove"
}

// Remove has the server remove a model when its button is pressed twice.
func (h *hubModels) Remove(name string) {
	if h.confirming != name {
		h.confirming = name
		return
	}
	h.confirming = ""
	s := h.page.Studio
	if s.Model.Name == name {
		s.Model = chosenInput{}
		s.changed()
	}
	h.page.browser.RemoveModel(name)
}
