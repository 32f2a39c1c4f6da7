package room

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"llamatab/engine/message"
)

// A tab has a seat, which is a number and a token, as soon as its page is let in: before its engine has loaded the model and
// connected, and after a reload as well. Once a second the page sends a message.SeatReport and receives the View of the room.

// Loss is the loss of a decided step.
type Loss = message.RoomLoss

const (
	longestName = 20 // characters
	maxJoin     = 4 << 10
	absentAfter = 5 * time.Second  // without a report
	vacantAfter = 60 * time.Second // a seat whose engine never connected is given up
	lossesSent  = 2000             // at a time
)

// seat is what a room knows about a page.
type seat struct {
	name   string
	report message.SeatReport // the last
	heard  time.Time
}

// cleanName makes a name of at most 20 characters on one line of what somebody typed.
func cleanName(name string) string {
	name = strings.Join(strings.FieldsFunc(name, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }), " ")
	if letters := []rune(name); len(letters) > longestName {
		name = strings.TrimSpace(string(letters[:longestName]))
	}
	return name
}

// bearer is the token of a request: the owner's, or "TAB.TOKEN" of a seat.
func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

// seatOf is the tab whose token a request carries, 0 for none.
func (h *Host) seatOf(r *http.Request) uint32 {
	number, token, _ := strings.Cut(bearer(r), ".")
	tab, err := strconv.ParseUint(number, 10, 32)
	if err != nil || tab == 0 || !same(token, h.token(uint32(tab))) {
		return 0
	}
	return uint32(tab)
}

// sit gives a new seat to a page with the right code, or its own seat to a page with the right token. The refusal says why it
// gets none.
func (h *Host) sit(tab uint32, name string) (uint32, *message.Refusal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch known := tab != 0; {
	case h.room.removed[tab]:
		return 0, &message.Refusal{Code: "removed", Reason: "the room's owner has removed this tab"}
	case known:
	case h.room.locked:
		return 0, &message.Refusal{Code: "locked", Reason: errLocked.Error()}
	case h.here(now) >= h.room.cfg.MaxTabs:
		return 0, &message.Refusal{Code: "full", Reason: "the room has room for " + strconv.Itoa(h.room.cfg.MaxTabs) + " tabs"}
	default:
		tab = h.next
		h.next++
	}
	h.seats[tab] = &seat{name: cleanName(name), heard: now}
	return tab, nil
}

