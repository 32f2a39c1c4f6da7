package room

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"llamatab/engine/fsdp"
)

// A tab has its seat, a number with a token, from the moment its page was let in: long before its engine has loaded
// the model and connects, and after a reload again. The page says once a second how it is getting on and hears how all
// the others are.

// Report is what a page says of its tab.
type Report struct {
	Phase  string `json:"phase,omitempty"` // what its engine is doing before it connects: "open", "load", "compile"
	Done   int64  `json:"done,omitempty"`  // of that
	Total  int64  `json:"total,omitempty"`
	Memory int64  `json:"memory,omitempty"` // bytes on its GPU
	Hidden bool   `json:"hidden,omitempty"` // nobody sees the tab, so that the browser may slow it down
	Failed string `json:"failed,omitempty"` // the code of what has ended its engine
	Left   bool   `json:"left,omitempty"`   // its person has taken it out of the room
	Since  uint64 `json:"since"`            // steps from this one on are wanted
}

// Loss is a step that was decided.
type Loss struct {
	Step uint64  `json:"step"` // counted from 1
	Loss float64 `json:"loss"` // mean over its tokens
	Norm float64 `json:"norm"` // of its gradient, before clipping
	// Eval is the loss on held-out rows after the step, where it was measured: of the last step it may still come.
	Eval *float64 `json:"eval,omitempty"`
}

const (
	longestName = 20 // characters
	maxJoin     = 4 << 10
	absentAfter = 5 * time.Second  // without a report
	vacantAfter = 60 * time.Second // a seat whose engine never connected is given up
	lossesSent  = 2000             // at a time
)

// seat is what a room knows of a page.
type seat struct {
	name  string
	said  Report
	heard time.Time
}

// cleanName makes a name of what somebody typed: a line of letters that is not long.
func cleanName(name string) string {
	name = strings.Join(strings.FieldsFunc(name, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }), " ")
	if letters := []rune(name); len(letters) > longestName {
		name = strings.TrimSpace(string(letters[:longestName]))
	}
	return name
}

// bearer is what a request proves to be with: the owner's token, or "TAB.TOKEN" of a seat.
func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

// seatOf is the tab that a request proves to be, 0 for none.
func (h *Host) seatOf(r *http.Request) uint32 {
	number, token, _ := strings.Cut(bearer(r), ".")
	tab, err := strconv.ParseUint(number, 10, 32)
	if err != nil || tab == 0 || !same(token, h.token(uint32(tab))) {
		return 0
	}
	return uint32(tab)
}

// sit gives a seat to who has shown the code, or the seat back to who has shown its token. The goodbye says why not.
func (h *Host) sit(tab uint32, name string) (uint32, *fsdp.Bye) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch known := tab != 0; {
	case h.room.removed[tab]:
		return 0, &fsdp.Bye{Code: "removed", Reason: "the room's owner has removed this tab"}
	case known:
	case h.room.locked:
		return 0, &fsdp.Bye{Code: "locked", Reason: errLocked.Error()}
	case h.here(now) >= h.room.cfg.MaxTabs:
		return 0, &fsdp.Bye{Code: "full", Reason: "the room has room for " + strconv.Itoa(h.room.cfg.MaxTabs) + " tabs"}
	default:
		tab = h.next
		h.next++
	}
	h.seats[tab] = &seat{name: cleanName(name), heard: now}
	return tab, nil
}

// here counts the tabs that are in the room, connected or on their way; the caller holds the lock.
func (h *Host) here(now time.Time) (n int) {
	for id, s := range h.seats {
		if t := h.room.tabs[id]; t != nil && t.online {
			continue
		}
		if now.Sub(s.heard) < absentAfter && s.said.Failed == "" && !s.said.Left {
			n++
		}
	}
	for _, t := range h.room.tabs {
		if t.online {
			n++
		}
	}
	return n
}

// report takes what a page says of its tab.
func (h *Host) report(tab uint32, said Report) *fsdp.Bye {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.room.removed[tab] {
		return &fsdp.Bye{Code: "removed", Reason: "the room's owner has removed this tab"}
	}
	s := h.seats[tab]
	if s == nil { // the server has been started again
		s = &seat{}
		h.seats[tab] = s
	}
	s.said, s.heard = said, time.Now()
	return nil
}

