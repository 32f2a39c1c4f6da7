package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// run is the part of a recorded trace that the pictures use. server/tabs/trace.go writes traces.
type run struct {
	Layout layout  `json:"otherData"`
	Events []event `json:"traceEvents"`
}

type event struct {
	Phase    string          `json:"ph"`
	Name     string          `json:"name"`
	Tab      int             `json:"pid"`
	At       int64           `json:"ts"`
	Duration int64           `json:"dur,omitempty"`
	Args     json.RawMessage `json:"args"`
}

// args are the arguments of a span.
type args struct {
	Step  int    `json:"step"`
	Slot  *int   `json:"slot"`
	Unit  string `json:"unit"`
	Bytes int64  `json:"bytes"`
}

type layout struct {
	Strategy string `json:"sharding_strategy"`
	Tabs     int    `json:"tabs"`
	Slots    int    `json:"slots"`
	Reduce   string `json:"reduce_dtype"`
	Param    string `json:"param_dtype"`
	Units    []unit `json:"units"`
	Traffic  struct {
		Measured traffic `json:"measured"`
		Forecast traffic `json:"forecast"`
	} `json:"traffic"`
}

type unit struct {
	Name     string `json:"name"`
	Elements int    `json:"elements"`
	Shards   []int  `json:"shards"`
}

type traffic struct {
	Up   float64 `json:"up"`
	Down float64 `json:"down"`
}

// span is a span of a trace, or several spans of one kind that follow each other.
type span struct {
	what     string
	tab      int
	slot     int // -1: none
	unit     string
	from, to int64 // microseconds
	bytes    int64
}

// parameters is the number of trained parameters.
func (r *run) parameters() (n int) {
	for _, u := range r.Layout.Units {
		n += u.Elements
	}
	return n
}

// memory is the mean number of bytes on a tab's device by class.
func (r *run) memory() map[string]float64 {
	last := map[int]map[string]float64{}
	for _, e := range r.Events {
		if e.Phase == "C" && e.Name == "memory" {
			var m map[string]float64
			if json.Unmarshal(e.Args, &m) == nil {
				last[e.Tab] = m
			}
		}
	}
	mean := map[string]float64{}
	for _, m := range last {
		for class, n := range m {
			mean[class] += n / float64(len(last))
		}
	}
	return mean
}

// excerpt is the part of a trace that the pictures need: the last step but one, which neither the start nor the end of the
// run disturbs, and the memory that was allocated then.
func excerpt(trace []byte) ([]byte, error) {
	var r run
	if err := json.Unmarshal(trace, &r); err != nil {
		return nil, err
	}
	steps, of := map[int]bool{}, make([]int, len(r.Events))
	for i, e := range r.Events {
		var a args
		if err := json.Unmarshal(e.Args, &a); err != nil {
			return nil, err
		}
		if of[i] = a.Step; a.Step > 0 {
			steps[a.Step] = true
		}
	}
	all := slices.Sorted(maps.Keys(steps))
	if len(all) < 3 {
		return nil, fmt.Errorf("a trace of %d steps has none in its middle", len(all))
	}
	chosen := all[len(all)-2]
	kept := run{Layout: r.Layout}
	for i, e := range r.Events {
		if e.Phase == "X" && of[i] == chosen {
			kept.Events = append(kept.Events, e)
		}
	}
	for tab := range r.Layout.Tabs {
		for _, e := range slices.Backward(r.Events) {
			if e.Phase == "C" && e.Tab == tab {
				kept.Events = append(kept.Events, e)
				break
			}
		}
	}
	var b bytes.Buffer
	head, err := json.Marshal(kept.Layout)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "{\"otherData\": %s,\n\"traceEvents\": [", head)
	for i, e := range kept.Events { // one line for each event, so that a diff is readable
		line, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString("\n]}\n")
	return b.Bytes(), nil
}

// step is the recorded step: its spans in order of time, which counts from the first one's beginning. Pieces that are sent
// or received one after another become one span.
func (r *run) step() (spans []span, end int64, err error) {
	for _, e := range r.Events {
		if e.Phase != "X" {
			continue
		}
		var a args
		if err := json.Unmarshal(e.Args, &a); err != nil {
			return nil, 0, err
		}
		s := span{e.Name, e.Tab, -1, a.Unit, e.At, e.At + e.Duration, a.Bytes}
		if a.Slot != nil {
			s.slot = *a.Slot
		}
		if k := slices.IndexFunc(spans, func(o span) bool {
			return (s.what == "send" || s.what == "reduced" || s.what == "publish") && o.what == s.what && o.tab == s.tab && o.slot == s.slot && o.unit == s.unit
		}); k >= 0 {
			spans[k].to, spans[k].bytes = max(spans[k].to, s.to), spans[k].bytes+s.bytes
			continue
		}
		spans = append(spans, s)
	}
	if len(spans) == 0 {
		return nil, 0, errors.New("a trace without a step")
	}
	slices.SortStableFunc(spans, func(a, b span) int { return int(a.from - b.from) })
	first := spans[0].from
	for i := range spans {
		spans[i].from, spans[i].to = spans[i].from-first, spans[i].to-first
		end = max(end, spans[i].to)
	}
	return spans, end, nil
}

// load reads the recorded traces by strategy.
func load(files fs.FS) (map[string]*run, error) {
	runs := map[string]*run{}
	for _, s := range strategies {
		text, err := fs.ReadFile(files, "traces/"+s+".json")
		if err != nil {
			return nil, err
		}
		r := new(run)
		if err := json.Unmarshal(text, r); err != nil {
			return nil, fmt.Errorf("%s: %w", s, err)
		}
		runs[s] = r
	}
	return runs, nil
}
