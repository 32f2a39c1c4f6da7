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
	"llamatab/engine/peft"
	"llamatab/engine/plan"
	"llamatab/engine/replay"
	"llamatab/engine/tensor"
)

// gatherer computes slots with parameters that are gathered unit by unit, on the goroutine that drives the device.
//
// A program's parts are replayed in order. Before one that reads parameters its unit lies in its lanes, and the unit of
// the part after it is asked for: a prefetch of one unit. Under FULL_SHARD a unit is gathered for the forward pass and
// again for the backward walk, as others take its lanes meanwhile; a unit that checkpointing computes again has its one
// gather for both. What is fetched a second time stays in the host's memory until the version changes, so that a step
// fetches each unit twice at most however many slots the tab computes. Under SHARD_GRAD_OP units stay in their lanes.
//
// Gradients lie in one set of lanes: those of a unit are read as soon as the walk leaves it. A unit that it comes back to
// (a tied head) gets back what was read and goes on adding, so that the sum has the same bits as in memory of its own.
type gatherer struct {
	m     *member
	lanes *plan.Lanes
	units [][]int // segments of each unit
	clear []*graph.Program

	version uint64
	own     []int          // shards that the tab has itself, see from
	holds   []int          // by lane of parameters: the segment in it, -1 for none
	coming  map[int]*image // by unit: asked for
	kept    map[int]*image // by unit: in the host's memory
	fetched map[int]int    // by unit: how often
}

