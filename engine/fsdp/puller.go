package fsdp

import "time"

// Puller pulls the pieces of one view from one peer: a bounded number at a time, and again those that do not come.
type Puller struct {
	Want Pull // From and To are those of the whole

	got    []uint64
	next   int // the first piece that has not been asked for since the last retry
	flight int // pieces asked for and not there
	left   int
	waits  bool      // something is under way since moved
	asked  time.Time // when something was last asked for
	moved  time.Time // when the wait for what is under way began, or something came
}

// NewPuller makes a puller of the pieces w.From to w.To-1.
func NewPuller(w Pull) *Puller {
	n := w.To - w.From
	return &Puller{Want: w, got: make([]uint64, (n+63)/64), next: w.From, left: n}
}

func (p *Puller) has(i int) bool {
	i -= p.Want.From
	return p.got[i/64]>>(i%64)&1 != 0
}

// Done reports whether all pieces have come.
func (p *Puller) Done() bool { return p.left == 0 }

// Ask returns the next run of pieces to ask for, so that at most window are under way; ok is false where there is
// nothing to ask for now. Only pieces for which open holds are asked for; nil means all.
func (p *Puller) Ask(now time.Time, window int, open func(i int) bool) (pull Pull, ok bool) {
	pull = p.Want
	for p.next < p.Want.To && p.has(p.next) {
		p.next++
	}
	pull.From, pull.To = p.next, p.next
	for pull.To < p.Want.To && p.flight+pull.To-pull.From < window && !p.has(pull.To) && (open == nil || open(pull.To)) {
		pull.To++
	}
	if n := pull.To - pull.From; n > 0 {
		if p.flight == 0 && !p.waits {
			p.moved = now
		}
		p.next, p.flight, p.asked, p.waits = pull.To, p.flight+n, now, true
	}
	return pull, pull.To > pull.From
}

// Got notes that piece i has come. It reports false if the piece had come before or was not asked for.
func (p *Puller) Got(now time.Time, i int) bool {
	if i < p.Want.From || i >= p.Want.To || p.has(i) {
		return false
	}
	p.got[(i-p.Want.From)/64] |= 1 << ((i - p.Want.From) % 64)
	p.left--
	p.flight = max(p.flight-1, 0)
	p.moved, p.waits = now, p.flight > 0
	return true
}

// Waits reports whether pieces were asked for that have not come.
func (p *Puller) Waits() bool { return p.waits }

// Quiet is the time since a piece came last, while others are awaited.
func (p *Puller) Quiet(now time.Time) time.Duration {
	if !p.waits {
		return 0
	}
	return now.Sub(p.moved)
}

// Retry asks again for what has been under way for longer than after, once in each such time. Quiet goes on counting.
func (p *Puller) Retry(now time.Time, after time.Duration) {
	if p.flight > 0 && now.Sub(p.moved) >= after && now.Sub(p.asked) >= after {
		p.next, p.flight = p.Want.From, 0
	}
}

// Reset forgets which pieces were asked for: the connection has ended, and they will not come.
func (p *Puller) Reset() { p.next, p.flight = p.Want.From, 0 }
