//go:build soak

package room

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"llamatab/engine/fsdp"
	"llamatab/engine/tensor"
)

func init() { exhaustive = true }

// TestSimulationLong is the long matrix.
func TestSimulationLong(t *testing.T) { simulateSeeds(t, 1_000_001, 60_000) }

const (
	soakTabs    = 200
	soakMinutes = 10
)

// TestManyTabs has 200 tabs join, work, stall and leave over real sockets; what the program holds stays bounded.
func TestManyTabs(t *testing.T) {
	site := newSite(t)
	cfg := toyConfig(fsdp.FullShard, 1<<30)
	cfg.Run.Slots, cfg.Run.Shards, cfg.Run.Piece = 256, 64, 4096
	cfg.Run.Params = []fsdp.Param{{Name: "a", Shape: tensor.Of(256, 64), Unit: "u0"}, {Name: "b", Shape: tensor.Of(300, 20), Unit: "u1"}}
	cfg.MinTabs, cfg.MaxTabs, cfg.Audit = soakTabs/2, soakTabs+20, 0.002
	code, owner := site.open("lesson", cfg)
	cfg.Run.Steps = 1 // of the reference, which is not compared here
	c := newClass(site, cfg, "lesson", code)
	c.want.commits, c.sound = nil, true
	rng := rand.New(rand.NewPCG(1, 2))
	var members []*member
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	begin, told, first, most := time.Now(), time.Time{}, uint64(0), uint64(0)
	steps := uint64(0)
	for time.Since(begin) < soakMinutes*time.Minute {
		for len(members) < soakTabs {
			members = append(members, c.join(time.Duration(20+rng.IntN(200))*time.Millisecond))
		}
		time.Sleep(2 * time.Second)
		for range 4 { // four leave for good, four stall for a while
			i := rng.IntN(len(members))
			members[i].stop()
			members = append(members[:i], members[i+1:]...)
			m := members[rng.IntN(len(members))]
			c.enter(func() { m.frozen = c.now.Add(time.Duration(rng.IntN(20)) * time.Second) })
		}
		if h := heap(); time.Since(begin) > 2*time.Minute {
			most = max(most, h)
			if first == 0 {
				first = h
			}
		}
		if v := site.view("lesson", owner); v.Step > steps {
			steps = v.Step
		}
		if time.Since(told) > 30*time.Second {
			told = time.Now()
			t.Logf("%4.0f s: step %d, heap %d MiB, %d goroutines", told.Sub(begin).Seconds(), steps, heap()>>20, runtime.NumGoroutine())
		}
	}
	v := site.view("lesson", owner)
	t.Logf("%d steps, heap %d MiB after two minutes, %d MiB at most; %+v; dropped %v", steps, first>>20, most>>20, v.Stats, site.rooms.Dropped())
	if most > 2*first+64<<20 {
		t.Errorf("the heap grew from %d to %d MiB", first>>20, most>>20)
	}
	if n := v.Stats.Commits - v.Stats.Skips; steps < 3 || n < 3 { // on a machine that has better to do
		t.Errorf("%d steps, %d of them updates, in %d minutes", steps, n, soakMinutes)
	}
	if c.failure != "" {
		t.Error(c.failure)
	}
}
