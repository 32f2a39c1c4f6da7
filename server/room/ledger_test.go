package room

import (
	"testing"
	"time"

	"llamatab/engine/fsdp"
)

// TestLedgerOfEvaluations: the time of an evaluation is no part of a step, neither by the room's clock nor by the tabs'.
func TestLedgerOfEvaluations(t *testing.T) {
	r, handle := evaluating(t)
	now := time.Unix(0, 0)
	l := newLedger(r, now)
	pass := func(seconds int) {
		now = now.Add(time.Duration(seconds) * time.Second)
		l.settle(now)
	}
	say := func(seq uint64, s fsdp.Status) {
		for tab := range uint32(2) {
			s.Seq, s.Held = seq, []fsdp.Held{{Shard: 0, Version: max(2, r.Step())}}
			handle(GotMessage{tab + 1, s})
			l.startClock(tab + 1)
		}
	}
	say(2, fsdp.Status{Spent: fsdp.Spent{Clock: 5, Busy: 1}})
	pass(10)
	say(3, fsdp.Status{Spent: fsdp.Spent{Clock: 15, Busy: 9}})
	found := evaluatedAt(2, 1)
	handle(Logged{Record: found})
	pass(1) // the last of the evaluation
	pass(3)
	handle(Logged{Record: committedAt(2)})
	say(4, fsdp.Status{Spent: fsdp.Spent{Clock: 18, Busy: 11}})
	pass(0)
	if len(l.closed) != 1 || l.closed[0].Step != 2 || l.closed[0].Seconds != 3 {
		t.Fatalf("the steps took %+v", l.closed)
	}
	for _, u := range l.closed[0].Tabs {
		if u.Spent.Clock != 3 || u.Spent.Busy != 2 {
			t.Errorf("tab %d has passed its time with %+v", u.Tab, u.Spent)
		}
	}
}

// TestLedger: what the steps are said to have moved is what the strategy's formula says, whatever step it came in. The
// formula is that of a run in which each slot was computed once. On a slow machine the room gives a slot to a second tab,
// so the run is then made again.
func TestLedger(t *testing.T) {
	for _, strategy := range []fsdp.Strategy{fsdp.NoShard, fsdp.FullShard} {
		t.Run(string(strategy), func(t *testing.T) {
			for range 5 {
				if checkLedger(t, strategy) {
					return
				}
			}
			t.Error("in each of five runs a slot was computed twice")
		})
	}
}

// checkLedger makes a run of two tabs and reports whether each slot was computed once, so that it could be checked.
func checkLedger(t *testing.T, strategy fsdp.Strategy) bool {
	t.Helper()
	const steps = 12
	site := newSite(t)
	defer site.stop()
	cfg := toyConfig(strategy, steps)
	code, owner := site.open("lesson", cfg)
	c := newClass(site, cfg, "lesson", code)
	for range 2 {
		defer c.join(time.Millisecond).stop()
	}
	site.until("the end", func() bool { return site.view("lesson", owner).Phase == Done })
	h := site.rooms.Find("lesson")
	site.until("the last step's account", func() bool { return len(h.Steps(steps-1)) == 1 })
	used := h.Steps(0)
	if len(used) != steps || len(h.Steps(5)) != steps-5 {
		t.Fatalf("%d steps are accounted for, %d from the sixth on", len(used), len(h.Steps(5)))
	}
	var sum TabUse
	for i, s := range used {
		if s.Step != uint64(i) || len(s.Tabs) != 2 || s.Seconds <= 0 || s.Reduced != int64(4*2*c.table.Len) {
			t.Errorf("step %d is accounted for as %+v", i, s)
		}
		for _, u := range s.Tabs {
			sum.Add(u)
		}
	}
	f := fsdp.Forecast(strategy, c.table.Len, cfg.Run.Slots, 2, 2, 2)
	up, down := int64(f.Up*steps*2), int64(f.Down*steps*2)
	if v := site.view("lesson", owner); v.Stats.Copies+v.Stats.Recomputed+v.Stats.Restored > 0 {
		return false
	}
	exact := !strategy.Sharded() // else the toys gather for each slot anew
	if sum.Up != up || sum.Down < down || exact && sum.Down > down {
		t.Errorf("%d bytes up and %d down, the formula says %d and %d", sum.Up, sum.Down, up, down)
	}
	if sum.Sent <= sum.Up || sum.Received <= sum.Down || sum.StateUp < int64(12*c.table.Len) || sum.StateDown != 0 {
		t.Errorf("headers and checkpoints are missing: %+v", sum)
	}
	return true
}
