package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	memory "llamatab/engine/plan"
)

// table is rows of cells. Columns of numbers are aligned to the right.
type table struct{ rows [][]string }

func newTable(head ...string) *table { return &table{[][]string{head}} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) {
	width, right := make([]int, len(t.rows[0])), make([]bool, len(t.rows[0]))
	for _, r := range t.rows {
		for i, cell := range r {
			width[i], right[i] = max(width[i], len([]rune(cell))), numeric(cell)
		}
	}
	for _, r := range t.rows {
		line := ""
		for i, cell := range r {
			pad := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if right[i] {
				line += pad + cell + "  "
			} else {
				line += cell + pad + "  "
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// numeric reports whether a cell is a number with its unit.
var numeric = regexp.MustCompile(`^[0-9][0-9.e+-]*( [%KMGi]*B?s?)?$`).MatchString

// memoryKinds are the columns of bytes.
func memoryKinds() (names []string) {
	for kind := range device.NumMemoryKinds {
		names = append(names, kind.String())
	}
	return append(names, "total")
}

func bytesOf(by map[string]int64) (cells []string) {
	for _, c := range memoryKinds() {
		cells = append(cells, memory.Bytes(by[c]))
	}
	return cells
}

// counts says how many parameters train.
func counts(f *forecast.Forecast) string {
	return fmt.Sprintf("%d of %d parameters train (%s)", f.Trainable, f.Total, percent(f))
}

// rowCounts says how many rows the data has, and how many were left out, for which causes.
func rowCounts(s message.DatasetStats) string {
	return fmt.Sprintf("data: %d rows of %d tokens, %d of them trained; %d rows left out (%d empty, %d without a trained token, %d cut off before their trained tokens), %d malformed, %d cut, %d repeat an earlier one",
		s.Rows, s.Tokens, s.Trained, s.Dropped, s.Empty, s.Masked, s.CutOff, s.Bad, s.Truncated, s.Duplicates)
}

func percent(f *forecast.Forecast) string {
	return fmt.Sprintf("%.3g %%", 100*float64(f.Trainable)/float64(max(f.Total, 1)))
}

// shapeOf describes the batches and the precision of a plan.
func shapeOf(c *config.Config) string {
	s := fmt.Sprintf("micro-batches of %d rows of %d tokens, %s", c.Training.BatchSize, *c.Dataset.MaxLength, c.Precision.ParamDType)
	if n := c.Training.Accumulation; n > 1 {
		s += fmt.Sprintf(", %d a step", n)
	}
	if c.Training.Checkpointing != 0 {
		s += fmt.Sprintf(", activation checkpointing %v", c.Training.Checkpointing)
	}
	return s
}

// forecast prints the plan of one run.
func (p *planner) forecast(w io.Writer, f *forecast.Forecast) {
	t := newTable(append([]string{"unit"}, memoryKinds()...)...)
	for _, u := range folded(f.Units) {
		t.row(append([]string{u.Name}, bytesOf(u.Bytes)...)...)
	}
	t.row(append([]string{"total"}, bytesOf(f.Bytes)...)...)
	t.print(w)
	fmt.Fprintf(w, "\nlargest buffer %s; a chunk of logits %s; activations would take %s if none shared memory\n",
		memory.Bytes(f.Largest), memory.Bytes(f.Logits), memory.Bytes(f.Unshared))
	if f.Recomputed > 0 {
		fmt.Fprintf(w, "%d blocks compute their activations again\n", f.Recomputed)
	}
	fmt.Fprintf(w, "%d launches a micro-batch, %.3g TFLOP a step", f.Launches, f.Flops/1e12)
	if f.Seconds > 0 {
		fmt.Fprintf(w, ", %.3g s at %.3g TFLOP/s", f.Seconds, p.FLOPS/1e12)
	}
	fmt.Fprintln(w)
	p.strategies(w, f)
	if !f.Fits {
		fmt.Fprintf(w, "\ndoes not fit: %s\n", f.Misfit.Message)
		enough := slices.ContainsFunc(f.Choices, func(c message.Choice) bool { return c.Fits })
		if enough {
			fmt.Fprintln(w, "one of these makes it fit, the first with least harm:")
		} else if len(f.Choices) > 0 {
			fmt.Fprintln(w, "none of these is enough:")
		}
		for _, c := range f.Choices {
			if c.Fits || !enough {
				fmt.Fprintf(w, "- %s\n", c.Text)
			}
		}
	}
}

// folded merges neighbouring blocks of which the same share trains into one line.
func folded(units []forecast.Unit) (all []forecast.Unit) {
	first := ""
	for _, u := range units {
		at, isBlock := strings.CutPrefix(u.Name, "block ")
		if n := len(all) - 1; isBlock && first != "" && all[n].Trainable*u.Total == u.Trainable*all[n].Total {
			sum := map[string]int64{}
			for c, b := range all[n].Bytes {
				sum[c] = b + u.Bytes[c]
			}
			all[n] = forecast.Unit{Name: fmt.Sprintf("blocks %s–%s", first, at), Trainable: all[n].Trainable + u.Trainable, Total: all[n].Total + u.Total, Bytes: sum}
			continue
		}
		first = ""
		if isBlock {
			first = at
		}
		all = append(all, u)
	}
	return all
}

// strategies prints what each tab holds and moves under each sharding strategy.
func (p *planner) strategies(w io.Writer, f *forecast.Forecast) {
	if len(f.Sharding) == 0 {
		return
	}
	fmt.Fprintf(w, "\nEach of %d tabs, at %s/s", f.Sharding[0].Ranks, memory.Bytes(int64(p.Link.Rate)))
	if p.Link.Shared {
		fmt.Fprint(w, " shared by both directions")
	}
	fmt.Fprint(w, ":\n\n")
	head := append(append([]string{"strategy"}, memoryKinds()...), "sent a step", "received", "on the wire", "a step")
	t := newTable(head...)
	for _, s := range f.Sharding {
		name := s.Strategy
		switch fsdp.Strategy(s.Strategy) {
		case fsdp.NoShard:
			name += " (DDP)"
		case fsdp.HybridShard:
			name += fmt.Sprintf(" of %d", s.Group)
		}
		step := ""
		if s.Seconds > 0 {
			step = fmt.Sprintf("%.3g s", s.Seconds)
		}
		if p.Budget > 0 && !s.Fits {
			name += ", does not fit"
		}
		t.row(append(append([]string{name}, bytesOf(s.Bytes)...), memory.Bytes(int64(s.Up)), memory.Bytes(int64(s.Down)), fmt.Sprintf("%.3g s", s.Wire), step)...)
	}
	t.print(w)
}

// methods prints the comparison of all methods for one model.
func (p *planner) methods(w io.Writer, rows []forecast.Method) {
	head := append([]string{"method", "trainable", "share"}, memoryKinds()...)
	if p.FLOPS > 0 {
		head = append(head, "a step")
	}
	if p.Budget > 0 {
		head = append(head, "fits")
	}
	t := newTable(append(head, "what trains")...)
	var refused []string
	for _, m := range rows {
		f := m.Forecast
		if f == nil {
			refused = append(refused, fmt.Sprintf("%s: %s", m.Name, m.Refused))
			continue
		}
		cells := append([]string{m.Name, fmt.Sprint(f.Trainable), percent(f)}, bytesOf(f.Bytes)...)
		if p.FLOPS > 0 {
			cells = append(cells, fmt.Sprintf("%.3g s", f.Seconds))
		}
		if p.Budget > 0 {
			cells = append(cells, map[bool]string{true: "yes", false: "no"}[f.Fits])
		}
		t.row(append(cells, m.Trains)...)
	}
	t.print(w)
	for _, r := range refused {
		fmt.Fprintf(w, "%s\n", r)
	}
	fmt.Fprintln(w)
}

// markdown prints the comparison of all methods for several models as a Markdown table.
func markdown(w io.Writer, models []string, rows [][]forecast.Method) {
	head, rule := "| method | what trains |", "| --- | --- |"
	for _, m := range models {
		head += fmt.Sprintf(" %[1]s: trainable | memory | file |", m)
		rule += " ---: | ---: | ---: |"
	}
	fmt.Fprintf(w, "%s\n%s\n", head, rule)
	for i, first := range rows[0] {
		line := fmt.Sprintf("| %s | %s |", first.Name, first.Trains)
		shown := true
		for _, methods := range rows {
			f := methods[i].Forecast
			if f == nil {
				shown = false
				break
			}
			line += fmt.Sprintf(" %s (%s) | %s | %s |", grouped(f.Trainable), percent(f), memory.Bytes(f.Bytes["total"]), memory.Bytes(f.Result))
		}
		if shown {
			fmt.Fprintln(w, line)
		}
	}
}

// grouped formats a number with commas between its thousands.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