// seated adds what the pages say to what the room knows; the caller holds the lock.
func (h *Host) seated(now time.Time, v *View, since uint64) {
	v.Here, v.Locked = h.here(now), h.room.locked
	at := map[uint32]int{}
	for i, t := range v.Tabs {
		at[t.Tab] = i
	}
	for id, s := range h.seats {
		i, connected := at[id]
		silent := now.Sub(s.heard)
		switch {
		case connected:
		case silent >= vacantAfter || s.said.Left || h.room.removed[id]:
			delete(h.seats, id)
			continue
		default:
			i = len(v.Tabs)
			v.Tabs = append(v.Tabs, TabView{Tab: id, Name: s.name, State: "loading", Silent: silent.Seconds()})
			if silent >= absentAfter {
				v.Tabs[i].State = "away"
			}
		}
		t := &v.Tabs[i]
		t.Memory = max(t.Memory, s.said.Memory)
		t.Phase, t.Done, t.Total, t.Hidden, t.Failed = s.said.Phase, s.said.Done, s.said.Total, s.said.Hidden, s.said.Failed
		if !connected || t.State == "away" {
			switch {
			case s.said.Left:
				t.State = "left"
			case s.said.Failed != "":
				t.State = "failed"
			}
		}
	}
	v.Before = h.before
	h.measured(v)
	slices.SortFunc(v.Tabs, func(a, b TabView) int { return int(a.Tab) - int(b.Tab) })
	from, _ := slices.BinarySearchFunc(h.losses, since, func(l Loss, step uint64) int { return int(l.Step) - int(step) })
	v.Losses = slices.Clone(h.losses[from:min(from+lossesSent, len(h.losses))])
}

// measuredSteps is how many of the last steps the means of a tab are over.
const measuredSteps = 50

// measured adds what the last steps took, and forecasts for as many tabs as took part in the last: by now some may have left.
// The caller holds the lock.
func (h *Host) measured(v *View) {
	if n := len(h.use.closed); n > 0 {
		v.forecast(&h.run, max(len(h.use.closed[n-1].Tabs), 1))
	}
	sums, steps := map[uint32]TabUse{}, map[uint32]float64{}
	for _, step := range h.use.closed[max(0, len(h.use.closed)-measuredSteps):] {
		for _, use := range step.Tabs {
			sum := sums[use.Tab]
			sum.Add(use)
			sums[use.Tab] = sum
			steps[use.Tab]++
		}
	}
	for i := range v.Tabs {
		t := &v.Tabs[i]
		n, sum := steps[t.Tab], sums[t.Tab]
		if n == 0 {
			continue
		}
		t.Up, t.Down = float64(sum.Up)/n, float64(sum.Down)/n
		if sum.Spent.Clock > 0 {
			t.Waited = sum.Spent.Wait() / sum.Spent.Clock
		}
	}
}

// joined answers a page that was let in.
type joined struct {
	ID      string          `json:"id"`
	Tab     uint32          `json:"tab"`
	Token   string          `json:"token"`
	Name    string          `json:"name"`           // of the tab
	Room    string          `json:"room,omitempty"` // of the room
	Steps   int             `json:"steps"`
	Job     json.RawMessage `json:"job"`     // the run.json
	Sources any             `json:"sources"` // where its files are
}

