package room

import (
	"testing"
	"time"

	"llamatab/engine/dist"
)

// TestLedger: what the steps are said to have moved is what the strategy's formula says, whatever step it came in.
func TestLedger(t *testing.T) {
	for _, strategy := range []dist.Strategy{dist.NoShard, dist.FullShard} {
		t.Run(string(strategy), func(t *testing.T) {
			const steps = 12
			site := newSite(t)
			cfg := toyConfig(strategy, steps)
			code, owner := site.open("lesson", cfg)
			c := newClass(site, cfg, "lesson", code)
			c.join(time.Millisecond)
			c.join(time.Millisecond)
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
			f := dist.Forecast(strategy, c.table.Len, cfg.Run.Slots, 2, 2, 2)
			up, down := int64(f.Up*steps*2), int64(f.Down*steps*2)
			if v := site.view("lesson", owner); v.Stats.Copies+v.Stats.Recomputed+v.Stats.Restored > 0 {
				t.Skip("the machine was so slow that slots were given out twice")
			}
			exact := !strategy.Sharded() // else the toys gather for each slot anew
			if sum.Up != up || sum.Down < down || exact && sum.Down > down {
				t.Errorf("%d bytes up and %d down, the formula says %d and %d", sum.Up, sum.Down, up, down)
			}
			if sum.Sent <= sum.Up || sum.Received <= sum.Down || sum.StateUp < int64(12*c.table.Len) || sum.StateDown != 0 {
				t.Errorf("headers and checkpoints are missing: %+v", sum)
			}
		})
	}
}
