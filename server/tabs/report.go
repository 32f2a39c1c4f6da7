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

// usage adds up what the steps of a run over tabs took.
type usage struct {
	next    uint64 // the next step to ask the room for
	steps   int
	seconds float64
	reduce  float64
	reduced int64
	ranks   []room.TabUse
}

// add counts a step in, and puts what of it is by rank into its line.
func (u *usage) add(s room.StepUse, line *message.Step) {
	ranks := make([]room.TabUse, len(u.ranks))
	for _, tab := range s.Tabs {
		if rank, ok := rankOf(tab.Name); ok && rank < len(ranks) { // of two that had the rank in the step, both count
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

func rankName(rank int) string { return fmt.Sprintf("rank %d", rank) }

func rankOf(name string) (int, bool) {
	number, ok := strings.CutPrefix(name, "rank ")
	rank, err := strconv.Atoi(number)
	return rank, ok && err == nil
}

// Report is what summary.json says of a run over tabs, under "fsdp". Bytes are those of a step and rank, as means over
// the steps of this life of the program.
type Report struct {
	Strategy   string       `json:"sharding_strategy"`
	Slots      int          `json:"slots"`
	Parameters int          `json:"trained_parameters"`
	Steps      int          `json:"steps"`
	StepTime   float64      `json:"step_seconds"`
	Ranks      []rankReport `json:"ranks"`
	Mean       byteReport   `json:"mean"`     // over the ranks
	Forecast   byteReport   `json:"forecast"` // by the strategy's formula, without headers
	DDP        byteReport   `json:"ddp"`      // the same of NO_SHARD
	// What a rank holds of weights, gradients and optimizer states by the strategy's formula, and under NO_SHARD.
	Held    map[string]int64 `json:"held_forecast,omitempty"`
	HeldDDP map[string]int64 `json:"held_ddp,omitempty"`
	Room    roomReport       `json:"room"`
	// Slots computed again, as whoever had them was gone or too slow; shards given to a tab that did not have them.
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
	Framing   float64            `json:"framing"` // bytes a step of headers and control messages, both ways
	StateUp   int64              `json:"checkpoint_bytes"`
	StateDown int64              `json:"restored_bytes"` // and for the result
	Held      map[string]int64   `json:"held"`           // bytes on its GPU by class
	Fractions map[string]float64 `json:"fractions"`      // of the steps' time, see fractions
}

// roomReport is the room's own part: its checks and sums of gradients, against the memory that they pass through.
type roomReport struct {
	ReduceFraction float64 `json:"reduce_fraction"`       // of the steps' time
	ReduceRate     float64 `json:"reduce_gb_per_second"`  // of gradients as they came
	MemoryRate     float64 `json:"traffic_gb_per_second"` // what of the memory's traffic that is: the gradient and the sum are read, the sum is written
	CopyRate       float64 `json:"copy_gb_per_second"`    // the memory's traffic where bytes are copied, for comparison
}

// fractions tell what part of the steps a rank passed with what. compute, encode, send and apply may overlap, and with wait
// make up the whole; fetch, what was asked for and had not come, is part of wait; pulled is the time in which the room
// waited for bytes of the rank, whatever the rank did meanwhile.
func fractions(u room.TabUse, seconds float64) map[string]float64 {
	s := u.Spent
	all := max(s.Clock, 1e-9)
	return map[string]float64{"wait": s.Wait() / all, "compute": s.Compute / all, "encode": s.Encode / all, "send": s.Send / all, "apply": s.Apply / all,
		"fetch": s.Fetch / all, "pulled": u.Pulled / max(seconds, 1e-9)}
}

// of makes the report.
func (u *usage) of(run *fsdp.Run, params int) Report {
	n, steps := len(u.ranks), float64(max(u.steps, 1))
	forecast := func(s fsdp.Strategy) byteReport {
		f := fsdp.Forecast(s, params, run.Travelling(n), n, run.Reduce().Size(), run.Param().Size())
		if s == fsdp.HybridShard { // each group gathers among itself; the room takes new parameters from one of them
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

// copyRate is the traffic of the memory where bytes are copied, read and written, in GB/s: the best of a few passes.
func copyRate() float64 {
	const size = 64 << 20                                         // more than caches hold
	from, to := bytes.Repeat([]byte{1}, size), make([]byte, size) // untouched memory is all one page of zeros
	best := time.Duration(1 << 62)
	for range 5 {
		begin := time.Now()
		copy(to, from)
		best = min(best, time.Since(begin))
	}
	return 2 * size / best.Seconds() / 1e9
}

// report puts on record what the run moved and what its time went into.
func (t *tabsRun) report(run *fsdp.Run) error {
	v := t.host.View(true)
	held, ddp, err := t.held(run.Strategy)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.sum.of(run, v.Params)
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

// String is the report for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s over %d tabs, %d slots: %s up and %s down a step and rank, %s and %s by the formula, %s and %s under DDP",
		r.Strategy, len(r.Ranks), r.Slots, size(r.Mean.Up), size(r.Mean.Down), size(r.Forecast.Up), size(r.Forecast.Down), size(r.DDP.Up), size(r.DDP.Down))
	for _, rank := range r.Ranks {
		f := rank.Fractions
		fmt.Fprintf(&b, "\n  rank %d: compute %.0f %%, encode %.0f %%, send %.0f %%, apply %.0f %%, wait %.0f %% (of it fetching %.0f %%); the room pulled %.0f %%",
			rank.Rank, 100*f["compute"], 100*f["encode"], 100*f["send"], 100*f["apply"], 100*f["wait"], 100*f["fetch"], 100*f["pulled"])
	}
	for _, class := range []device.Class{device.Weights, device.Gradients, device.Optimizer} {
		c := class.String()
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

// size spells bytes.
func size(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2f MB", n/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", n/1e3)
	}
	return fmt.Sprintf("%.0f B", n)
}
