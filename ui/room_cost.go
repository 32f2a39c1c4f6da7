package ui

import "llamatab/engine/message"

// Memory and traffic of a tab in a room: as measured, by the formula of the room's strategy, and by the formula of DDP.

// ddp is the strategy that the others are compared with.
const ddp = "NO_SHARD"

// costRow is a line of the comparison, in bytes; a negative value is unknown.
type costRow struct {
	Name                   Text
	Measured, Formula, DDP float64
}

// memoryKinds are those of device.MemoryKind and their sum, in the order of the table.
var memoryKinds = []string{"weights", "gradients", "optimizer", "activations", "staging", totalKey}

// planFor requests a new plan when the number of tabs has changed. Without tabs the last plan stays.
func (r *Room) planFor(tabs int) {
	if tabs > 0 && tabs != r.planned || r.planned == 0 {
		tabs = max(tabs, 1)
		r.planned = tabs
		r.page.browser.PlanRoom(tabs)
	}
}

// planOf is the plan of a strategy, nil where there is none.
func (r *Room) planOf(strategy string) *message.ShardPlan {
	for i := range r.Plan {
		if r.Plan[i].Strategy == strategy {
			return &r.Plan[i]
		}
	}
	return nil
}

// Sharded reports whether the room's strategy is not DDP. The table then has a column for DDP as well.
func (r *Room) Sharded() bool { return r.View != nil && r.View.Strategy != ddp }

// MemoryRows compares the memory of a tab by kind. The measured column is known once a tab has reported it.
func (r *Room) MemoryRows() []costRow {
	mine, all := r.planOf(r.strategy()), r.planOf(ddp)
	if mine == nil || all == nil {
		return nil
	}
	var usage map[string]int64
	if r.View != nil {
		if t := r.measuredTab(); t != nil {
			usage = t.Usage
		}
	}
	var rows []costRow
	for _, kind := range memoryKinds {
		row := costRow{r.T("memory." + kind), -1, float64(mine.Bytes[kind]), float64(all.Bytes[kind])}
		if kind == totalKey {
			row.Name = r.T("plan.total")
		}
		if n, ok := usage[kind]; ok {
			row.Measured = float64(n)
		}
		rows = append(rows, row)
	}
	return rows
}

func (r *Room) strategy() string {
	if r.View == nil {
		return ""
	}
	return r.View.Strategy
}

// WireRows compares the bytes that a tab sends and receives in a step.
func (r *Room) WireRows() []costRow {
	v := r.View
	if v == nil || v.Params == 0 {
		return nil
	}
	up := costRow{r.T("room.up"), -1, v.Forecast.Up, v.DDP.Up}
	down := costRow{r.T("room.down"), -1, v.Forecast.Down, v.DDP.Down}
	if t := r.measuredTab(); t != nil {
		up.Measured, down.Measured = t.Up, t.Down
	}
	return []costRow{up, down}
}

// measuredTab is the tab whose measured values are shown: this tab, or the first that has taken part in a step; nil for none.
func (r *Room) measuredTab() *message.RoomTab {
	if t := r.ownTab(); t != nil && t.Down > 0 {
		return t
	}
	for i := range r.View.Tabs {
		if t := &r.View.Tabs[i]; t.Down > 0 {
			return t
		}
	}
	return nil
}

// MeasuredText names the column of that tab.
func (r *Room) MeasuredText() Text {
	if r.View != nil {
		if t := r.measuredTab(); t != nil {
			return r.T("room.measured", "name", string(r.Named(*t)))
		}
	}
	return r.T("room.unmeasured")
}

// costText writes a value of the comparison.
func costText(n float64) Text {
	if n < 0 {
		return dash
	}
	return Text(Bytes(int64(n)))
}

// StrategyText names the column of the room's own strategy.
func (r *Room) StrategyText() Text { return r.T("room.formula", "strategy", r.strategy()) }
