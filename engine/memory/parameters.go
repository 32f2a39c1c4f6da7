package memory

import (
	"fmt"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/peft"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/tune"
	"llamatab/engine/weights"
)

// Parameters holds the parameters of a model on a device, at the places that plan.Layout gives them.
type Parameters struct {
	Device   device.Device
	Layout   plan.Layout
	Slices   map[any]device.Slice       // by *nn.Param, nn.GradOf and momentKey
	compute  map[*nn.Param]device.Slice // packed copies of weights that have a float32 master in slices
	Segments [][plan.Copies]device.Buffer
	Bufs     []device.Buffer

	Pieces map[*nn.Param]Piece               // where to load what trains, where shards of it are owned
	Remote func(p *nn.Param) ([]byte, error) // the float32 values of what trains, where they are not here

	Tuner   *tune.Tuner    // chooses kernels for what is computed from parameters alone
	Frozen  tensor.DType   // that frozen values are rounded to, whatever they are stored in
	publish *graph.Program // packs all masters; nil where there is none
	Stale   bool           // a master was written since
}

// Piece is a place for a run of a parameter's elements, from element at on.
type Piece struct {
	device.Slice
	At int
}

// MomentKey is the key of one of AdamW's two moments.
type MomentKey struct {
	*nn.Param
	Copy int // plan.Moment1 or plan.Moment2
}

