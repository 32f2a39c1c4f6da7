package rank

import (
	"fmt"
	"sort"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/memory"
	"llamatab/engine/nn"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/replay"
	"llamatab/engine/tensor"
	"llamatab/engine/train"
)

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

// cut is what elements off to off+n-1 are of bytes that lie as segments do, size bytes an element.
func (ps places) cut(segments []device.Bytes, size, off, n int) (body []device.Bytes) {
	ps.each(off, n, func(_ int, p place) error {
		body = append(body, segments[p.segment].Slice(size*p.off, size*p.n))
		return nil
	})
	return body
}

// shard is a part of what trains that this tab updates: float32 masters, reduced gradients and both moments. In a room
// without shards it is all of it, in the trainer's own memory.
type shard struct {
	mem *memory.Parameters
	places
	apply  *graph.Program
	wire   *wire          // of parameters
	packed []device.Bytes // the parameters as they are gathered, by segment; nil: to be read
}

// newShard makes the memory of shard i, empty.
func newShard(t *train.Trainer, i int) (*shard, error) {
	s := &shard{mem: t.Mem}
	if t.Setup.Shared != nil {
		pieces := t.Setup.Shared.Pieces(i, t.Setup.Layout)
		var err error
		if s.mem, err = memory.New(t.Dev, plan.ShardLayout(pieces, t.Setup.Limits), true); err != nil {
			return nil, err
		}
		s.mem.Pieces = map[*nn.Param]memory.Piece{}
		for _, p := range pieces {
			s.mem.Pieces[p.Of] = memory.Piece{Slice: s.mem.Slices[&p.Param], At: p.At}
		}
	}
	s.places = placesOf(s.mem.Layout)
	tape, err := t.Setup.RecordApply(s.mem.Layout)
	if err == nil {
		b := t.Stepper.Binder(replay.BatchLayout{})
		rest := b.Extern
		b.Extern = func(key any) (device.Slice, error) {
			if _, ok := key.(memory.SegmentKey); ok {
				return s.mem.Find(key)
			}
			return rest(key)
		}
		s.apply, err = tape.Compile(t.Dev, fmt.Sprintf("update of shard %d", i), t.Stepper.Pool, b)
	}
	if err != nil {
		s.release(t)
		return nil, err
	}
	return s, nil
}

// release frees what the shard has of its own.
func (s *shard) release(t *train.Trainer) {
	if s.apply != nil {
		s.apply.Release()
	}
	if s.wire != nil {
		s.wire.release()
	}
	if s.mem != t.Mem {
		s.mem.Free()
	}
}

// init makes the shard what it is before the first step.
func (s *shard) init(t *train.Trainer) error {
	s.packed = nil
	if s.mem == t.Mem {
		for i, seg := range s.mem.Layout.Segments {
			for _, copy := range []int{plan.Moment1, plan.Moment2} {
				if err := t.Dev.Write(s.mem.Segments[i][copy], 0, make([]byte, 4*seg.Len)); err != nil {
					return err
				}
			}
		}
		return s.mem.Load(t.Setup.Model, t.Setup.Model.Params(), t.Host)
	}
	t.Mem.Pieces = s.mem.Pieces
	defer func() { t.Mem.Pieces = nil }()
	return t.Mem.Load(t.Setup.Model, t.Trained(), t.Host)
}

// write puts float32 elements into a copy, from element off of the shard on.
func (s *shard) write(dev device.Device, copy, off int, data device.Bytes) error {
	s.packed = nil
	s.mem.Stale = s.mem.Stale || copy == plan.Weight
	return s.each(off, data.Len()/4, func(at int, p place) error {
		return dev.Import(s.mem.Segments[p.segment][copy], p.off, data.Slice(4*at, 4*p.n))
	})
}

// read are n float32 elements of a copy from element off of the shard on. What lies in one segment is read at once.
func (s *shard) read(dev device.Device, copy, off, n int) (body []device.Bytes, err error) {
	var runs []place
	s.each(off, n, func(_ int, p place) error { runs = append(runs, p); return nil })
	for len(runs) > 0 {
		first, end := runs[0], 1
		for end < len(runs) && runs[end].segment == first.segment {
			end++
		}
		last := runs[end-1]
		pending, err := dev.Fetch(s.mem.Segments[first.segment][copy], first.off, last.off+last.n-first.off)
		if err != nil {
			return nil, err
		}
		all, err := pending.Export()
		if err != nil {
			return nil, err
		}
		for _, p := range runs[:end] {
			body = append(body, all.Slice(4*(p.off-first.off), 4*p.n))
		}
		runs = runs[end:]
	}
	return body, nil
}

// params are the shard's parameters by segment, as tabs compute with them.
func (s *shard) params(d tensor.DType) (_ []device.Bytes, err error) {
	if s.wire == nil {
		if s.wire, err = newWire(s.mem, plan.Weight, d); err != nil {
			return nil, err
		}
	}
	if s.packed == nil {
		s.packed, err = s.wire.all()
	}
	return s.packed, err
}

// update applies AdamW with a factor on the gradients in place of what the device would find out itself.
func (s *shard) update(t *train.Trainer, scalars optim.Scalars, factor float32) error {
	s.packed = nil
	if err := t.Stepper.Run(device.Work{Buf: t.Stepper.Scalars, Data: scalars.Bytes()}, device.Work{Buf: t.Stepper.State, Data: optim.Decided(factor)},
		device.Work{Run: s.apply.Executable}); err != nil {
		return err
	}
	return t.Dev.Sync()
}
