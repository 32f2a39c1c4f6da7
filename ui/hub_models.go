package ui

import (
	"slices"
	"strconv"
	"strings"

	"github.com/vugu/vugu"
)

// Ways to fetch a model of a hub.
const (
	byServer  = "server"  // the server fetches it into its cache
	byBrowser = "browser" // the browser fetches it into its own storage
)

// hubModels is the part of the studio where the person names a model of a hub. The server fetches it where it does that for this
// page; else, or where the person wants it, the browser does.
type hubModels struct {
	*Words
	Host     string // of the hub from which the server fetches; "" where it fetches nothing for this page
	Direct   string // of the hub from which the browser fetches; "" where none is known
	Chosen   bool   // the person wants the browser to fetch although the server would
	Answered bool   // the server has answered a question about the hub
	Name     string // as typed
	Fetches  []hubFetch
	Own      []hubFetch  // of the browser
	Stored   []hubStored // models that are whole in the browser's storage
	Problem  *hubProblem // of the last request

	wanted     [2]string // the way and the name of the fetch whose model is chosen once it is there
	confirming string    // the model whose remove button was pressed once
	page       *Page
}

// hubFetch is a model that the server or the browser fetches or has fetched.
type hubFetch struct {
	Name     string      `json:"name"`
	State    string      `json:"state"` // "fetching", "paused", "failed", "fetched" or "elsewhere": another tab fetches it
	Done     int64       `json:"done"`  // bytes
	Total    int64       `json:"total"` // bytes; 0 until it is known
	Rate     float64     `json:"rate"`  // bytes per second; 0 until it is known
	Checking bool        `json:"checking"`
	Waiting  string      `json:"waiting"` // the server's reason why nothing comes at the moment
	Trouble  *hubProblem `json:"trouble"` // the browser's
	Again    int         `json:"again"`   // seconds that the browser waits until the next try
	Model    string      `json:"model"`   // once it is there: its name in the list of models, or its key in the browser's storage
	Problem  *hubProblem `json:"problem"`
	Way      string      `json:"-"`
}

// hubStored is a model in the browser's storage.
type hubStored struct {
	Key       string `json:"key"`      // of its folder
	Name      string `json:"name"`     // org/name@COMMIT
	Revision  string `json:"revision"` // that the person has named
	Host      string `json:"host"`     // from which it came
	Bytes     int64  `json:"bytes"`
	Tokenizer bool   `json:"tokenizer"`
}

// hubProblem is why nothing comes. Its code is a key of the texts "hub_problem." and "hub_mend."; what only the browser says has
// "direct." before the code.
type hubProblem struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Next    string   `json:"next"`
	Way     string   `json:"way"`    // "browser" for a problem of the browser
	Needed  int64    `json:"needed"` // bytes of storage
	Free    int64    `json:"free"`
	Runs    []string `json:"runs"` // that use the model
}

// hubMessage is the hub and the fetches, as the server tells them.
type hubMessage struct {
	Host    string     `json:"host"`
	Fetches []hubFetch `json:"fetches"`
	Began   string     `json:"began"` // the fetch that this page has just begun
}

// directMessage is the hub, the fetches and the models of the browser.
type directMessage struct {
	Host    string      `json:"host"`
	Fetches []hubFetch  `json:"fetches"`
	Kept    []hubStored `json:"kept"`
	Began   string      `json:"began"`
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
	h.Host, h.Answered = m.Host, true
	if m.Began != "" {
		h.Problem = nil
	}
	h.Fetches = h.arrived(byServer, m.Fetches, m.Began, h.page.Studio.TakeModel)
}

// receiveDirect takes what the browser tells. A chosen model that is not in its storage any more is not chosen any more.
func (h *hubModels) receiveDirect(m directMessage) {
	h.Direct, h.Stored = m.Host, m.Kept
	if m.Began != "" {
		h.Problem = nil
	}
	s := h.page.Studio
	if s.Model.Source.From == "fetched" && h.stored(s.Model.Source.Key) == nil {
		s.Model = chosenInput{}
		s.chosen++
		s.changed()
	}
	s.findStored()
	s.missing = ""
	h.Own = h.arrived(byBrowser, m.Fetches, m.Began, s.TakeStored)
}

// stored is the model of a key, nil for none.
func (h *hubModels) stored(key string) *hubStored {
	for i := range h.Stored {
		if h.Stored[i].Key == key {
			return &h.Stored[i]
		}
	}
	return nil
}

// arrived notes which way the fetches go, and chooses the model for which the person waits. began is the fetch that has just begun.
func (h *hubModels) arrived(way string, fetches []hubFetch, began string, choose func(model string)) []hubFetch {
	if began != "" {
		h.wanted, h.Name = [2]string{way, began}, ""
	}
	for i := range fetches {
		f := &fetches[i]
		f.Way = way
		for _, p := range []*hubProblem{f.Problem, f.Trouble} {
			if p != nil {
				p.Way = way
			}
		}
		if h.wanted == [2]string{way, f.Name} && f.State == "fetched" && (way == byServer || h.stored(f.Model) != nil) {
			h.wanted = [2]string{}
			choose(f.Model)
		}
	}
	return fetches
}

