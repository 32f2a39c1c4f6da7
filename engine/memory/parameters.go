package memory

import (
	"fmt"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/tensor"
	"llamatab/engine/tune"
)

// Parameters holds the parameters of a model on a device, at the places that plan.Layout gives them. One goroutine uses it
// at a time, the one that uses the device.
type Parameters struct {
	Layout plan.Layout

	dev      device.Device
	slices   map[any]device.Slice         // by *nn.Param, nn.GradOf and MomentKey
	compute  map[*nn.Param]device.Slice   // rounded copies of weights whose float32 master is in slices
	segments [][plan.Copies]device.Buffer // by segment
	buffers  []device.Buffer              // all of them, to be freed

	pieces map[*nn.Param]Piece               // where Load puts what trains while LoadShard runs, else nil
	remote func(p *nn.Param) ([]byte, error) // see ReadTrainedWith

	sampling *fingerprint         // of the frozen weight of the model that Load is reading, else nil
	sampled  map[*nn.Param]uint64 // the sums of those that it has read

	tuner        *tune.Tuner    // chooses the kernels of Compute
	frozenType   tensor.DType   // see RoundFrozen
	publish      *graph.Program // rounds all masters into the copies that are computed with; nil without such copies
	mastersNewer bool           // a master was written after publish ran
}

// Piece is a place for elements At, At+1, … of a parameter. A Piece of length 0 holds nothing.
type Piece struct {
	device.Slice
	At int
}

// MomentKey is the key of one of AdamW's two moments.
type MomentKey struct {
	*nn.Param
	Copy int // plan.Moment1 or plan.Moment2
}

// New allocates the memory of a layout on a device, all zero. Without an optimizer there are no moments. The error wraps
// device.ErrOutOfMemory if the device has no room.
func New(dev device.Device, l plan.Layout, optimizer bool) (*Parameters, error) {
	m := &Parameters{dev: dev, Layout: l, slices: map[any]device.Slice{}, compute: map[*nn.Param]device.Slice{}, sampled: map[*nn.Param]uint64{}}
	alloc := func(s device.Spec) (device.Buffer, error) {
		b, err := dev.Alloc(s)
		if err != nil {
			m.Free()
			return nil, err
		}
		m.buffers = append(m.buffers, b)
		return b, nil
	}
	for _, p := range l.Frozen {
		b, err := alloc(plan.FrozenSpec(p))
		if err != nil {
			return nil, err
		}
		m.slices[p] = device.All(b)
	}
	if l.Lanes != nil {
		return m, m.allocLanes(alloc)
	}
	for i := range l.Segments {
		s := &l.Segments[i]
		var copies [plan.Copies]device.Buffer
		for c, spec := range s.Specs() {
			if spec.Len == 0 || spec.Kind == device.Optimizer && !optimizer {
				continue
			}
			b, err := alloc(spec)
			if err != nil {
				return nil, err
			}
			copies[c] = b
		}
		m.segments = append(m.segments, copies)
		for j, p := range s.Params {
			at := func(c int) device.Slice { return device.Slice{Buf: copies[c], Off: s.Offsets[j], Len: p.Shape.Size()} }
			m.slices[p], m.slices[nn.GradOf{Param: p}] = at(plan.Weight), at(plan.Gradient)
			m.slices[MomentKey{p, plan.Moment1}], m.slices[MomentKey{p, plan.Moment2}] = at(plan.Moment1), at(plan.Moment2)
			if copies[plan.Compute] != nil {
				m.compute[p] = at(plan.Compute)
			}
		}
	}
	if len(m.compute) > 0 {
		t := graph.NewTape()
		RecordPublish(t, l)
		var err error
		if m.publish, err = t.Compile(dev, "publish", nil, graph.Binder{Extern: m.Find}); err != nil {
			m.Free()
			return nil, err
		}
	}
	return m, nil
}

// allocLanes allocates the buffers that several segments use in turn (plan.Lanes).
func (m *Parameters) allocLanes(alloc func(device.Spec) (device.Buffer, error)) error {
	l := m.Layout.Lanes
	lanes := func(specs []device.Spec) (bufs []device.Buffer, err error) {
		for _, s := range specs {
			b, err := alloc(s)
			if err != nil {
				return nil, err
			}
			bufs = append(bufs, b)
		}
		return bufs, nil
	}
	weights, err := lanes(l.Weights)
	if err != nil {
		return err
	}
	gradients, err := lanes(l.Gradients)
	if err != nil {
		return err
	}
	for i, s := range m.Layout.Segments {
		w, g := weights[l.Weight[i]], gradients[l.Gradient[i]]
		m.segments = append(m.segments, [plan.Copies]device.Buffer{plan.Weight: w, plan.Gradient: g})
		for j, p := range s.Params {
			m.slices[p] = device.Slice{Buf: w, Off: s.Offsets[j], Len: p.Shape.Size()}
			m.slices[nn.GradOf{Param: p}] = device.Slice{Buf: g, Off: s.Offsets[j], Len: p.Shape.Size()}
		}
	}
	return nil
}

// UseTuner sets the tuner that chooses the kernels of Compute.
func (m *Parameters) UseTuner(t *tune.Tuner) { m.tuner = t }

// RoundFrozen makes Load round frozen values to d, also those that are stored as float32.
func (m *Parameters) RoundFrozen(d tensor.DType) { m.frozenType = d }

// Refresh rounds the masters again if one was written since.
func (m *Parameters) Refresh() error {
	if m.publish == nil || !m.mastersNewer {
		return nil
	}
	m.mastersNewer = false
	return m.dev.Submit(device.Work{Run: m.publish.Executable})
}

// Free gives the memory back to the device.
func (m *Parameters) Free() {
	if m.publish != nil {
		m.publish.Release()
	}
	for _, b := range m.buffers {
		m.dev.Free(b)
	}
	m.buffers = nil
}

// Find returns the memory of a key for graph.Binder. A parameter that has a rounded copy is found there.
func (m *Parameters) Find(key any) (device.Slice, error) {
	switch k := key.(type) {
	case *nn.Param:
		if s, ok := m.compute[k]; ok {
			return s, nil
		}
	case SegmentKey:
		return device.Slice{Buf: m.segments[k.segment][k.copy], Off: k.off, Len: k.len}, nil
	}
	return m.master(key)
}

// master returns the memory of a key. A parameter that has a rounded copy is found at its float32 master.
func (m *Parameters) master(key any) (device.Slice, error) {
	s, ok := m.slices[key]
	if !ok {
		return s, fmt.Errorf("no memory for %v", key)
	}
	return s, nil
}

// Zero fills the memory of key with zeros.
func (m *Parameters) Zero(key any) error {
	dst, err := m.Find(key)
	if err != nil {
		return err
	}
	zeros := make([]byte, min(pretrained.ChunkBytes, 4*dst.Len))
	for at := 0; err == nil && at < dst.Len; at += len(zeros) / 4 {
		err = m.dev.Write(dst.Buf, dst.Off+at, zeros[:min(len(zeros), 4*(dst.Len-at))])
	}
	return err
}
