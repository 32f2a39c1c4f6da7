package room

import (
	"maps"
	"slices"
	"time"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// View describes a room for the page, TabView one tab of its roster.
type (
	View    = message.RoomView
	TabView = message.RoomTab
)

// View describes the room.
func (r *Room) View(now time.Time) View {
	v := View{Name: r.cfg.Name, Phase: r.Phase(), Reason: r.reason, Strategy: string(r.run.Strategy), Step: r.step, Steps: r.run.Steps,
		Slots: r.run.Slots, Shards: r.table.Shards, MinTabs: r.cfg.MinTabs, MaxTabs: r.cfg.MaxTabs, Epoch: r.epoch, Params: r.table.Len,
		Padding: r.table.Padding(), Saved: r.base.version, Stats: message.RoomStats(r.Stats)}
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
		tv := TabView{Tab: t.id, Name: t.name, Platform: t.platform, Shards: slices.Sorted(maps.Keys(t.keep)), Slots: t.slots, Seconds: t.slotTime.Seconds(),
			In: t.in, Out: t.out, Memory: t.status.Memory, Usage: t.usage, State: message.TabOnline, Silent: now.Sub(t.heard).Seconds()}
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
			tv.State = message.TabAway
		case t.leaving:
			tv.State = message.TabLeaving
		case !t.attached:
			tv.State = message.TabConnecting
		case now.Sub(t.heard) >= suspectAfter:
			tv.State = message.TabSuspect
		}
		v.Tabs = append(v.Tabs, tv)
	}
	forecast(&v, r.run, max(v.Online, 1))
	return v
}

// forecast computes the traffic of a step for n tabs.
func forecast(v *View, run *fsdp.Run, n int) {
	reduce, param := run.Reduce().Size(), run.Param().Size()
	v.Forecast = fsdp.Forecast(run.Strategy, v.Params, run.Travelling(n), n, reduce, param)
	v.DDP = fsdp.Forecast(fsdp.NoShard, v.Params, run.Travelling(n), n, reduce, param)
}
