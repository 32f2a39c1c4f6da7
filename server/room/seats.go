package room

import (
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

// cleanName makes a name of at most message.RoomNameLimit characters on one line from a text that somebody typed.
func cleanName(name string) string {
	name = strings.Join(strings.FieldsFunc(name, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) }), " ")
	if letters := []rune(name); len(letters) > message.RoomNameLimit {
		name = strings.TrimSpace(string(letters[:message.RoomNameLimit]))
	}
	return name
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

// knows reports whether a tab is in the room, or has a seat and is still loading.
func (h *Host) knows(tab uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.room.tabs[tab] != nil || h.seats[tab] != nil
}

// here counts the tabs that are connected or still loading; the caller holds the lock.
func (h *Host) here(now time.Time) (n int) {
	for id, s := range h.seats {
		if t := h.room.tabs[id]; t != nil && t.online {
			continue
		}
		if now.Sub(s.heard) < absentAfter && s.report.Failed == "" && !s.report.Left && !h.room.removed[id] {
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

func (h *Host) over() bool {
	done, err := h.Done()
	return done || err != nil
}