// here counts the tabs that are connected or still loading; the caller holds the lock.
func (h *Host) here(now time.Time) (n int) {
	for id, s := range h.seats {
		if t := h.room.tabs[id]; t != nil && t.online {
			continue
		}
		if now.Sub(s.heard) < absentAfter && s.report.Failed == "" && !s.report.Left {
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

// keepReport keeps a page's report.
func (h *Host) keepReport(tab uint32, report message.SeatReport) *message.Refusal {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.room.removed[tab] {
		return &message.Refusal{Code: "removed", Reason: "the room's owner has removed this tab"}
	}
	s := h.seats[tab]
	if s == nil { // the server has been started again
		s = &seat{}
		h.seats[tab] = s
	}
	s.report, s.heard = report, time.Now()
	return nil
}

// seated adds the pages' reports to the view; the caller holds the lock.
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
		case silent >= vacantAfter || s.report.Left || h.room.removed[id]:
			delete(h.seats, id)
			continue
		default:
			i = len(v.Tabs)
			v.Tabs = append(v.Tabs, TabView{Tab: id, Name: s.name, State: message.TabLoading, Silent: silent.Seconds()})
			if silent >= absentAfter {
				v.Tabs[i].State = message.TabAway
			}
		}
		t := &v.Tabs[i]
		t.Memory = max(t.Memory, s.report.Memory)
		t.Phase, t.Done, t.Total, t.Hidden, t.Failed = s.report.Phase, s.report.Done, s.report.Total, s.report.Hidden, s.report.Failed
		if !connected || t.State == message.TabAway {
			switch {
			case s.report.Left:
				t.State = message.TabLeft
			case s.report.Failed != "":
				t.State = message.TabFailed
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

// measured adds time and traffic of the last steps, and the forecast for as many tabs as took part in the last step. The caller
// holds the lock.
func (h *Host) measured(v *View) {
	if n := len(h.use.closed); n > 0 {
		forecast(v, &h.run, max(len(h.use.closed[n-1].Tabs), 1))
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

// join gives a seat to a page with a room's code, or with the token of its seat.
func (s *Rooms) join(w http.ResponseWriter, r *http.Request) {
	if !s.ours(r) {
		answer(w, http.StatusForbidden, message.Refusal{Code: "origin", Reason: "send JSON from a page of this server"})
		return
	}
	var asked message.SeatRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin))
	d.DisallowUnknownFields()
	if err := d.Decode(&asked); err != nil {
		answer(w, http.StatusBadRequest, message.Refusal{Code: "protocol", Reason: err.Error()})
		return
	}
	from := sourceOf(r)
	var h *Host
	if asked.Token != "" {
		if h = s.Find(asked.ID); h == nil {
			answer(w, http.StatusNotFound, message.Refusal{Code: "gone", Reason: "there is no such room any more"})
			return
		}
		if asked.Tab == 0 || !same(asked.Token, h.token(asked.Tab)) {
			s.limits.drop("token")
			answer(w, http.StatusForbidden, message.Refusal{Code: "token", Reason: errToken.Error()})
			return
		}
	} else {
		asked.Tab = 0
		if !s.limits.mayGuess(from) {
			s.limits.drop("guessing")
			answer(w, http.StatusTooManyRequests, message.Refusal{Code: "guessing", Reason: "too many wrong codes were tried: wait a minute"})
			return
		}
		if h = s.coded(asked.Code); h == nil {
			s.limits.guessed(from)
			s.limits.drop("code")
			answer(w, http.StatusForbidden, message.Refusal{Code: "code", Reason: "no room has this code"})
			return
		}
	}
	if s.Sources == nil || h.run.Job == nil {
		answer(w, http.StatusConflict, message.Refusal{Code: "closed", Reason: "this room's tabs are opened by the program that runs it"})
		return
	}
	sources, err := s.Sources(h.run.Job)
	if err != nil {
		answer(w, http.StatusConflict, message.Refusal{Code: "files", Reason: err.Error()})
		return
	}
	tab, refusal := h.sit(asked.Tab, asked.Name)
	if refusal != nil {
		answer(w, http.StatusConflict, refusal)
		return
	}
	h.givePass(w, r, tab)
	answer(w, http.StatusOK, message.Seat{ID: h.ID, Tab: tab, Token: h.token(tab), Name: cleanName(asked.Name), Room: h.room.cfg.Name, Steps: h.run.Steps, Job: h.run.Job, Sources: sources})
}

// coded is the room with a code. If several have it, the newest whose run is not over is preferred.
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

// figures drops spaces and dashes that people put between the digits of a code.
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

// known finds the room of a request and checks its token: it returns the tab's number, or that the request is the owner's. It
// answers a request that it refuses and returns nil.
func (s *Rooms) known(w http.ResponseWriter, r *http.Request) (h *Host, tab uint32, owner bool) {
	if h = s.Find(r.PathValue("id")); h == nil {
		answer(w, http.StatusNotFound, message.Refusal{Code: "gone", Reason: "there is no such room any more"})
		return nil, 0, false
	}
	if tab, owner = h.seatOf(r), owns(h, r); !s.ours(r) || tab == 0 && !owner {
		answer(w, http.StatusForbidden, message.Refusal{Code: "token", Reason: errToken.Error()})
		return nil, 0, false
	}
	return h, tab, owner
}

// plan answers what each tab would hold and transfer for a number of tabs, by strategy.
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
		answer(w, http.StatusBadRequest, message.Refusal{Code: "protocol", Reason: "tabs are 1 or more, and no more than the room has room for"})
		return
	}
	if s.Plan == nil || h.run.Job == nil {
		answer(w, http.StatusNotFound, message.Refusal{Code: "closed", Reason: "this room has no job to plan"})
		return
	}
	plan, err := s.Plan(h.run.Job, asked.Tabs)
	if err != nil {
		answer(w, http.StatusInternalServerError, message.Refusal{Code: "plan", Reason: err.Error()})
		return
	}
	answer(w, http.StatusOK, plan)
}

// look takes a page's report and answers with the view of the room. The owner's page sends an empty report.
func (s *Rooms) look(w http.ResponseWriter, r *http.Request) {
	h, tab, owner := s.known(w, r)
	if h == nil {
		return
	}
	var report message.SeatReport
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoin))
	if err := d.Decode(&report); err != nil || report.Done < 0 || report.Total < 0 || report.Memory < 0 || len(report.Phase) > maxWord || len(report.Failed) > maxWord {
		answer(w, http.StatusBadRequest, message.Refusal{Code: "protocol", Reason: "this is no report of a tab"})
		return
	}
	if tab != 0 {
		if refusal := h.keepReport(tab, report); refusal != nil {
			answer(w, http.StatusGone, refusal)
			return
		}
	}
	v := h.view(report.Since)
	if owner {
		v.Refused = s.refusals()
	} else {
		v.Diary = nil
	}
	answer(w, http.StatusOK, v)
}

// maxWord bounds the words of a report, in bytes.
const maxWord = 64

// ours reports whether a request comes from a page of this server. For this content type a browser asks the server before it
// sends a request of another site, and this server allows none.
func (s *Rooms) ours(r *http.Request) bool {
	return s.OriginAllowed(r) && r.Header.Get("Content-Type") == "application/json"
}
