package fsdp

import (
	"math"
	"sync"
	"time"
)

// Activity is a use of a tab's time.
type Activity int

const (
	Computing Activity = iota // forward and backward passes
	Encoding                  // reading what is on the GPU back, rounded for the wire
	Sending                   // handing frames to the sockets
	Applying                  // updates
	Fetching                  // pieces were asked for and have not come; this counts as waiting
	activities

	Idle Activity = -1 // none of these
)

// Spent is how a tab has spent its time since it began, in seconds.
type Spent struct {
	Clock   float64 `json:"clock,omitempty"` // all of it
	Busy    float64 `json:"busy,omitempty"`  // of that, with at least one of the next four
	Compute float64 `json:"compute,omitempty"`
	Encode  float64 `json:"encode,omitempty"`
	Send    float64 `json:"send,omitempty"`
	Apply   float64 `json:"apply,omitempty"`
	Fetch   float64 `json:"fetch,omitempty"`
}

// Wait is the time without work.
func (s Spent) Wait() float64 { return max(0, s.Clock-s.Busy) }

// Plus is the sum of both.
func (s Spent) Plus(b Spent) Spent { return s.with(b, 1) }

// Minus is what has been added since b.
func (s Spent) Minus(b Spent) Spent { return s.with(b, -1) }

func (s Spent) with(b Spent, sign float64) Spent {
	return Spent{s.Clock + sign*b.Clock, s.Busy + sign*b.Busy, s.Compute + sign*b.Compute, s.Encode + sign*b.Encode, s.Send + sign*b.Send,
		s.Apply + sign*b.Apply, s.Fetch + sign*b.Fetch}
}

// Stopwatch measures how a tab spends its time. Activities may overlap; any goroutine may use it.
type Stopwatch struct {
	mu    sync.Mutex
	began time.Time
	last  time.Time // up to when spent is counted
	under [activities]int
	spent [activities]time.Duration
	busy  time.Duration
	turn  Activity // of whoever calls Turn
}

// NewStopwatch begins to measure.
func NewStopwatch(now time.Time) *Stopwatch { return &Stopwatch{began: now, last: now, turn: Idle} }

// Turn switches the activity of a caller that does one thing after another, and returns the activity before.
func (w *Stopwatch) Turn(now time.Time, a Activity) (before Activity) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(now)
	if before, w.turn = w.turn, a; before != Idle {
		w.under[before]--
	}
	if a != Idle {
		w.under[a]++
	}
	return before
}

// Begin begins an activity and returns the function that ends it.
func (w *Stopwatch) Begin(now time.Time, a Activity) (end func(now time.Time)) {
	w.change(now, a, 1)
	return func(now time.Time) { w.change(now, a, -1) }
}

// Set begins or ends an activity. Calls that change nothing are allowed.
func (w *Stopwatch) Set(now time.Time, a Activity, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(now)
	w.under[a] = 0
	if on {
		w.under[a] = 1
	}
}

func (w *Stopwatch) change(now time.Time, a Activity, by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(now)
	w.under[a] += by
}

// advance counts the time up to now.
func (w *Stopwatch) advance(now time.Time) {
	d, working := now.Sub(w.last), false
	if d <= 0 {
		return
	}
	w.last = now
	for a, n := range w.under {
		if n > 0 {
			w.spent[a] += d
			working = working || Activity(a) != Fetching
		}
	}
	if working {
		w.busy += d
	}
}

// Spent is the time measured up to now.
func (w *Stopwatch) Spent(now time.Time) Spent {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance(now)
	s := func(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }
	return Spent{s(w.last.Sub(w.began)), s(w.busy), s(w.spent[Computing]), s(w.spent[Encoding]), s(w.spent[Sending]), s(w.spent[Applying]), s(w.spent[Fetching])}
}
