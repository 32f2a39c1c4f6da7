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
	"llamatab/engine/tensor"
	"llamatab/engine/train"
)

// place is the place of n elements of a parameter in a segment, from element off on. flat is the number of parameter elements
// before them in the layout, which leaves out the gaps of alignment.
type place struct{ flat, n, segment, off int }

// places are the places of a layout's parameters, or of a shard's pieces, in order.
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

// each calls f for each run of elements off to off+n-1 that lies in one parameter. at is the run's first element, counted from
// off.
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

// cut returns elements off to off+n-1 of an array of segments, with size bytes an element.
func (ps places) cut(segments []device.Bytes, size, off, n int) (body []device.Bytes) {
	ps.each(off, n, func(_ int, p place) error {
		body = append(body, segments[p.segment].Slice(size*p.off, size*p.n))
		return nil
	})
	return body
}

// shard is the part of the trained parameters that this tab updates: float32 masters, reduced gradients and both moments. Under
// NO_SHARD it is all of them, in the trainer's own memory.
type shard struct {
	mem    *memory.Parameters
	pieces map[*nn.Param]memory.Piece // where the shard has which elements of a parameter, nil under NO_SHARD
	places
	apply  *graph.Program
	wire   *wire          // of parameters
	packed []device.Bytes // the parameters as tabs compute with them, by segment; nil where they must be read again
}

// newShard allocates the memory of shard i, all zero.
func newShard(t *train.Trainer, i int) (*shard, error) {
	s := &shard{mem: t.Mem}
	var err error
	if t.Setup.Shared != nil {
		pieces := t.Setup.Shared.Pieces(i, t.Setup.Layout)
		if s.mem, err = memory.New(t.Dev, plan.ShardLayout(pieces, t.Setup.Limits), true); err != nil {
			return nil, err
		}
		s.pieces = s.mem.PiecesOf(pieces)
	}
	s.places = placesOf(s.mem.Layout)
	if s.apply, err = t.Stepper.CompileApply(fmt.Sprintf("update of shard %d", i), s.mem); err != nil {
		s.release(t)
		return nil, err
	}
	return s, nil
}

// release frees the shard's own memory.
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

// init stores the parameters before the first step, and zero moments.
func (s *shard) init(t *train.Trainer) error {
	s.packed = nil
	if s.mem == t.Mem {
		if err := s.mem.ZeroMoments(); err != nil {
			return err
		}
		return s.mem.Load(t.Setup.Model, t.Setup.Model.Params(), t.Host)
	}
	return t.Mem.LoadShard(s.pieces, t.Setup.Model, t.Trained(), t.Host)
}

// write stores float32 elements in a copy, from element off of the shard on.
func (s *shard) write(copy, off int, data device.Bytes) error {
	s.packed = nil
	return s.each(off, data.Len()/4, func(at int, p place) error {
		return s.mem.Import(p.segment, copy, p.off, data.Slice(4*at, 4*p.n))
	})
}

// read reads n float32 elements of a copy, from element off of the shard on. It reads each segment once.
func (s *shard) read(copy, off, n int) (body []device.Bytes, err error) {
	var runs []place
	s.each(off, n, func(_ int, p place) error { runs = append(runs, p); return nil })
	for len(runs) > 0 {
		first, end := runs[0], 1
		for end < len(runs) && runs[end].segment == first.segment {
			end++
		}
		last := runs[end-1]
		pending, err := s.mem.Fetch(first.segment, copy, first.off, last.off+last.n-first.off)
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

// params returns the shard's parameters by segment, as tabs compute with them: of type d.
func (s *shard) params(dev device.Device, d tensor.DType) (_ []device.Bytes, err error) {
	if s.wire == nil {
		if s.wire, err = newWire(dev, s.mem, plan.Weight, d); err != nil {
			return nil, err
		}
	}
	if s.packed == nil {
		s.packed, err = s.wire.all()
	}
	return s.packed, err
}

// update applies AdamW. The room has computed the norm of the whole gradient, and factor divides by the tokens and clips.
func (s *shard) update(t *train.Trainer, scalars optim.Scalars, factor float32) error {
	s.packed = nil
	return t.Stepper.Apply(s.apply, scalars, factor)
}
