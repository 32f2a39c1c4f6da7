package room

import (
	"maps"
	"slices"
	"time"

	"llamatab/engine/fsdp"
)

// View describes a room for the page.
type View struct {
	ID       string    `json:"id"`
	Name     string    `json:"name,omitempty"`
	Phase    Phase     `json:"phase"`
	Reason   string    `json:"reason,omitempty"` // of a failure
	Strategy string    `json:"strategy"`
	Step     uint64    `json:"step"`
	Steps    int       `json:"steps"`
	Slots    int       `json:"slots"`
	Shards   int       `json:"shards"`
	Online   int       `json:"online"` // tabs that are connected
	Here     int       `json:"here"`   // connected tabs and tabs that are loading
	Locked   bool      `json:"locked"` // no further tab may join
	MinTabs  int       `json:"min_tabs"`
	MaxTabs  int       `json:"max_tabs"`
	Epoch    uint32    `json:"epoch"`
	Params   int       `json:"params"`  // elements that train
	Padding  int       `json:"padding"` // elements by which S equal shards would be larger
	Saved    uint64    `json:"saved"`   // version of the last checkpoint
	Stats    Stats     `json:"stats"`
	Tabs     []TabView `json:"tabs,omitempty"`
	Losses   []Loss    `json:"losses,omitempty"`
	Before   *float64  `json:"before,omitempty"` // the loss on held-out rows before the first step
	Diary    []Note    `json:"diary,omitempty"`
	// Forecast is the traffic of a step and tab for the connected tabs, DDP the same under NO_SHARD, in bytes without headers.
	Forecast fsdp.Traffic `json:"forecast"`
	DDP      fsdp.Traffic `json:"ddp"`
}

// TabView is one tab of the roster.
type TabView struct {
	Tab      uint32  `json:"tab"`
	Name     string  `json:"name,omitempty"`
	Class    string  `json:"class,omitempty"`
	State    string  `json:"state"` // "loading", "connecting", "online", "suspect", "leaving", "away", "left", "failed"
	Shards   []int   `json:"shards,omitempty"`
	Version  uint64  `json:"version"` // of its oldest shard
	Slots    int     `json:"slots"`   // computed so far
	Working  []int   `json:"working,omitempty"`
	Seconds  float64 `json:"seconds"`  // time of its last slot
	Relative float64 `json:"relative"` // Seconds divided by the median of all tabs
	In       int64   `json:"in"`       // bytes from it, without headers
	Out      int64   `json:"out"`      // bytes to it
	Memory   int64   `json:"memory"`   // bytes on its GPU, as the tab reports
	// Usage is Memory by class.
	Usage  map[string]int64 `json:"usage,omitempty"`
	Silent float64          `json:"silent"` // seconds since its last status

	// Means over the last steps that the tab took part in: bytes as Forecast counts them, and the part of its time in which it
	// waited.
	Up     float64 `json:"up"`
	Down   float64 `json:"down"`
	Waited float64 `json:"waited"`

	// From its page's Report.
	Phase  string `json:"phase,omitempty"`
	Done   int64  `json:"done,omitempty"`
	Total  int64  `json:"total,omitempty"`
	Hidden bool   `json:"hidden,omitempty"`
	Failed string `json:"failed,omitempty"`
}

// View describes the room.
func (r *Room) View(now time.Time) View {
	v := View{Name: r.cfg.Name, Phase: r.Phase(), Reason: r.reason, Strategy: string(r.run.Strategy), Step: r.step, Steps: r.run.Steps,
		Slots: r.run.Slots, Shards: r.table.Shards, MinTabs: r.cfg.MinTabs, MaxTabs: r.cfg.MaxTabs, Epoch: r.epoch, Params: r.table.Len,
		Padding: r.table.Padding(), Saved: r.base.version, Stats: r.Stats}
	var times []time.Duration
	for _, t := range r.inOrder() {
		if t.online {
			v.Online++
		}
		if t.slotTime > 0 {
			times = append(times, t.slotTime)
		}
	}
	slices.Sort(times)
	for _, t := range r.inOrder() {
		tv := TabView{Tab: t.id, Name: t.name, Class: t.class, Shards: slices.Sorted(maps.Keys(t.keep)), Slots: t.slots, Seconds: t.slotTime.Seconds(),
			In: t.in, Out: t.out, Memory: t.status.Memory, Usage: t.usage, State: "online", Silent: now.Sub(t.heard).Seconds()}
		for i, shard := range tv.Shards {
			if at := t.held[shard]; i == 0 || at < tv.Version {
				tv.Version = at
			}
		}
		for _, w := range t.work {
			tv.Working = append(tv.Working, w.Slot)
		}
		if len(times) > 0 && t.slotTime > 0 {
			tv.Relative = t.slotTime.Seconds() / times[len(times)/2].Seconds()
		}
		switch {
		case !t.online:
			tv.State = "away"
		case t.leaving:
			tv.State = "leaving"
		case !t.attached:
			tv.State = "connecting"
		case now.Sub(t.heard) >= suspectAfter:
			tv.State = "suspect"
		}
		v.Tabs = append(v.Tabs, tv)
	}
	v.forecast(r.run, max(v.Online, 1))
	return v
}

// forecast computes the traffic of a step for n tabs.
func (v *View) forecast(run *fsdp.Run, n int) {
	reduce, param := run.Reduce().Size(), run.Param().Size()
	v.Forecast = fsdp.Forecast(run.Strategy, v.Params, run.Travelling(n), n, reduce, param)
	v.DDP = fsdp.Forecast(fsdp.NoShard, v.Params, run.Travelling(n), n, reduce, param)
}
