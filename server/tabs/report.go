package tabs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/server/room"
)

// usage adds up what the recorded steps of a run took.
type usage struct {
	next    uint64 // the first step that the room has not been asked about
	steps   int
	seconds float64
	reduce  float64
	reduced int64
	ranks   []room.TabUse
}

// add counts a step, and sets the fields by rank of its line.
func (u *usage) add(s room.StepUse, line *message.Step) {
	ranks := make([]room.TabUse, len(u.ranks))
	for _, tab := range s.Tabs {
		if rank, ok := rankOf(tab.Name); ok && rank < len(ranks) { // two tabs had the rank where one replaced the other: both count
			ranks[rank].Add(tab)
		}
	}
	for i, r := range ranks {
		u.ranks[i].Add(r)
		line.BytesSent, line.BytesReceived = append(line.BytesSent, r.Sent), append(line.BytesReceived, r.Received)
		line.WaitSeconds = append(line.WaitSeconds, r.Spent.Wait())
	}
	u.steps, u.seconds, u.reduce, u.reduced = u.steps+1, u.seconds+s.Seconds, u.reduce+s.Reduce, u.reduced+s.Reduced
}

// rankName is the name under which the tab of a rank joins the room, and rankOf reads it.
func rankName(rank int) string { return fmt.Sprintf("rank %d", rank) }

func rankOf(name string) (int, bool) {
	number, ok := strings.CutPrefix(name, "rank ")
	rank, err := strconv.Atoi(number)
	return rank, ok && err == nil
}

// Report is the part of summary.json under "fsdp". Bytes are means per step and rank, over the steps that this process
// ran.
type Report struct {
	Strategy   string       `json:"sharding_strategy"`
	Slots      int          `json:"slots"`
	Parameters int          `json:"trained_parameters"`
	Steps      int          `json:"steps"`
	StepTime   float64      `json:"step_seconds"`
	Ranks      []rankReport `json:"ranks"`
	Mean       byteReport   `json:"mean"`     // over the ranks
	Forecast   byteReport   `json:"forecast"` // by the strategy's formula, without headers
	DDP        byteReport   `json:"ddp"`      // by the formula of NO_SHARD
	// Bytes of weights, gradients and optimizer states that a rank holds, by the formulas of the strategy and of NO_SHARD.
	Held    map[string]int64 `json:"held_forecast,omitempty"`
	HeldDDP map[string]int64 `json:"held_ddp,omitempty"`
	Room    roomReport       `json:"room"`
	// Slots computed again because their tab was gone, slots computed twice because their tab was slow, and shards that
	// were sent to a tab that did not have them.
	Recomputed int64 `json:"recomputed_slots"`
	Copied     int64 `json:"copied_slots"`
	Restored   int64 `json:"restored_shards"`
}

type byteReport struct {
	Up   float64 `json:"up"`
	Down float64 `json:"down"`
}

type rankReport struct {
	Rank int `json:"rank"`
	byteReport
	Framing   float64            `json:"framing"` // bytes of headers and control messages in both directions
	StateUp   int64              `json:"checkpoint_bytes"`
	StateDown int64              `json:"restored_bytes"` // includes those that the result needs
	Held      map[string]int64   `json:"held"`           // bytes on its GPU by class
	Fractions map[string]float64 `json:"fractions"`      // of the steps' time, see fractions
}

// roomReport compares the room's sums of gradients with the speed of this machine's memory.
type roomReport struct {
	ReduceFraction float64 `json:"reduce_fraction"`       // of the steps' time
	ReduceRate     float64 `json:"reduce_gb_per_second"`  // of received gradients
	MemoryRate     float64 `json:"traffic_gb_per_second"` // memory traffic of that: the gradient and the sum are read, the sum is written
	CopyRate       float64 `json:"copy_gb_per_second"`    // memory traffic of a plain copy, for comparison
}

// fractions are parts of the steps' time: compute, encode, send, apply and wait of a rank. The first four may overlap, and
// wait is the rest. fetch is the part of wait in which requested bytes had not arrived. pulled is the time in which the
// room waited for bytes of the rank.
func fractions(u room.TabUse, seconds float64) map[string]float64 {
	s := u.Spent
	all := max(s.Clock, 1e-9)
	return map[string]float64{"wait": s.Wait() / all, "compute": s.Compute / all, "encode": s.Encode / all, "send": s.Send / all, "apply": s.Apply / all,
		"fetch": s.Fetch / all, "pulled": u.Pulled / max(seconds, 1e-9)}
}

