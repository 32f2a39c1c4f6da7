package tabs

import (
	"encoding/json"
	"slices"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/server/job"
)

// TraceFile is the file that train --trace writes to the output folder. Its format is that of chrome://tracing and
// ui.perfetto.dev, with one process for each tab.
const TraceFile = "trace.json"

// trace collects the spans that the tabs of a run report.
type trace struct {
	file  string
	spans []tracedSpan
}

type tracedSpan struct {
	rank int
	message.Span
}

// traceEvent is an event of the trace event format. Phase "X" is a span, "i" an instant, "C" a counter, and "M" names a
// process or a thread.
type traceEvent struct {
	Phase    string `json:"ph"`
	Name     string `json:"name"`
	Category string `json:"cat,omitempty"`
	Process  int    `json:"pid"`
	Thread   int    `json:"tid"`
	At       int64  `json:"ts"` // microseconds
	Duration int64  `json:"dur,omitempty"`
	Args     any    `json:"args,omitempty"`
}

// traceArgs are the arguments of spans and instants.
type traceArgs struct {
	Step  int    `json:"step"`
	Slot  *int   `json:"slot,omitempty"`
	Unit  string `json:"unit,omitempty"`
	Bytes int64  `json:"bytes,omitempty"`
}

// traceLayout describes, beside the events, how the trained parameters are sharded.
type traceLayout struct {
	Strategy fsdp.Strategy `json:"sharding_strategy"`
	Tabs     int           `json:"tabs"`
	Slots    int           `json:"slots"`
	Reduce   string        `json:"reduce_dtype"`
	Param    string        `json:"param_dtype"`
	Units    []traceUnit   `json:"units"`
	Traffic  traceTraffic  `json:"traffic"` // mean bytes per step and tab
}

type traceUnit struct {
	Name     string `json:"name"`
	Elements int    `json:"elements"`
	Shards   []int  `json:"shards"` // elements in each
}

type traceTraffic struct {
	Measured byteReport `json:"measured"`
	Forecast byteReport `json:"forecast"`
}

// Threads of a tab in the trace.
const (
	traceGPU = iota + 1
	traceNetwork
)

func (t *trace) add(rank int, s message.Span) { t.spans = append(t.spans, tracedSpan{rank, s}) }

func layoutOf(run *fsdp.Run, tabs int, report Report) (traceLayout, error) {
	l := traceLayout{Strategy: run.Strategy, Tabs: tabs, Slots: run.Slots, Reduce: run.ReduceDType, Param: run.ParamDType,
		Traffic: traceTraffic{report.Mean, report.Forecast}}
	table, err := run.Table()
	if err != nil {
		return l, err
	}
	for i, u := range table.Units {
		unit := traceUnit{Name: u.Name, Elements: u.Len}
		for k := range table.Shards {
			n := 0
			from, to := table.Shard(k).UnitPieces(i)
			for _, p := range table.Shard(k).Pieces[from:to] {
				n += p.Len
			}
			unit.Shards = append(unit.Shards, n)
		}
		l.Units = append(l.Units, unit)
	}
	return l, nil
}

// writeTrace writes the trace of a run. Times count from its first event.
func (t *tabsRun) writeTrace(run *fsdp.Run, report Report) error {
	layout, err := layoutOf(run, len(report.Ranks), report)
	if err != nil {
		return err
	}
	text, err := json.Marshal(map[string]any{"traceEvents": t.trace.events(layout.Tabs), "displayTimeUnit": "ms", "otherData": layout})
	if err != nil {
		return err
	}
	return job.WriteFile(t.trace.file, text)
}

func (t *trace) events(tabs int) (events []traceEvent) {
	slices.SortStableFunc(t.spans, func(a, b tracedSpan) int { return int(a.From - b.From) })
	for rank := range tabs {
		events = append(events,
			traceEvent{Phase: "M", Name: "process_name", Process: rank, Args: map[string]string{"name": rankName(rank)}},
			traceEvent{Phase: "M", Name: "thread_name", Process: rank, Thread: traceGPU, Args: map[string]string{"name": "GPU"}},
			traceEvent{Phase: "M", Name: "thread_name", Process: rank, Thread: traceNetwork, Args: map[string]string{"name": "network"}})
	}
	for _, s := range t.spans {
		e := traceEvent{Phase: "X", Name: s.What, Category: s.Unit, Process: s.rank, Thread: traceGPU, At: s.From - t.spans[0].From, Duration: s.To - s.From}
		slot := &s.Slot
		switch s.What {
		case "memory":
			e.Phase, e.Thread, e.Args = "C", 0, s.Usage
		case "gather", "reduced", "publish":
			e.Thread, slot = traceNetwork, nil
		case "send":
			e.Thread = traceNetwork
		case "load", "reduce", "reshard": // an instant
			e.Phase = "i"
		case "apply":
			slot = nil
		}
		if e.Args == nil {
			e.Args = traceArgs{s.Step, slot, s.Unit, s.Bytes}
		}
		events = append(events, e)
	}
	return events
}
