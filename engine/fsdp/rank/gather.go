package rank

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/graph"
	"llamatab/engine/memory"
	"llamatab/engine/message"
	"llamatab/engine/nn"
	"llamatab/engine/plan"
	"llamatab/engine/replay"
)

// gatherer computes slots with parameters that are gathered unit by unit. It belongs to the computer.
//
// The parts of a program are replayed in order. Before a part reads parameters, its unit is loaded into its lanes (plan.Lanes),
// and the unit of the next part is prefetched. Under FULL_SHARD a unit is gathered once for the forward pass and once for the
// backward pass, because other units use its lanes in between. A unit that is checkpointed is recomputed and walked with one
// gather. A unit that was fetched twice stays in the host's memory until the version changes, so a step fetches each unit at
// most twice, however many slots the tab computes. Under SHARD_GRAD_OP units stay in their lanes.
//
// There is one set of lanes for gradients. The gradients of a unit are read when the backward pass leaves the unit. If it comes
// back to the unit (a tied head), the values that were read are written back and added to, so the sum has the same bits as
// without lanes.
type gatherer struct {
	d     *computer
	lanes *plan.Lanes
	units [][]int          // segments of each unit
	clear []*graph.Program // by unit: clears its gradients

	version uint64         // of the parameters below
	own     []int          // shards that the tab has itself, see setOwn
	holds   []int          // by lane of parameters: the segment in it, -1 for none
	coming  map[int]*image // units that were asked for
	kept    map[int]*image // units that stay in the host's memory
	fetched map[int]int    // how often each unit was fetched
}

func newGatherer(d *computer) (*gatherer, error) {
	g := &gatherer{d: d, lanes: d.setup.Layout.Lanes}
	g.units = make([][]int, len(d.setup.Shared.Table.Units))
	for i, u := range g.lanes.Unit {
		g.units[u] = append(g.units[u], i)
	}
	for _, segments := range g.units {
		t := graph.NewTape()
		for _, i := range segments {
			t.Clear(memory.SegmentVar(t, d.setup.Layout, i, plan.Gradient, 0, d.setup.Layout.Segments[i].Len))
		}
		p, err := t.Compile(d.dev, "clear gradients", nil, d.trainer.Stepper.Binder(replay.BatchLayout{}))
		if err != nil {
			g.release()
			return nil, err
		}
		g.clear = append(g.clear, p)
	}
	g.begin(0)
	return g, nil
}

func (g *gatherer) release() {
	for _, p := range g.clear {
		p.Release()
	}
}

// setOwn sets the shards that this tab has during the task that begins. The communicator listed them when it queued the task.
// Shards that come or go later are tasks behind this one. Units that were asked for with other own shards are asked for again.
func (g *gatherer) setOwn(own []int) {
	if !slices.Equal(g.own, own) {
		g.own, g.coming = own, map[int]*image{}
	}
}

// begin changes the version and drops all units of the one before.
func (g *gatherer) begin(version uint64) {
	g.version, g.coming, g.kept, g.fetched = version, map[int]*image{}, map[int]*image{}, map[int]int{}
	g.free()
}

// free marks all lanes of parameters as empty.
func (g *gatherer) free() {
	g.holds = make([]int, len(g.lanes.Weights))
	for i := range g.holds {
		g.holds[i] = -1
	}
}

// resident reports whether a unit is in its lanes.
func (g *gatherer) resident(unit int) bool {
	for _, i := range g.units[unit] {
		if g.holds[g.lanes.Weight[i]] != i {
			return false
		}
	}
	return true
}

// errForgotten ends a slot that the room has given to another tab.
var errForgotten = errors.New("the slot is computed elsewhere")

// ask returns the image of a unit. It asks the room for the unit unless the image is here or was asked for.
func (g *gatherer) ask(ctx context.Context, unit int) (*image, error) {
	if im := g.kept[unit]; im != nil {
		return im, nil
	}
	if im := g.coming[unit]; im != nil {
		return im, nil
	}
	im := g.image(unit, false)
	g.coming[unit] = im
	return im, g.d.post(ctx, func(c *communicator) { c.arrivals.want(im) })
}

// image makes the image of a unit, empty.
func (g *gatherer) image(unit int, master bool) *image {
	return &image{unit: unit, master: master, own: g.own, parts: map[int][]device.Part{}, segments: map[int]device.Bytes{}, ready: make(chan struct{})}
}