// join lets a page in that shows a code, or its seat.
func (s *Rooms) join(w http.ResponseWriter, r *http.Request) {
	if !s.ours(r) {
		answer(w, http.StatusForbidden, fsdp.Bye{Code: "origin", Reason: "send JSON from a page of this server"})
		return
	}
	var asked struct {
		Code  string `json:"code"`
		Name  string `json:"name"`
		ID    string `json:"id"`
		Tab   uint32 `json:"tab"`
		Token string `json:"token"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin))
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil {
		answer(w, http.StatusBadRequest, fsdp.Bye{Code: "protocol", Reason: err.Error()})
		return
	}
	from := addressOf(r)
	var h *Host
	if asked.Token != "" {
		if h = s.Find(asked.ID); h == nil {
			answer(w, http.StatusNotFound, fsdp.Bye{Code: "gone", Reason: "there is no such room any more"})
			return
		}
		if asked.Tab == 0 || !same(asked.Token, h.token(asked.Tab)) {
			s.limits.guessed(from)
			answer(w, http.StatusForbidden, fsdp.Bye{Code: "token", Reason: errToken.Error()})
			return
		}
	} else {
		asked.Tab = 0
		if !s.limits.mayGuess(from) {
			s.limits.drop("guessing")
			answer(w, http.StatusTooManyRequests, fsdp.Bye{Code: "guessing", Reason: "too many wrong codes were tried: wait a minute"})
			return
		}
		if h = s.coded(asked.Code); h == nil {
			s.limits.guessed(from)
			s.limits.drop("code")
			answer(w, http.StatusForbidden, fsdp.Bye{Code: "code", Reason: "no room has this code"})
			return
		}
	}
	if s.Sources == nil || h.run.Job == nil {
		answer(w, http.StatusConflict, fsdp.Bye{Code: "closed", Reason: "this room's tabs are opened by the program that runs it"})
		return
	}
	sources, err := s.Sources(h.run.Job)
	if err != nil {
		answer(w, http.StatusConflict, fsdp.Bye{Code: "files", Reason: err.Error()})
		return
	}
	tab, bye := h.sit(asked.Tab, asked.Name)
	if bye != nil {
		answer(w, http.StatusConflict, bye)
		return
	}
	answer(w, http.StatusOK, joined{ID: h.ID, Tab: tab, Token: h.token(tab), Name: cleanName(asked.Name), Room: h.room.cfg.Name, Steps: h.run.Steps, Job: h.run.Job, Sources: sources})
}

// coded is the room that a code lets into: of several the newest, but one whose run is over only where there is no other.
func (s *Rooms) coded(code string) (found *Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosts {
		if !same(strings.Map(figures, code), strings.Map(figures, h.code)) {
			continue
		}
		if found == nil || found.over() && !h.over() || found.over() == h.over() && h.opened.After(found.opened) {
			found = h
		}
	}
	return found
}

// figures drops what people put between the figures of a code.
func figures(c rune) rune {
	if c == '-' || unicode.IsSpace(c) {
		return -1
	}
	return c
}

func (h *Host) over() bool {
	done, err := h.Done()
	return done || err != nil
}

// known is the room that a request is about, and whose page it comes from; nil where it was refused.
func (s *Rooms) known(w http.ResponseWriter, r *http.Request) (h *Host, tab uint32, owner bool) {
	if h = s.Find(r.PathValue("id")); h == nil {
		answer(w, http.StatusNotFound, fsdp.Bye{Code: "gone", Reason: "there is no such room any more"})
		return nil, 0, false
	}
	if tab, owner = h.seatOf(r), owns(h, r); !s.ours(r) || tab == 0 && !owner {
		answer(w, http.StatusForbidden, fsdp.Bye{Code: "token", Reason: errToken.Error()})
		return nil, 0, false
	}
	return h, tab, owner
}

// plan answers what each tab would hold and move if there were so many.
func (s *Rooms) plan(w http.ResponseWriter, r *http.Request) {
	h, _, _ := s.known(w, r)
	if h == nil {
		return
	}
	var asked struct {
		Tabs int `json:"tabs"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin))
	if err := d.Decode(&asked); err != nil || asked.Tabs < 1 || asked.Tabs > h.room.cfg.MaxTabs {
		answer(w, http.StatusBadRequest, fsdp.Bye{Code: "protocol", Reason: "tabs are 1 or more, and no more than the room has room for"})
		return
	}
	if s.Plan == nil || h.run.Job == nil {
		answer(w, http.StatusNotFound, fsdp.Bye{Code: "closed", Reason: "this room has no job to plan"})
		return
	}
	plan, err := s.Plan(h.run.Job, asked.Tabs)
	if err != nil {
		answer(w, http.StatusInternalServerError, fsdp.Bye{Code: "plan", Reason: err.Error()})
		return
	}
	answer(w, http.StatusOK, plan)
}

// look takes a page's report and answers how the room is. The owner's page has nothing to report.
func (s *Rooms) look(w http.ResponseWriter, r *http.Request) {
	h, tab, owner := s.known(w, r)
	if h == nil {
		return
	}
	var said Report
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin))
	if err := d.Decode(&said); err != nil || said.Done < 0 || said.Total < 0 || said.Memory < 0 || len(said.Phase) > maxWord || len(said.Failed) > maxWord {
		answer(w, http.StatusBadRequest, fsdp.Bye{Code: "protocol", Reason: "this is no report of a tab"})
		return
	}
	if tab != 0 {
		if bye := h.report(tab, said); bye != nil {
			answer(w, http.StatusGone, bye)
			return
		}
	}
	v := h.view(said.Since)
	if !owner {
		v.Diary = nil
	}
	answer(w, http.StatusOK, v)
}

// maxWord bounds the words of a report, in bytes.
const maxWord = 64

// ours tells whether a request comes from a page of this server. A form of another page cannot send this type without
// being asked first, and no page is allowed to.
func (s *Rooms) ours(r *http.Request) bool {
	return s.OriginAllowed(r) && r.Header.Get("Content-Type") == "application/json"
}
