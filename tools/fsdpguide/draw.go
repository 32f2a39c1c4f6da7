package main

import (
	"fmt"
	"slices"
)

const (
	full   = 960.0 // width of a picture
	margin = 110.0 // left of what is measured
)

// strategies in the order in which the page explains them.
var strategies = []string{"NO_SHARD", "SHARD_GRAD_OP", "FULL_SHARD"}

// state are the classes of memory that FSDP shards, with their styles in the pictures.
var state = []struct{ class, style string }{{"weights", "c1"}, {"gradients", "c2"}, {"optimizer", "c3"}}

// holds draws the part of every unit that each tab holds: the whole unit, or its shard.
func holds(runs map[string]*run, w words) string {
	sharded := runs["FULL_SHARD"].Layout
	d := &drawing{width: full, title: w["holds.title"], text: w["holds.text"]}
	most := 0
	for _, u := range sharded.Units {
		most = max(most, u.Elements)
	}
	const row, gap = 16.0, 6.0
	columns := [2]float64{margin, margin + (full-margin)/2 + 20}
	wide := (full-margin)/2 - 30
	for i, title := range []string{w["NO_SHARD"], w["FULL_SHARD"]} {
		d.words("start", columns[i], 16, title)
	}
	y := 34.0
	for _, u := range sharded.Units {
		d.words("end", margin-10, y+12, w.unit(u.Name))
		for tab := range sharded.Tabs { // DDP: every tab has the whole unit
			h := row / float64(sharded.Tabs)
			d.rect(tabStyle(tab), columns[0], y+float64(tab)*h, max(2, wide*float64(u.Elements)/float64(most)), h-0.5, "")
		}
		at := columns[1]
		for tab, n := range u.Shards {
			part := wide * float64(n) / float64(most)
			if n > 0 {
				d.rect(tabStyle(tab), at, y, max(0.5, part-0.5), row-0.5, fmt.Sprintf("%s: %s, %d", w.unit(u.Name), w.tab(tab), n))
			}
			at += part
		}
		y += row + gap
	}
	var key [][2]string
	for tab := range sharded.Tabs {
		key = append(key, [2]string{tabStyle(tab), w.tab(tab)})
	}
	d.height = d.key(margin, y+16, key...)
	return d.String()
}

func tabStyle(tab int) string { return fmt.Sprintf("t%d", tab%4+1) }

// memory draws the bytes of parameters, gradients and AdamW's moments on a tab's GPU.
func memory(runs map[string]*run, w words) string {
	d := &drawing{width: full, title: w["memory.title"], text: w["memory.text"]}
	most := 0.0
	for _, r := range runs {
		sum := 0.0
		for _, s := range state {
			sum += r.memory()[s.class]
		}
		most = max(most, sum)
	}
	y := 8.0
	for _, s := range strategies {
		d.words("end", margin+30, y+19, w[s])
		at, sum := margin+40, 0.0
		for _, c := range state {
			n := runs[s].memory()[c.class]
			part := n / most * (full - margin - 160)
			d.rect(c.style, at, y, part, 28, w[c.class]+": "+w.bytes(n))
			at, sum = at+part, sum+n
		}
		d.words("start", at+8, y+19, w.bytes(sum))
		y += 40
	}
	d.height = d.key(margin+40, y+12, [2]string{"c1", w["weights"]}, [2]string{"c2", w["gradients"]}, [2]string{"c3", w["optimizer"]})
	return d.String()
}

