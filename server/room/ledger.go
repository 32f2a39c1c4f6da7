package room

import (
	"maps"
	"slices"
	"time"

	"llamatab/engine/fsdp"
)

// StepUse is the time and traffic of a step.
type StepUse struct {
	Step    uint64 // from 0
	Seconds float64
	Reduce  float64  // seconds in which the room checked and added gradients
	Reduced int64    // bytes of those gradients
	Tabs    []TabUse // those that took part, by number
}

// TabUse is a tab's part of a step. Bytes are those of the frames on its two sockets.
type TabUse struct {
	Tab  uint32
	Name string

	Up, Down int64 // what fsdp.Forecast computes: gradients and parameters up, reduced gradients and parameters down, without headers
	Sent     int64 // everything that belongs to the step, with headers and control messages
	Received int64
	// Not part of the step: checkpoints up; down the masters of the result, and the states and gradients of earlier steps that a
	// shard is made again from.
	StateUp, StateDown int64

	Pulled float64          // seconds in which the room waited for pieces of it
	Spent  fsdp.Spent       // by the tab's own clock
	Usage  map[string]int64 // bytes on its GPU by class, at the end of the step
}

// Add adds b, which is later: its Usage replaces that of a.
func (a *TabUse) Add(b TabUse) {
	a.Up, a.Down, a.Sent, a.Received = a.Up+b.Up, a.Down+b.Down, a.Sent+b.Sent, a.Received+b.Received
	a.StateUp, a.StateDown, a.Pulled = a.StateUp+b.StateUp, a.StateDown+b.StateDown, a.Pulled+b.Pulled
	a.Spent = a.Spent.Plus(b.Spent)
	if b.Usage != nil {
		a.Usage = b.Usage
	}
}

// ledger measures the steps of a room. A frame counts for the step that it names, so a step is closed only when its update has
// reached every tab; the next steps may have begun by then.
type ledger struct {
	room       *Room
	open       []*page // the steps from first on, without gaps
	first      uint64
	closed     []StepUse // the last ones
	clocks     map[uint32]fsdp.Spent
	at         time.Time
	awaited    []uint32 // since at, tabs of which pieces are awaited
	evaluating bool     // since at, an evaluation goes on, which is no part of a step
}

// page is an open step.
type page struct {
	StepUse
	tabs map[uint32]*TabUse
}

const (
	closedSteps = 1024 // that are kept
	openSteps   = 4    // a tab that is more steps behind is not waited for
)

func newLedger(r *Room, now time.Time) *ledger {
	l := &ledger{room: r, first: r.step, clocks: map[uint32]fsdp.Spent{}, at: now}
	l.settle(now)
	return l
}

// page is the open page of a step, or of the nearest one.
func (l *ledger) page(step uint64) *page {
	step = min(max(step, l.first), l.first+uint64(len(l.open))-1)
	return l.open[step-l.first]
}

func (p *page) of(tab uint32) *TabUse {
	u := p.tabs[tab]
	if u == nil {
		u = &TabUse{Tab: tab}
		p.tabs[tab] = u
	}
	return u
}

// frame counts a frame of n bytes that came from a tab, or went to it.
func (l *ledger) frame(tab uint32, up bool, h fsdp.Header, n int) {
	body := int64(h.Len)
	step, state := l.room.step, false
	switch h.Type {
	case fsdp.TypeState, fsdp.TypeMaster:
		state = true
	case fsdp.TypeReduced:
		step, state = h.Step, h.Step < l.first
	case fsdp.TypeParam: // those that the last update leaves are for the result, or its evaluation
		step, state = h.Step, h.Step >= uint64(l.room.run.Steps)
	case fsdp.TypeGradient:
		step = h.Step
	default:
		body = 0
	}
	u := l.page(step).of(tab)
	switch {
	case state && up:
		u.StateUp += int64(n)
	case state:
		u.StateDown += int64(n)
	case up:
		u.Sent, u.Up = u.Sent+int64(n), u.Up+body
	default:
		u.Received, u.Down = u.Received+int64(n), u.Down+body
	}
}