func newGatherer(m *member) (*gatherer, error) {
	g := &gatherer{m: m, lanes: m.setup.Layout.Lanes}
	g.units = make([][]int, len(m.setup.Shared.Table.Units))
	for i, u := range g.lanes.Unit {
		g.units[u] = append(g.units[u], i)
	}
	for _, segments := range g.units {
		t := graph.NewTape()
		for _, i := range segments {
			t.Clear(memory.SegmentVar(t, m.setup.Layout, i, plan.Gradient, 0, m.setup.Layout.Segments[i].Len))
		}
		p, err := t.Compile(m.dev, "clear gradients", nil, m.trainer.Stepper.Binder(replay.BatchLayout{}))
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

// from says which shards are there for the job that begins: those that were when it was queued. What comes or goes while it
// runs is queued behind it, so the worker knows of shards that are not here yet, and of some no more that still are. What was
// to come with other shards is asked for again.
func (g *gatherer) from(own []int) {
	if !slices.Equal(g.own, own) {
		g.own, g.coming = own, map[int]*image{}
	}
}

// begin forgets all that is of another version.
func (g *gatherer) begin(version uint64) {
	g.version, g.coming, g.kept, g.fetched = version, map[int]*image{}, map[int]*image{}, map[int]int{}
	g.free()
}

// free takes the gathered units out of their lanes.
func (g *gatherer) free() {
	g.holds = make([]int, len(g.lanes.Weights))
	for i := range g.holds {
		g.holds[i] = -1
	}
}

// resident tells whether a unit lies in its lanes.
func (g *gatherer) resident(unit int) bool {
	for _, i := range g.units[unit] {
		if g.holds[g.lanes.Weight[i]] != i {
			return false
		}
	}
	return true
}

// errForgotten ends a computation that nobody wants any more.
var errForgotten = errors.New("the slot is computed elsewhere")

// ask asks the room for a unit, unless it is here or on its way.
func (g *gatherer) ask(ctx context.Context, unit int) (*image, error) {
	if im := g.kept[unit]; im != nil {
		return im, nil
	}
	if im := g.coming[unit]; im != nil {
		return im, nil
	}
	im := g.image(unit, false)
	g.coming[unit] = im
	return im, g.m.post(ctx, func() { g.m.arrivals.want(im) })
}

func (g *gatherer) image(unit int, master bool) *image {
	return &image{unit: unit, master: master, own: g.own, parts: map[int][]device.Part{}, segments: map[int]device.Bytes{}, ready: make(chan struct{})}
}

// complete waits for an image and adds what this tab has itself.
func (g *gatherer) complete(ctx context.Context, im *image, stop <-chan struct{}) error {
	if err := g.m.during(fsdp.Idle, func() error {
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
	for _, i := range im.own {
		v := g.m.table.Shard(i)
		from, to := v.UnitPieces(im.unit)
		if from == to {
			continue
		}
		s := g.m.shards[i]
		if s == nil {
			return fmt.Errorf("shard %d is not here any more", i)
		}
		for _, p := range v.Pieces[from:to] {
			body, err := g.m.own(s, im.master, p)
			if err != nil {
				return err
			}
			at := p.Off
			for _, b := range body {
				n := b.Len() / im.size(g.m.run)
				im.fill(g.m.places, im.size(g.m.run), v, fsdp.Piece{Unit: p.Unit, Off: at, Len: n}, b)
				at += n
			}
		}
	}
	for i, parts := range im.parts {
		b, err := g.m.dev.Assemble(im.size(g.m.run)*g.m.setup.Layout.Segments[i].Len, parts...)
		if err != nil {
			return err
		}
		im.segments[i] = b
	}
	im.parts = nil
	return nil
}

// load puts a unit into its lanes.
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
		if err := g.m.dev.Import(g.m.trainer.Mem.Segments[i][plan.Weight], 0, b); err != nil {
			return err
		}
		g.holds[g.lanes.Weight[i]] = i
	}
	g.m.spans.mark(g.span("load", fsdp.Work{Step: g.version}, unit))
	return nil
}

// span says what a tab does for a slot with a unit.
func (g *gatherer) span(what string, w fsdp.Work, unit int) message.Span {
	s := message.Span{What: what, Step: int(w.Step) + 1, Slot: w.Slot}
	if unit >= 0 {
		s.Unit = g.m.table.Units[unit].Name
	}
	return s
}

// reading are the gradients of a unit on their way back from the device.
type reading struct {
	segments []int
	pending  []device.Pending
	done     func()
}

// read reads the gradients of a unit: as they travel, or as they are where more will be added to them.
func (g *gatherer) read(unit int, travel bool) (*reading, error) {
	r := &reading{segments: g.units[unit]}
	for _, i := range r.segments {
		var p device.Pending
		var err error
		if travel {
			p, err = g.m.wire.fetch(i)
		} else {
			p, err = g.m.dev.Fetch(g.m.trainer.Mem.Segments[i][plan.Gradient], 0, g.m.setup.Layout.Segments[i].Len)
		}
		if err != nil {
			return nil, err
		}
		r.pending = append(r.pending, p)
	}
	return r, nil
}

// wait puts the gradients into out, by segment.
func (r *reading) wait(out []device.Bytes) (err error) {
	for k, i := range r.segments {
		if out[i], err = r.pending[k].Export(); err != nil {
			return err
		}
	}
	r.done()
	return nil
}

// putBack makes the gradients what they were when they were read.
func (r *reading) putBack(g *gatherer) error {
	for k, i := range r.segments {
		b, err := r.pending[k].Export()
		if err == nil {
			err = g.m.dev.Import(g.m.trainer.Mem.Segments[i][plan.Gradient], 0, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// masters reads the values of a parameter after the last step, wherever they are.
func (g *gatherer) masters(ctx context.Context) func(p *nn.Param) ([]byte, error) {
	var last *image
	return func(p *nn.Param) ([]byte, error) {
		unit := g.m.setup.Shared.Unit(p)
		if last == nil || last.unit != unit {
			im := g.image(unit, true)
			if err := g.m.post(ctx, func() { g.m.arrivals.want(im) }); err != nil {
				return nil, err
			}
			if err := g.complete(ctx, im, nil); err != nil {
				return nil, err
			}
			last = im
		}
		for _, i := range g.units[unit] {
			seg := g.m.setup.Layout.Segments[i]
			if j := slices.Index(seg.Params, p); j >= 0 {
				return last.segments[i].Slice(4*seg.Offsets[j], 4*p.Shape.Size()).Go(), nil
			}
		}
		return nil, errors.New("no unit has " + p.Name)
	}
}

// assemble puts all that trains on the device at a time, as compute sees it, if the result has tensors that are functions
// of it.
func (m *member) assemble() error {
	if m.setup.Model.Method == nil || !slices.ContainsFunc(m.setup.Model.AdapterTensors(), func(t peft.Tensor) bool { return t.Param == nil }) {
		return nil
	}
	for _, seg := range m.setup.Layout.Segments {
		for _, p := range seg.Params {
			b, err := m.dev.Alloc(plan.FrozenSpec(p))
			if err != nil {
				return err
			}
			m.trainer.Mem.Bufs, m.trainer.Mem.Slices[p] = append(m.trainer.Mem.Bufs, b), device.All(b)
			raw, err := m.trainer.Mem.Remote(p)
			if err == nil {
				raw, err = narrow(raw, p.DType)
			}
			if err == nil {
				err = m.trainer.Mem.Put(memory.Piece{Slice: device.All(b)}, 0, raw)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// narrow is float32 numbers as d.
func narrow(raw []byte, d tensor.DType) ([]byte, error) {
	if d == tensor.F32 {
		return raw, nil
	}
	x := make([]float32, len(raw)/4)
	if err := tensor.DecodeF32(x, raw, tensor.F32); err != nil {
		return nil, err
	}
	return tensor.EncodeF32(nil, x, d), nil
}