func New(dev device.Device, l plan.Layout, optimizer bool) (*Parameters, error) {
	m := &Parameters{Device: dev, Layout: l, Slices: map[any]device.Slice{}, compute: map[*nn.Param]device.Slice{}}
	alloc := func(s device.Spec) (device.Buffer, error) {
		b, err := dev.Alloc(s)
		if err != nil {
			m.Free()
			return nil, err
		}
		m.Bufs = append(m.Bufs, b)
		return b, nil
	}
	for _, p := range l.Frozen {
		b, err := alloc(plan.FrozenSpec(p))
		if err != nil {
			return nil, err
		}
		m.Slices[p] = device.All(b)
	}
	if l.Lanes != nil {
		return m, m.share(alloc)
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
		m.Segments = append(m.Segments, copies)
		for j, p := range s.Params {
			at := func(c int) device.Slice { return device.Slice{Buf: copies[c], Off: s.Offsets[j], Len: p.Shape.Size()} }
			m.Slices[p], m.Slices[nn.GradOf{Param: p}] = at(plan.Weight), at(plan.Gradient)
			m.Slices[MomentKey{p, plan.Moment1}], m.Slices[MomentKey{p, plan.Moment2}] = at(plan.Moment1), at(plan.Moment2)
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

// share allocates the lanes that segments lie in by turns.
func (m *Parameters) share(alloc func(device.Spec) (device.Buffer, error)) error {
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
		m.Segments = append(m.Segments, [plan.Copies]device.Buffer{plan.Weight: w, plan.Gradient: g})
		for j, p := range s.Params {
			m.Slices[p] = device.Slice{Buf: w, Off: s.Offsets[j], Len: p.Shape.Size()}
			m.Slices[nn.GradOf{Param: p}] = device.Slice{Buf: g, Off: s.Offsets[j], Len: p.Shape.Size()}
		}
	}
	return nil
}

// SegmentKey is the key of a range of one of a segment's copies.
type SegmentKey struct{ segment, copy, off, len int }

// SegmentVar is n elements of a copy of a segment on a tape, from element off on.
func SegmentVar(t *graph.Tape, l plan.Layout, segment, copy, off, n int) graph.Var {
	spec := l.Segments[segment].Specs()[copy]
	return t.Extern(graph.Extern{Key: SegmentKey{segment, copy, off, n}, Shape: tensor.Of(n), DType: spec.DType, Name: spec.Label})
}

// RecordPublish packs the masters into the copies that compute reads.
func RecordPublish(t *graph.Tape, l plan.Layout) {
	for i, s := range l.Segments {
		if s.Specs()[plan.Compute].Len > 0 {
			op.Pack(t, SegmentVar(t, l, i, plan.Weight, 0, s.Len), SegmentVar(t, l, i, plan.Compute, 0, s.Len))
		}
	}
}

// Refresh makes compute see what was written to masters.
func (m *Parameters) Refresh() error {
	if m.publish == nil || !m.Stale {
		return nil
	}
	m.Stale = false
	return m.Device.Submit(device.Work{Run: m.publish.Executable})
}

func (m *Parameters) Free() {
	if m.publish != nil {
		m.publish.Release()
	}
	for _, b := range m.Bufs {
		m.Device.Free(b)
	}
	m.Bufs = nil
}

// Find implements the part of graph.Binder that concerns parameters: as compute sees them.
func (m *Parameters) Find(key any) (device.Slice, error) {
	switch k := key.(type) {
	case *nn.Param:
		if s, ok := m.compute[k]; ok {
			return s, nil
		}
	case SegmentKey:
		return device.Slice{Buf: m.Segments[k.segment][k.copy], Off: k.off, Len: k.len}, nil
	}
	return m.master(key)
}

// master is where the values of a key are kept in full.
func (m *Parameters) master(key any) (device.Slice, error) {
	s, ok := m.Slices[key]
	if !ok {
		return s, fmt.Errorf("no memory for %v", key)
	}
	return s, nil
}

// into tells where the values of key are to be stored, and as what: in full, or in the piece that is being loaded.
func (m *Parameters) into(key any) (Piece, tensor.DType, error) {
	if p, ok := key.(*nn.Param); ok && p.Trainable && m.Layout.Lanes != nil {
		return m.Pieces[p], tensor.F32, nil // of no length where it has none
	}
	dst, err := m.master(key)
	if err != nil {
		return Piece{}, 0, err
	}
	return Piece{Slice: dst}, dst.Buf.Spec().DType, nil
}

// Upload streams a tensor of a file into the memory of key, converting to how the device stores it. It refuses
// values that are not finite: they would poison everything that is computed.
func (m *Parameters) Upload(key any, shape tensor.Shape, transposed bool, c *weights.Checkpoint, name string, done func(int64)) error {
	dst, to, err := m.into(key)
	if err != nil {
		return err
	}
	t, ok := c.Tensor(name)
	if !ok {
		return fmt.Errorf("tensor %q is missing", name)
	}
	if transposed {
		h, err := c.ReadF32(t)
		if err != nil {
			return err
		}
		done(t.Bytes)
		return m.write(key, transpose(h.Data, t.Shape[0], t.Shape[1]))
	}
	m.Stale = true
	size := int64(t.DType.Size())
	rounded := m.rounds(key)
	var floats []float32
	var out []byte
	return c.ReadChunks(t, pretrained.ChunkBytes, func(offset int64, chunk []byte) error {
		if i := tensor.FirstNonFinite(chunk, t.DType); i >= 0 {
			return report.Fail("weights", report.ExitFailed, "The file is damaged or was saved from a run that diverged: use another checkpoint.",
				fmt.Errorf("%s: tensor %q: element %d is not a finite number", t.File, name, offset/size+int64(i)))
		}
		done(int64(len(chunk)))
		if t.DType != to || rounded {
			n := len(chunk) / int(size)
			floats = append(floats[:0], make([]float32, n)...)
			if err := tensor.DecodeF32(floats, chunk, t.DType); err != nil {
				return err
			}
			if rounded {
				if err := tensor.Round(floats, m.Frozen); err != nil {
					return err
				}
			}
			out = tensor.EncodeF32(out[:0], floats, to)
			chunk = out
		}
		return m.Put(dst, int(offset/size), chunk)
	})
}

// rounds reports whether key is a frozen parameter whose values are rounded though they are stored as float32.
func (m *Parameters) rounds(key any) bool {
	p, ok := key.(*nn.Param)
	return ok && !p.Trainable && p.DType == tensor.F32 && m.Frozen != tensor.F32
}

// Put writes data into dst. data begins at element off of the parameter, and dst takes the elements from dst.At on. A
// device writes whole words: if data ends in half a word and the buffer goes on, Put pads it.
func (m *Parameters) Put(dst Piece, off int, data []byte) error {
	if dst.Len == 0 {
		return nil
	}
	spec := dst.Buf.Spec()
	size := spec.DType.Size()
	from, to := max(off, dst.At), min(off+len(data)/size, dst.At+dst.Len)
	if from >= to {
		return nil
	}
	data, off = data[size*(from-off):size*(to-off)], from-dst.At
	if end := dst.Off + off + len(data)/spec.DType.Size(); len(data)%4 != 0 && end < spec.Len {
		data = append(slices.Clip(data), 0, 0)
	}
	return m.Device.Write(dst.Buf, dst.Off+off, data)
}

func transpose(x []float32, rows, cols int) []float32 {
	y := make([]float32, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return y
}

// write fills the memory of key with values.
func (m *Parameters) write(key any, x []float32) error {
	dst, to, err := m.into(key)
	if err != nil {
		return err
	}
	m.Stale = true
	if m.rounds(key) {
		if err := tensor.Round(x, m.Frozen); err != nil {
			return err
		}
	}
	return m.Put(dst, 0, tensor.EncodeF32(nil, x, to))
}

// Zero fills the memory of key with zeros.
func (m *Parameters) Zero(key any) error {
	dst, err := m.Find(key)
	if err != nil {
		return err
	}
	zeros := make([]byte, min(pretrained.ChunkBytes, 4*dst.Len))
	for at := 0; err == nil && at < dst.Len; at += len(zeros) / 4 {
		err = m.Device.Write(dst.Buf, dst.Off+at, zeros[:min(len(zeros), 4*(dst.Len-at))])
	}
	return err
}

// Stream hands the little-endian F32 values of key to fn in pieces, row-major in shape, or its transpose.
func (m *Parameters) Stream(key any, shape tensor.Shape, transposed bool, fn func([]byte) error) error {
	if p, ok := key.(*nn.Param); ok && p.Trainable && m.Remote != nil {
		data, err := m.Remote(p)
		if err == nil && transposed {
			x := make([]float32, len(data)/4)
			if err = tensor.DecodeF32(x, data, tensor.F32); err == nil {
				data = tensor.EncodeF32(nil, transpose(x, shape[0], shape[1]), tensor.F32)
			}
		}
		if err != nil {
			return err
		}
		return fn(data)
	}
	src, err := m.master(key)
	if err != nil {
		return err
	}
	step := pretrained.ChunkBytes / 4
	if transposed {
		step = src.Len
	}
	for at := 0; at < src.Len; at += step {
		n := min(step, src.Len-at)
		data, err := m.Device.Read(src.Buf, src.Off+at, n)
		if err != nil {
			return err
		}
		if d := src.Buf.Spec().DType; d != tensor.F32 || transposed {
			x := make([]float32, n)
			if err := tensor.DecodeF32(x, data, d); err != nil {
				return err
			}
			if transposed {
				x = transpose(x, shape[0], shape[1])
			}
			data = tensor.EncodeF32(nil, x, tensor.F32)
		}
		if err := fn(data); err != nil {
			return err
		}
	}
	return nil
}

// Load gives parameters of a model their first values, from wherever the model takes them.
func (m *Parameters) Load(model *pretrained.Model, params []*nn.Param, h report.Host) error {
	source := model.Sources()
	params = slices.DeleteFunc(slices.Clone(params), func(p *nn.Param) bool { // shards that are not here
		return p.Trainable && m.Layout.Lanes != nil && m.Pieces[p].Len == 0
	})
	var total, done int64
	for _, p := range params {
		total += source(p).Bytes()
	}
	progress := report.NewProgress(h, "load", "bytes", total)
	for _, p := range params {
		src := source(p)
		if src.File == nil {
			x, err := model.FirstValues(src.Adapter, p)
			if err == nil {
				err = m.write(p, x)
			}
			if err != nil {
				return report.Fail("peft", report.ExitConfig, "Change how the adapter starts.", fmt.Errorf("first values of %s: %w", p.Name, err))
			}
			continue
		}
		var err error
		if take := model.Residual(p); take != nil && src.File == model.Base {
			err = m.UploadResidual(p, model, take)
		} else {
			err = m.Upload(p, p.Shape, p.Transposed, src.File, src.Name, func(n int64) { done += n; progress.Update(done, p.Name) })
		}
		if err != nil {
			return report.Fail("weights", report.ExitFailed, pretrained.ModelHint, fmt.Errorf("loading %s: %w", p.Name, err))
		}
	}
	progress.Update(total, "")
	return nil
}

// UploadResidual puts a base weight into memory without what the adapter starts as. key is the weight's, or stands for it.
func (m *Parameters) UploadResidual(key *nn.Param, model *pretrained.Model, take func([]float32)) error {
	x, err := model.BaseValues(key)
	if err != nil {
		return err
	}
	take(x)
	return m.write(key, x)
}

// computedKey is the key of a computed tensor's memory on a tape.
type computedKey struct{}

// Compute makes the values of a tensor that is a function of what trains.
func (m *Parameters) Compute(t peft.Tensor) (tensor.Shape, []byte, error) {
	var shape tensor.Shape
	tape := graph.NewInferenceTape()
	if err := graph.Record(func() {
		y := t.Computed(tape)
		shape = y.Shape
		tape.Copy(tape.Extern(graph.Extern{Key: computedKey{}, Shape: shape, Name: t.Key}), y)
	}); err != nil {
		return nil, nil, err
	}
	data, err := m.run(tape, t.Key, shape.Size())
	return shape, data, err
}

// run replays a tape that leaves n values under computedKey, once, and reads them.
func (m *Parameters) run(tape *graph.Tape, label string, n int) ([]byte, error) {
	out, err := m.Device.Alloc(device.Spec{Len: n, Kind: device.Activations, Label: label})
	if err != nil {
		return nil, err
	}
	defer m.Device.Free(out)
	pool, err := graph.NewPool(m.Device, tape.Plan())
	if err != nil {
		return nil, err
	}
	defer pool.Free()
	prog, err := tape.Compile(m.Device, label, pool, graph.Binder{Prepare: m.Tuner.Prepare, Choose: m.Tuner.Choose, Extern: func(key any) (device.Slice, error) {
		if _, ok := key.(computedKey); ok {
			return device.All(out), nil
		}
		return m.Find(key)
	}})
	if err != nil {
		return nil, err
	}
	defer prog.Release()
	if err := m.Device.Submit(device.Work{Run: prog.Executable}); err != nil {
		return nil, err
	}
	return m.Device.Read(out, 0, n)
}
