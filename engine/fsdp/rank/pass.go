package rank

import (
	"context"
	"errors"
	"slices"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/replay"
)

// pass is the forward and backward pass of one micro-batch with gathered parameters.
type pass struct {
	g    *gatherer
	slot fsdp.Work
	stop <-chan struct{} // closed when the room has given the slot to another tab
	full bool            // FULL_SHARD: units leave their lanes after the forward pass

	pending  []device.Work    // to be submitted before the next part
	backward bool             // the backward pass has begun
	holder   int              // unit whose gradients are in the lanes, -1 for none
	aside    map[int]*reading // partial gradients of units that the backward pass comes back to
	reads    []*reading       // reads of complete gradients that have begun
	out      []device.Bytes   // complete gradients by segment
}

// compute replays the forward and backward pass of a batch and returns its gradient by segment, in the type of the wire. For a
// slot of an evaluation it replays the forward pass and returns nil. It returns errForgotten when stop is closed.
func (g *gatherer) compute(ctx context.Context, w fsdp.Work, b *data.Batch, seed uint64, stop <-chan struct{}) (gradient []device.Bytes, err error) {
	defer func() {
		if err != nil {
			g.coming = map[int]*image{} // the worker drops these gathers, too
		}
	}()
	parts, l, err := g.d.trainer.Stepper.Parts(replay.ProgramKey{T: b.T, Gradients: !w.Eval})
	if err != nil {
		return nil, err
	}
	if g.version != w.Step {
		g.begin(w.Step)
	}
	p := &pass{g: g, slot: w, stop: stop, full: g.d.setup.Shared.Strategy != fsdp.ShardGradOp, holder: -1, aside: map[int]*reading{}, out: make([]device.Bytes, len(g.d.setup.Layout.Segments))}
	if p.full {
		g.free()
	}
	p.pending = []device.Work{g.d.trainer.Stepper.ClearWork(), g.d.trainer.Stepper.BatchWork(l, b, seed)}
	list := visits(parts)
	for i, v := range list {
		if err := p.prepare(ctx, v); err != nil {
			return nil, err
		}
		if err := p.replay(ctx, v); err != nil {
			return nil, err
		}
		if v.adds && nextHolder(list[i+1:]) != v.part.Unit {
			if err := p.takeGradients(v); err != nil {
				return nil, err
			}
		}
	}
	if err := p.wait(0); err != nil || w.Eval {
		return nil, err
	}
	for i, seg := range g.d.setup.Layout.Segments {
		if p.out[i] == nil { // the loss does not depend on this segment
			p.out[i] = device.Heap(make([]byte, seg.Len*g.d.run.Reduce().Size()))
		}
	}
	return p.out, nil
}

// prepare loads the parameters and the partial gradients of a part into their lanes.
func (p *pass) prepare(ctx context.Context, v visit) error {
	g := p.g
	select {
	case <-p.stop:
		return errForgotten
	default:
	}
	if p.full && v.part.Backward && !p.backward {
		p.backward = true
		g.free()
		g.d.spans.mark(g.span("reshard", p.slot, -1))
	}
	if v.reads {
		if err := g.load(ctx, v.part.Unit, p.stop); err != nil {
			return err
		}
	}
	if !v.adds || p.holder == v.part.Unit {
		return nil
	}
	p.holder = v.part.Unit
	p.pending = append(p.pending, device.Work{Run: g.clear[v.part.Unit].Executable})
	r := p.aside[v.part.Unit]
	if r == nil {
		return nil
	}
	if err := g.d.dev.Submit(p.pending...); err != nil {
		return err
	}
	p.pending = nil
	return r.putBack(g)
}

// replay runs a part and prefetches the unit that is read next.
func (p *pass) replay(ctx context.Context, v visit) error {
	g := p.g
	what := map[bool]string{false: "forward", true: "backward"}[v.part.Backward]
	if p.slot.Eval {
		what = "evaluate"
	}
	end := g.d.spans.onGPU(g.span(what, p.slot, v.part.Unit))
	if err := errors.Join(g.d.trainer.Stepper.Run(append(p.pending, device.Work{Run: v.part.Executable})...), end()); err != nil {
		return err
	}
	p.pending = nil
	if v.ahead >= 0 && v.ahead != v.part.Unit && g.d.cfg.FSDP.BackwardPrefetch && !g.resident(v.ahead) {
		_, err := g.ask(ctx, v.ahead)
		return err
	}
	return nil
}

// takeGradients begins to read the gradients of a unit that the backward pass leaves. If it comes back to the unit, they are
// put aside until then.
func (p *pass) takeGradients(v visit) error {
	g := p.g
	packed := g.d.spans.begin(g.span("pack", p.slot, v.part.Unit))
	r, err := g.read(v.part.Unit, v.last)
	if err != nil {
		return err
	}
	if p.holder = -1; !v.last {
		p.aside[v.part.Unit] = r
		return nil
	}
	g.d.spans.mark(g.span("reduce", p.slot, v.part.Unit))
	r.done = packed
	p.reads = append(p.reads, r)
	return p.wait(1) // the gradients of one unit are read while those of the next are computed
}

// wait waits until at most limit reads are pending.
func (p *pass) wait(limit int) error {
	for len(p.reads) > limit {
		r := p.reads[0]
		p.reads = p.reads[1:]
		if err := r.wait(p.out); err != nil {
			return err
		}
	}
	return nil
}

// visit is a part and what it does with the unit that it uses.
type visit struct {
	part        graph.Part
	reads, adds bool
	first, last bool // the first and last part that adds to the unit's gradients
	ahead       int  // unit that is read next, -1 for none
}

// visits lists the visits of a program.
func visits(parts []graph.Part) []visit {
	list := make([]visit, len(parts))
	before, after := map[int]bool{}, map[int]bool{}
	for i, p := range parts {
		v := visit{part: p, ahead: -1}
		for key := range p.Keys {
			_, grad := key.(nn.GradOf)
			v.reads, v.adds = v.reads || !grad, v.adds || grad
		}
		if v.adds {
			v.first, before[p.Unit] = !before[p.Unit], true
		}
		list[i] = v
	}
	next := -1
	for i, v := range slices.Backward(list) {
		list[i].ahead = next
		if v.reads {
			next = v.part.Unit
		}
		if v.adds {
			list[i].last, after[v.part.Unit] = !after[v.part.Unit], true
		}
	}
	return list
}

// nextHolder is the unit of the next part that adds to gradients, -1 for none.
func nextHolder(list []visit) int {
	for _, v := range list {
		if v.adds {
			return v.part.Unit
		}
	}
	return -1
}
