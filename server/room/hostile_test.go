package room

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"

	"llamatab/engine/fsdp"
)

var hostileCount = flag.Uint64("hostile", 200, "run `N` seeds of the simulation with members that lie")

// lie names a slot of a step in whose result a tab lied.
type lie struct {
	tab  uint32
	step uint64
	slot int
}

// hostile draws a run with members that lie: one, or two that do not agree with each other, among honest ones. Either every slot
// is audited, or a fraction of them.
func hostile(seed uint64) *sim {
	s := scenario(seed)
	rng := s.rng
	p := s.plan
	s.plan = faults{until: p.until, dup: p.dup, swap: p.swap, joins: p.joins, die: p.die, pauses: p.pauses, liar: true, lies: 0.05 + rng.Float64()}
	s.liars = 1 + rng.IntN(2)
	s.cfg.MinTabs = 2*s.liars + 2 + rng.IntN(2)
	s.cfg.Audit, s.cfg.Tokens = 1, nil
	if s.partial = rng.IntN(3) == 0; s.partial {
		s.cfg.Audit = 0.1 + 0.5*rng.Float64()
	}
	s.lied, s.doubted = map[lie]bool{}, map[uint32][]stepRange{}
	return s
}

// lie changes the result of a tab that lies, and keeps that it did.
func (e *toyEngine) lie(r *fsdp.Ready, g []float32) {
	h := mix(e.s.seed, r.Step, uint64(r.Slot), uint64(e.tab.id), 23)
	if float64(h>>11)/(1<<53) >= e.s.plan.lies {
		return
	}
	e.s.lied[lie{e.tab.id, r.Step, r.Slot}] = true
	id := int(e.tab.id) // no two tabs tell the same lie: two that agree are believed
	switch i := int(h>>8) % len(g); h % 8 {
	case 0:
		g[i] += float32(id)
	case 1: // one bit of one number, which bfloat16 has as well
		g[i] = math.Float32frombits(math.Float32bits(g[i]) ^ 1<<(16+id%7))
	case 2:
		for j := range g {
			g[j] = -g[j]
		}
		g[i] = float32(id)
	case 3:
		clear(g)
		g[i] = float32(id)
	case 4:
		for j := range g {
			g[j] *= 1024
		}
		g[i] = float32(id)
	case 5:
		r.Loss = r.Loss*2 + float64(id)
	case 6:
		r.Tokens += id + 100*int(h>>40%1_000_000)
	case 7:
		r.Tokens, r.Loss = r.Tokens+id, r.Loss-1
	}
}

// checkDoubts holds each commit against what tabs lied about: of a tab that was found out, every step that holds a lie of it is
// named as doubtful.
func (s *sim) checkDoubts() {
	entries, tail, err := s.store.Read(simRoom)
	if err != nil {
		s.fail("%v", err)
		return
	}
	records, err := ParseLog(entries, tail)
	if err != nil {
		s.fail("%v", err)
		return
	}
	for _, rec := range records {
		if rec.Kind != Committed {
			continue
		}
		for k, from := range rec.Slots {
			for _, tab := range from {
				named := slices.ContainsFunc(s.doubted[tab], func(r stepRange) bool { return r.from <= rec.Step && rec.Step <= r.to })
				if s.lied[lie{tab, rec.Step, k}] && s.room.removed[tab] && !named {
					s.fail("step %d holds a lie of tab %d in slot %d, which was found out later, and is not named: %v are", rec.Step, tab, k, s.doubted[tab])
				}
			}
		}
	}
}

// TestLyingMembers simulates rooms with members that lie about gradients, losses and numbers of tokens. Where every slot is audited,
// the run ends with the bits of a run without them. Where some are, the steps that may hold the results of a tab that is found
// out are named.
func TestLyingMembers(t *testing.T) {
	if *oneSeed != 0 {
		trySeed(t, *oneSeed, hostile)
		return
	}
	var mu sync.Mutex
	var sum Stats
	lies, doubted := 0, 0
	t.Run("seeds", func(t *testing.T) {
		const parts = 4
		for part := range uint64(parts) {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for seed := *firstSeed + part; seed < *firstSeed+*hostileCount && !t.Failed(); seed += parts {
					s := trySeed(t, seed, hostile)
					mu.Lock()
					sum.add(s.stats)
					lies, doubted = lies+len(s.lied), doubted+len(slices.Collect(maps.Keys(s.doubted)))
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%d lies, %d tabs removed for them, %d of them with doubtful steps; %+v", lies, sum.Liars, doubted, sum)
	if !t.Failed() && (sum.Liars == 0 || doubted == 0) {
		t.Error("no tab was found out, or none had doubtful steps")
	}
}