// Way is how the next model is fetched.
func (h *hubModels) Way() string {
	if h.Host == "" || h.Chosen {
		return byBrowser
	}
	return byServer
}

// From is the host of the hub from which the next model is fetched.
func (h *hubModels) From() string {
	if h.Way() == byServer {
		return h.Host
	}
	return h.Direct
}

// WayText says how the next model is fetched, and why.
func (h *hubModels) WayText() Text {
	switch {
	case h.Way() == byServer:
		return h.T("hub.way.server")
	case h.Host != "":
		return h.T("hub.way.chosen")
	case h.Answered:
		return h.T("hub.way.offline")
	}
	return h.T("hub.way.alone")
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
	for _, f := range append(slices.Clone(h.Fetches), h.Own...) {
		if f.State != "fetched" {
			list = append(list, f)
		}
	}
	return list
}

// Fetch has the model fetched that is typed in.
func (h *hubModels) Fetch(vugu.DOMEvent) {
	if name := strings.TrimSpace(h.Name); name != "" {
		h.Problem = nil
		h.page.browser.FetchModel(name, h.Way())
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
func (h *hubModels) Continue(f hubFetch) { h.page.browser.FetchModel(f.Name, f.Way) }

// Pause ends a fetch and keeps what has come.
func (h *hubModels) Pause(f hubFetch) { h.page.browser.PauseFetch(f.Name, f.Way) }

// Cancel ends a fetch and removes what has come.
func (h *hubModels) Cancel(f hubFetch) { h.page.browser.CancelFetch(f.Name, f.Way) }

// StateText says how far a fetch is.
func (h *hubModels) StateText(f hubFetch) Text {
	switch {
	case f.State == "failed" && f.Done == 0:
		return h.T("hub.refused", "name", f.Name)
	case f.State == "failed":
		return h.T("hub.failed", "name", f.Name)
	case f.State == "elsewhere":
		return h.T("hub.elsewhere", "name", f.Name, "done", Bytes(f.Done), "total", Bytes(f.Total))
	case f.State == "paused":
		return h.T("hub.paused", "name", f.Name, "done", Bytes(f.Done), "total", Bytes(f.Total))
	case f.Total == 0:
		return h.T("hub.asking", "name", f.Name)
	}
	if f.Checking && f.Done == f.Total {
		return h.T("hub.checking", "name", f.Name, "total", Bytes(f.Total))
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

// words is the text of a kind, "hub_problem." or "hub_mend.", about a problem, "" for none. The browser's own text comes first.
func (h *hubModels) words(kind string, p *hubProblem) Text {
	keys := []string{kind + p.Code}
	if p.Way == byBrowser {
		keys = []string{kind + "direct." + p.Code, kind + p.Code}
	}
	for _, key := range keys {
		if h.Has(key) {
			return h.T(key, "needed", Bytes(p.Needed), "free", Bytes(p.Free), "runs", strings.Join(p.Runs, h.say("comma")))
		}
	}
	return ""
}

// Cause says why nothing comes and what to do, "" where there is no problem.
func (h *hubModels) Cause(p *hubProblem) Text {
	if p == nil {
		return ""
	}
	text := h.words("hub_problem.", p)
	if text == "" {
		text = h.T("hub_problem.other")
	}
	if mend := h.words("hub_mend.", p); mend != "" {
		text += " " + mend
	}
	return text
}

// TroubleText says why nothing comes to the browser at the moment, "" where something comes.
func (h *hubModels) TroubleText(f hubFetch) Text {
	if f.Trouble == nil {
		return ""
	}
	text := h.words("hub_problem.", f.Trouble)
	if f.Again > 0 {
		text += " " + h.T("hub.again", "time", h.Duration(float64(f.Again)))
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
	if s.Model.Name == name && s.Model.Source.From == "server" {
		s.Model = chosenInput{}
		s.chosen++
		s.changed()
	}
	h.page.browser.RemoveModel(name, byServer)
}

// RemoveStored removes a model from the browser's storage when its button is pressed twice. One that a run uses stays, and the
// page says which run.
func (h *hubModels) RemoveStored(m hubStored) {
	if h.confirming != m.Key {
		h.confirming = m.Key
		return
	}
	h.confirming, h.Problem = "", nil
	h.page.browser.RemoveModel(m.Key, byBrowser)
}

// StoredText is what there is to know of a model in the browser's storage beside its name.
func (h *hubModels) StoredText(m hubStored) Text {
	return h.T("hub.stored", "size", Bytes(m.Bytes), "revision", m.Revision, "host", m.Host)
}