// startClock notes a tab's clock when the tab is seen first or the run has not begun: time before that is no part of a step.
func (l *ledger) startClock(tab uint32) {
	t := l.room.tabs[tab]
	if t == nil || t.status.Spent == (fsdp.Spent{}) {
		return
	}
	if _, known := l.clocks[tab]; !known || !l.room.started {
		l.clocks[tab] = t.status.Spent
	}
}

// reduced counts the time that it took to add a piece of a gradient.
func (l *ledger) reduced(h fsdp.Header, d time.Duration) {
	p := l.page(h.Step)
	p.Reduce += d.Seconds()
	p.Reduced += int64(h.Len)
}

// settle counts the time since the last event, and closes steps that are over.
func (l *ledger) settle(now time.Time) {
	d := now.Sub(l.at).Seconds()
	l.at = now
	if len(l.open) > 0 && !l.evaluating {
		p := l.page(l.room.step)
		p.Seconds += d
		for _, tab := range l.awaited {
			p.of(tab).Pulled += d
		}
	}
	l.awaited = l.room.awaited(l.awaited[:0])
	if l.evaluating && l.room.phase == Computing && l.first == l.room.step { // the evaluation is over: clocks start anew
		for id := range l.clocks {
			if t := l.room.tabs[id]; t != nil && t.status.Spent != (fsdp.Spent{}) {
				l.clocks[id] = t.status.Spent
			}
		}
	}
	l.evaluating = l.room.phase == Evaluating || l.evaluating && l.room.phase == Deciding
	for l.first+uint64(len(l.open)) <= l.room.step || len(l.open) == 0 {
		l.open = append(l.open, &page{StepUse{Step: l.first + uint64(len(l.open))}, map[uint32]*TabUse{}})
	}
	for l.first < l.room.step && (l.first+openSteps <= l.room.step || l.room.reached(l.first+1)) {
		l.closed = append(l.closed, l.take(l.open[0]))
		l.open = slices.Delete(l.open, 0, 1)
		l.first++
		if len(l.closed) > closedSteps {
			l.closed = slices.Delete(l.closed, 0, closedSteps/2)
		}
	}
}

// take completes a page with the time that the tabs' clocks have counted since the last one.
func (l *ledger) take(p *page) StepUse {
	for id, t := range l.room.tabs {
		spent := t.status.Spent
		if spent == (fsdp.Spent{}) {
			continue
		}
		if last, known := l.clocks[id]; known && last.Clock <= spent.Clock {
			p.of(id).Spent = spent.Minus(last)
		}
		l.clocks[id] = spent
	}
	maps.DeleteFunc(l.clocks, func(id uint32, _ fsdp.Spent) bool { return l.room.tabs[id] == nil })
	for _, id := range slices.Sorted(maps.Keys(p.tabs)) {
		u := *p.tabs[id]
		if t := l.room.tabs[id]; t != nil {
			u.Name, u.Usage = t.name, t.usage
		}
		p.Tabs = append(p.Tabs, u)
	}
	return p.StepUse
}

// awaited appends the tabs that owe the room pieces.
func (r *Room) awaited(tabs []uint32) []uint32 {
	add := func(tab uint32, p *fsdp.Puller) {
		if p != nil && p.Waits() && !slices.Contains(tabs, tab) {
			tabs = append(tabs, tab)
		}
	}
	for _, s := range r.slots {
		add(s.source, s.pull)
	}
	for i := range r.params {
		add(r.params[i].source, r.params[i].pull)
	}
	if r.saving != nil {
		add(r.saving.source, r.saving.pull)
	}
	if r.audit != nil {
		add(r.audit.tab, r.audit.pull)
	}
	return tabs
}

// reached reports whether all shards of connected tabs are at least at a version.
func (r *Room) reached(version uint64) bool {
	for _, t := range r.tabs {
		if !t.attached {
			continue
		}
		for i := range t.keep {
			if t.held[i] < version {
				return false
			}
		}
	}
	return true
}
