package train

import (
	"fmt"
	"sort"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/tensor"
)

// fsdp is how the run is shared, nil where it is not.
func (s *Setup) fsdp() *config.FSDP {
	if s.cfg == nil {
		return nil
	}
	return s.cfg.FSDP
}

func (s *Setup) inRoom() bool { return s.fsdp() != nil }

// owned is the layout of what a tab updates: the shard that the plan counts, or all that trains.
func (s *Setup) owned() plan.Layout {
	if s.Layout.Lanes != nil {
		return plan.Layout{Segments: s.Layout.Lanes.Owned}
	}
	return s.Layout
}

// recordApply puts the update of what l holds on a new tape, with the room's factor in the state.
func (s *Setup) recordApply(l plan.Layout) (*graph.Tape, error) {
	r, err := s.rates()
	if err != nil {
		return nil, err
	}
	t := graph.NewTape()
	return t, graph.Record(func() {
		scalars, state := stepVars(t)
		s.adamw(t, l, 0, r, scalars, state)
		recordPublish(t, l)
	})
}

// place is where a parameter, or a shard's piece of one, lies in a segment.
type place struct{ flat, n, segment, off int }

// places are those of a layout; flat counts its elements in order, without what alignment leaves free.
type places []place

func placesOf(l plan.Layout) (ps places) {
	flat := 0
	for i, seg := range l.Segments {
		for j, p := range seg.Params {
			ps = append(ps, place{flat, p.Shape.Size(), i, seg.Offsets[j]})
			flat += p.Shape.Size()
		}
	}
	return ps
}

// each calls f for the runs of segments that elements off to off+n-1 lie in; at counts from off.
func (ps places) each(off, n int, f func(at int, p place) error) error {
	for i := sort.Search(len(ps), func(i int) bool { return ps[i].flat+ps[i].n > off }); i < len(ps) && ps[i].flat < off+n; i++ {
		p := ps[i]
		from, to := max(off, p.flat), min(off+n, p.flat+p.n)
		if err := f(from-off, place{flat: from, n: to - from, segment: p.segment, off: p.off + from - p.flat}); err != nil {
			return err
		}
	}
	return nil
}

// shard is a part of what trains that this tab updates: float32 masters, reduced gradients and both moments. In a room
// without shards it is all of it, in the trainer's own memory.
type shard struct {
	*memory
	places
	apply *graph.Program
	wire  []byte // the parameters as they are gathered, in the order of the shard's view; nil: to be read
}

// newShard makes the memory of shard i, empty.
func (t *Trainer) newShard(i int) (*shard, error) {
	s := &shard{memory: t.mem}
	if t.shared != nil {
		pieces := t.shared.Pieces(i, t.Layout)
		var err error
		if s.memory, err = newMemory(t.dev, plan.ShardLayout(pieces, t.limits), true); err != nil {
			return nil, err
		}
		s.pieces = map[*nn.Param]piece{}
		for _, p := range pieces {
			s.pieces[p.Of] = piece{s.slices[&p.Param], p.At}
		}
	}
	s.places = placesOf(s.layout)
	tape, err := t.recordApply(s.layout)
	if err == nil {
		b := t.stepper.binder(batchLayout{})
		rest := b.Extern
		b.Extern = func(key any) (device.Slice, error) {
			if _, ok := key.(segmentKey); ok {
				return s.find(key)
			}
			return rest(key)
		}
		s.apply, err = tape.Compile(t.dev, fmt.Sprintf("update of shard %d", i), t.stepper.pool, b)
	}
	if err != nil {
		s.release(t)
		return nil, err
	}
	return s, nil
}

// release frees what the shard has of its own.
func (s *shard) release(t *Trainer) {
	if s.apply != nil {
		s.apply.Release()
	}
	if s.memory != t.mem {
		s.free()
	}
}

// init makes the shard what it is before the first step.
func (s *shard) init(t *Trainer) error {
	s.wire = nil
	if s.memory == t.mem {
		for i, seg := range s.layout.Segments {
			for _, copy := range []int{plan.Moment1, plan.Moment2} {
				if err := t.dev.Write(s.segments[i][copy], 0, make([]byte, 4*seg.Len)); err != nil {
					return err
				}
			}
		}
		return s.load(t.Model, t.Params(), t.host)
	}
	t.mem.pieces = s.pieces
	defer func() { t.mem.pieces = nil }()
	return t.mem.load(t.Model, t.trained(), t.host)
}

// write puts float32 elements into a copy, from element off of the shard on.
func (s *shard) write(dev device.Device, copy, off int, data []byte) error {
	s.wire = nil
	s.stale = s.stale || copy == plan.Weight
	return s.each(off, len(data)/4, func(at int, p place) error {
		return dev.Write(s.segments[p.segment][copy], p.off, data[4*at:4*(at+p.n)])
	})
}

// read are n float32 elements of a copy from element off of the shard on.
func (s *shard) read(dev device.Device, copy, off, n int) ([]byte, error) {
	out := make([]byte, 0, 4*n)
	err := s.each(off, n, func(_ int, p place) error {
		b, err := dev.Read(s.segments[p.segment][copy], p.off, p.n)
		out = append(out, b...)
		return err
	})
	return out, err
}

// params are the shard's parameters as tabs compute with them.
func (s *shard) params(dev device.Device, d tensor.DType) ([]byte, error) {
	if s.wire != nil {
		return s.wire, nil
	}
	out := []byte{}
	for i, seg := range s.layout.Segments { // whole buffers: a read costs much by itself
		raw, err := dev.Read(s.segments[i][plan.Weight], 0, seg.Len)
		if err != nil {
			return nil, err
		}
		for j, p := range seg.Params {
			if out, err = narrow(out, raw[4*seg.Offsets[j]:][:4*p.Shape.Size()], d); err != nil {
				return nil, err
			}
		}
	}
	s.wire = out
	return out, nil
}

// narrow appends float32 numbers to dst as d.
func narrow(dst, raw []byte, d tensor.DType) ([]byte, error) {
	if d == tensor.F32 {
		return append(dst, raw...), nil
	}
	x := make([]float32, len(raw)/4)
	if err := tensor.DecodeF32(x, raw, tensor.F32); err != nil {
		return nil, err
	}
	return tensor.EncodeF32(dst, x, d), nil
}

// update applies AdamW with a factor on the gradients in place of what the device would find out itself.
func (s *shard) update(t *Trainer, scalars optim.Scalars, factor float32) error {
	s.wire = nil
	if err := t.stepper.run(device.Work{Buf: t.stepper.scalars, Data: scalars.Bytes()}, device.Work{Buf: t.stepper.state, Data: optim.Decided(factor)},
		device.Work{Run: s.apply.Executable}); err != nil {
		return err
	}
	return t.dev.Sync()
}
