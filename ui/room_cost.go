package ui

// What a tab of a room holds and moves: as it was measured, by the formula of the room's strategy, and by that of DDP, which
// shards nothing.

// sharded is a strategy over so many tabs: engine/train.Shard, as far as it is shown.
type sharded struct {
	Strategy string           `json:"sharding_strategy"`
	Bytes    map[string]int64 `json:"planned_bytes"`
}

// ddp is the strategy that every other is held against.
const ddp = "NO_SHARD"

// costRow is a line of the comparison; a value below 0 is not known.
type costRow struct {
	Name                   Text
	Measured, Formula, DDP float64
}

// memoryClasses are those of the engine's plan, in the order of the table.
var memoryClasses = []string{"weights", "gradients", "optimizer", "activations", "staging", wholeClass}

// planFor asks for the plan when there are other tabs than it was of. Where there are none, that of the last ones stays.
func (r *Room) planFor(tabs int) {
	if tabs > 0 && tabs != r.planned || r.planned == 0 {
		tabs = max(tabs, 1)
		r.planned = tabs
		r.page.browser.PlanRoom(tabs)
	}
}

// planOf is the plan of a strategy, nil where there is none.
func (r *Room) planOf(strategy string) *sharded {
	for i := range r.Plan {
		if r.Plan[i].Strategy == strategy {
			return &r.Plan[i]
		}
	}
	return nil
}

// Sharded reports whether the room's strategy is another than DDP, which then stands beside it.
func (r *Room) Sharded() bool { return r.View != nil && r.View.Strategy != ddp }

// MemoryRows compares the memory of a tab by what it is for. It is measured as soon as a tab of the room says so.
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
	for _, class := range memoryClasses {
		row := costRow{r.T("memory." + class), -1, float64(mine.Bytes[class]), float64(all.Bytes[class])}
		if class == wholeClass {
			row.Name = r.T("plan.total")
		}
		if n, ok := usage[class]; ok {
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

// WireRows compares the bytes of a step: of this tab, or of the first that has taken part.
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

// measuredTab is the tab whose bytes are shown: this one, or the first that has taken part in a step; nil while none has.
func (r *Room) measuredTab() *roomTab {
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

// MeasuredText says whose bytes are measured.
func (r *Room) MeasuredText() Text {
	if r.View != nil {
		if t := r.measuredTab(); t != nil {
			return r.T("room.measured", "name", string(r.Named(*t)))
		}
	}
	return r.T("room.unmeasured")
}

// costText spells a value of the comparison.
func costText(n float64) Text {
	if n < 0 {
		return dash
	}
	return Text(Bytes(int64(n)))
}

// StrategyText names the column of the room's own strategy.
func (r *Room) StrategyText() Text { return r.T("room.formula", "strategy", r.strategy()) }
