package fsdp

import (
	"testing"
	"time"
)

// TestStopwatch: what overlaps counts once as work, and what is only waited for is none.
func TestStopwatch(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(100, 0).Add(time.Duration(s * float64(time.Second))) }
	w := NewStopwatch(at(0))
	computed := w.Begin(at(1), Computing)
	w.Set(at(2), Fetching, true)
	sent := w.Begin(at(3), Sending)
	if got, want := w.Spent(at(3.5)), (Spent{Clock: 3.5, Busy: 2.5, Compute: 2.5, Send: 0.5, Fetch: 1.5}); got != want {
		t.Errorf("in the middle of it: %+v, want %+v", got, want)
	}
	computed(at(4))
	sent(at(5))
	w.Set(at(7), Fetching, true)
	w.Set(at(8), Fetching, false)
	got := w.Spent(at(10))
	if want := (Spent{Clock: 10, Busy: 4, Compute: 3, Send: 2, Fetch: 6}); got != want || got.Wait() != 6 {
		t.Errorf("%+v, want %+v", got, want)
	}
	w.Turn(at(10), Computing)
	if before := w.Turn(at(11), Idle); before != Computing {
		t.Errorf("before it was idle it did %d", before)
	}
	w.Turn(at(13), Applying)
	w.Turn(at(14), Idle)
	if d := w.Spent(at(15)).Minus(got); d != (Spent{Clock: 5, Busy: 2, Compute: 1, Apply: 1}) {
		t.Errorf("one thing after another: %+v", d)
	}
	if sum := got.Minus(Spent{Clock: 4, Busy: 3}).Plus(Spent{Clock: 1}); sum.Clock != 7 || sum.Busy != 1 || sum.Send != 2 {
		t.Errorf("%+v", sum)
	}
}