// moves draws the bytes that a tab sent and received in a step, and a mark for the formula's forecast.
func moves(runs map[string]*run, w words) string {
	d := &drawing{width: full, title: w["moves.title"], text: w["moves.text"]}
	most := 0.0
	for _, r := range runs {
		most = max(most, r.Layout.Traffic.Measured.Up, r.Layout.Traffic.Measured.Down, r.Layout.Traffic.Forecast.Up, r.Layout.Traffic.Forecast.Down)
	}
	y := 8.0
	for _, s := range strategies {
		t := runs[s].Layout.Traffic
		d.words("end", margin+30, y+23, w[s])
		for _, bar := range []struct {
			style              string
			measured, forecast float64
		}{{"up", t.Measured.Up, t.Forecast.Up}, {"down", t.Measured.Down, t.Forecast.Down}} {
			scale := (full - margin - 160) / most
			d.rect(bar.style, margin+40, y, bar.measured*scale, 15, w.bytes(bar.measured))
			d.line("mark", margin+40+bar.forecast*scale, y-2, margin+40+bar.forecast*scale, y+17)
			d.words("start", margin+48+bar.measured*scale, y+12, w.bytes(bar.measured))
			y += 18
		}
		y += 12
	}
	d.height = d.key(margin+40, y+12, [2]string{"up", w["up"]}, [2]string{"down", w["down"]}, [2]string{"mark", w["formula"]})
	return d.String()
}

// kinds are the kinds of spans, with their styles. Those of the network are drawn below those of the GPU.
var kinds = []struct {
	what, style string
	network     bool
}{
	{"publish", "publish", true}, {"gather", "down", true}, {"forward", "forward", false}, {"backward", "backward", false}, {"compute", "backward", false}, {"pack", "pack", false},
	{"send", "up", true}, {"reduced", "reduced", true}, {"apply", "apply", false},
}

// timeline draws what each tab did in a step, and when.
func timeline(r *run, w words) (string, error) {
	spans, end, err := r.step()
	if err != nil {
		return "", err
	}
	d := &drawing{width: full, title: fmt.Sprintf(w["step.title"], w[r.Layout.Strategy]), text: w["step.text"]}
	scale := (full - margin - 20) / float64(end)
	const gpu, net, gap = 22.0, 12.0, 14.0
	lane := func(tab int) float64 { return 6 + float64(tab)*(gpu+net+gap) }
	bottom := lane(r.Layout.Tabs) - gap + 4
	unit := 1000 * tick(float64(end)/1000)
	for at := 0.0; at <= float64(end); at += unit {
		x := margin + at*scale
		d.line("grid", x, 2, x, bottom)
		d.words("middle", x, bottom+16, fmt.Sprintf("%.0f ms", at/1000))
	}
	for tab := range r.Layout.Tabs {
		d.words("end", margin-10, lane(tab)+16, w.tab(tab))
		d.rect("lane", margin, lane(tab), full-margin-20, gpu+net+2, "")
	}
	used := map[string]bool{}
	for _, s := range spans {
		i := slices.IndexFunc(kinds, func(k struct {
			what, style string
			network     bool
		}) bool {
			return k.what == s.what
		})
		if i < 0 {
			return "", fmt.Errorf("a trace has spans of kind %q, for which there is no style", s.what)
		}
		used[s.what] = true
		y, h := lane(s.tab)+1, gpu-2
		if kinds[i].network {
			y, h = lane(s.tab)+gpu+1, net-1
		}
		tip := w[s.what]
		if s.unit != "" {
			tip += ", " + w.unit(s.unit)
		}
		if s.slot >= 0 {
			tip += ", " + fmt.Sprintf(w["slot"], s.slot+1)
		}
		if s.bytes > 0 {
			tip += ", " + w.bytes(float64(s.bytes))
		}
		d.rect(kinds[i].style, margin+float64(s.from)*scale, y, max(1.5, float64(s.to-s.from)*scale), h, fmt.Sprintf("%s: %.1f ms", tip, float64(s.to-s.from)/1000))
	}
	var key [][2]string
	for _, k := range kinds {
		if used[k.what] {
			key = append(key, [2]string{k.style, w[k.what]})
		}
	}
	d.height = d.key(margin, bottom+44, key...)
	return d.String(), nil
}

// tick is a round distance, about an eighth of all.
func tick(all float64) float64 {
	t := 1.0
	for i := 0; all/t > 10; i++ {
		t *= []float64{2, 2.5, 2}[i%3]
	}
	return t
}