// complete waits for what comes from the room, adds the tab's own shards and assembles the segments of an image. It returns
// errForgotten when stop is closed.
func (g *gatherer) complete(ctx context.Context, im *image, stop <-chan struct{}) error {
	if err := g.d.during(fsdp.Idle, func() error {
		select {
		case <-im.ready:
			return nil
		case <-stop:
			return errForgotten
		case <-ctx.Done():
			return ctx.Err()
		}
	}); err != nil {
		return err
	}
	if len(im.segments) > 0 {
		return nil
	}
	size := elementSize(g.d.run, im.master)
	for _, i := range im.own {
		v := g.d.table.Shard(i)
		from, to := v.UnitPieces(im.unit)
		if from == to {
			continue
		}
		s := g.d.shards[i]
		if s == nil {
			return fmt.Errorf("the memory of shard %d was freed", i)
		}
		for _, p := range v.Pieces[from:to] {
			body, err := g.d.readParams(s, im.master, p)
			if err != nil {
				return err
			}
			at := p.Off
			for _, b := range body {
				n := b.Len() / size
				im.fill(g.d.places, size, v, fsdp.Piece{Unit: p.Unit, Off: at, Len: n}, b)
				at += n
			}
		}
	}
	for i, parts := range im.parts {
		b, err := g.d.dev.Assemble(size*g.d.setup.Layout.Segments[i].Len, parts...)
		if err != nil {
			return err
		}
		im.segments[i] = b
	}
	im.parts = nil
	return nil
}

// load gathers a unit and writes it into its lanes, unless it is there.
func (g *gatherer) load(ctx context.Context, unit int, stop <-chan struct{}) error {
	if g.resident(unit) {
		return nil
	}
	im, err := g.ask(ctx, unit)
	if err == nil {
		err = g.complete(ctx, im, stop)
	}
	if err != nil {
		return err
	}
	if g.coming[unit] == im {
		delete(g.coming, unit)
		if g.fetched[unit]++; g.fetched[unit] > 1 {
			g.kept[unit] = im
		}
	}
	for i, b := range im.segments {
		if err := g.d.trainer.Mem.Import(i, plan.Weight, 0, b); err != nil {
			return err
		}
		g.holds[g.lanes.Weight[i]] = i
	}
	g.d.spans.mark(g.span("load", fsdp.Work{Step: g.version}, unit))
	return nil
}

// span is the span of an activity for a slot and a unit, -1 for none.
func (g *gatherer) span(what string, w fsdp.Work, unit int) message.Span {
	s := message.Span{What: what, Step: int(w.Step) + 1, Slot: w.Slot}
	if unit >= 0 {
		s.Unit = g.d.table.Units[unit].Name
	}
	return s
}

// reading is a read of a unit's gradients that has begun.
type reading struct {
	segments []int
	pending  []device.Pending
	done     func()
}

// read begins to read the gradients of a unit: in the type of the wire, or in float32 if putBack follows.
func (g *gatherer) read(unit int, wireType bool) (*reading, error) {
	r := &reading{segments: g.units[unit]}
	for _, i := range r.segments {
		var p device.Pending
		var err error
		if wireType {
			p, err = g.d.wire.fetch(i)
		} else {
			p, err = g.d.trainer.Mem.Fetch(i, plan.Gradient, 0, g.d.setup.Layout.Segments[i].Len)
		}
		if err != nil {
			return nil, err
		}
		r.pending = append(r.pending, p)
	}
	return r, nil
}

// wait waits for the gradients and stores them in out, by segment.
func (r *reading) wait(out []device.Bytes) (err error) {
	for k, i := range r.segments {
		if out[i], err = r.pending[k].Export(); err != nil {
			return err
		}
	}
	r.done()
	return nil
}

// putBack writes the gradients that were read back to their lanes.
func (r *reading) putBack(g *gatherer) error {
	for k, i := range r.segments {
		b, err := r.pending[k].Export()
		if err == nil {
			err = g.d.trainer.Mem.Import(i, plan.Gradient, 0, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// masters returns a function that gathers the float32 values of a parameter after the last step. It keeps the unit of the last
// call.
func (g *gatherer) masters(ctx context.Context) func(p *nn.Param) ([]byte, error) {
	var last *image
	return func(p *nn.Param) ([]byte, error) {
		unit := g.d.setup.Shared.Unit(p)
		if last == nil || last.unit != unit {
			im := g.image(unit, true)
			if err := g.d.post(ctx, func(c *communicator) { c.arrivals.want(im) }); err != nil {
				return nil, err
			}
			if err := g.complete(ctx, im, nil); err != nil {
				return nil, err
			}
			last = im
		}
		for _, i := range g.units[unit] {
			seg := g.d.setup.Layout.Segments[i]
			if j := slices.Index(seg.Params, p); j >= 0 {
				return last.segments[i].Slice(4*seg.Offsets[j], 4*p.Shape.Size()).Go(), nil
			}
		}
		return nil, errors.New("no segment holds " + p.Name)
	}
}