// report makes the report of a run with so many trained parameters.
func (u *usage) report(run *fsdp.Run, params int) Report {
	n, steps := len(u.ranks), float64(max(u.steps, 1))
	forecast := func(s fsdp.Strategy) byteReport {
		f := fsdp.Forecast(s, params, run.Travelling(n), n, run.Reduce().Size(), run.Param().Size())
		if s == fsdp.HybridShard { // a tab gathers within its group, so Shards takes the place of n
			f.Down = fsdp.Forecast(s, params, run.Travelling(n), run.Shards, run.Reduce().Size(), run.Param().Size()).Down
		}
		return byteReport{f.Up, f.Down}
	}
	r := Report{Strategy: string(run.Strategy), Slots: run.Slots, Parameters: params, Steps: u.steps, StepTime: u.seconds / steps,
		Forecast: forecast(run.Strategy), DDP: forecast(fsdp.NoShard)}
	for i, use := range u.ranks {
		at := byteReport{float64(use.Up) / steps, float64(use.Down) / steps}
		r.Mean.Up, r.Mean.Down = r.Mean.Up+at.Up/float64(n), r.Mean.Down+at.Down/float64(n)
		r.Ranks = append(r.Ranks, rankReport{Rank: i, byteReport: at, Framing: float64(use.Sent+use.Received-use.Up-use.Down) / steps,
			StateUp: use.StateUp, StateDown: use.StateDown, Held: use.Usage, Fractions: fractions(use, u.seconds)})
	}
	if u.reduce > 0 {
		element := float64(run.Reduce().Size())
		r.Room.ReduceFraction = u.reduce / max(u.seconds, 1e-9)
		r.Room.ReduceRate = float64(u.reduced) / u.reduce / 1e9
		r.Room.MemoryRate = r.Room.ReduceRate * (element + 4 + 4) / element
	}
	r.Room.CopyRate = copyRate()
	return r
}

// copyRate is the memory traffic of a copy in GB/s, reads and writes together: the best of five passes.
func copyRate() float64 {
	const size = 64 << 20                                         // larger than the caches
	from, to := bytes.Repeat([]byte{1}, size), make([]byte, size) // the first is written, as untouched memory is one shared page of zeros
	best := time.Duration(1 << 62)
	for range 5 {
		begin := time.Now()
		copy(to, from)
		best = min(best, time.Since(begin))
	}
	return 2 * size / best.Seconds() / 1e9
}

// report records what the run moved and where its time went: in summary.json, as an event and, where asked for, as a
// trace.
func (t *tabsRun) report(run *fsdp.Run) error {
	v := t.host.View(true)
	held, ddp, err := t.forecastHeld(run.Strategy)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.total.report(run, v.Params)
	r.Held, r.HeldDDP = held, ddp
	r.Recomputed, r.Copied, r.Restored = v.Stats.Recomputed, v.Stats.Copies, v.Stats.Restored
	if t.spec.Spans {
		if err := t.writeTrace(run, r); err != nil {
			return err
		}
	}
	if t.summary != nil {
		var all map[string]any
		if err := json.Unmarshal(t.summary, &all); err != nil {
			return fmt.Errorf("the engine's summary: %w", err)
		}
		all["fsdp"] = r
		text, err := json.Marshal(all)
		if err != nil {
			return err
		}
		t.record(message.Envelope{Type: "summary", Summary: text})
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var data map[string]any
	if err := json.Unmarshal(text, &data); err != nil {
		return err
	}
	t.record(roomEvent("info", "fsdp", v.Steps, data, r.String()))
	return nil
}

// String formats the report for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s over %d tabs, %d slots: %s up and %s down a step and rank, %s and %s by the formula, %s and %s under DDP",
		r.Strategy, len(r.Ranks), r.Slots, size(r.Mean.Up), size(r.Mean.Down), size(r.Forecast.Up), size(r.Forecast.Down), size(r.DDP.Up), size(r.DDP.Down))
	for _, rank := range r.Ranks {
		f := rank.Fractions
		fmt.Fprintf(&b, "\n  rank %d: compute %.0f %%, encode %.0f %%, send %.0f %%, apply %.0f %%, wait %.0f %% (of it fetching %.0f %%); the room pulled %.0f %%",
			rank.Rank, 100*f["compute"], 100*f["encode"], 100*f["send"], 100*f["apply"], 100*f["wait"], 100*f["fetch"], 100*f["pulled"])
	}
	for _, kind := range []device.MemoryKind{device.Weights, device.Gradients, device.Optimizer} {
		c := kind.String()
		fmt.Fprintf(&b, "\n  %s:", c)
		for _, rank := range r.Ranks {
			fmt.Fprintf(&b, " %s", size(float64(rank.Held[c])))
		}
		if r.Held != nil {
			fmt.Fprintf(&b, " by rank, %s by the formula, %s under DDP", size(float64(r.Held[c])), size(float64(r.HeldDDP[c])))
		}
	}
	fmt.Fprintf(&b, "\n  the room adds gradients up at %.2f GB/s, %.1f %% of a step; that is %.1f GB/s of memory traffic, where a copy makes %.1f",
		r.Room.ReduceRate, 100*r.Room.ReduceFraction, r.Room.MemoryRate, r.Room.CopyRate)
	return b.String()
}

// size formats bytes.
func size(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2f MB", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", n/1e3)
	}
	return fmt.Sprintf("%.0f B", n)
}
