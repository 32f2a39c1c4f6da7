package train

import (
	"fmt"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/op"
	"llamatab/engine/plan"
	"llamatab/engine/tensor"
)

// wire takes float32 copies of segments off a device on the type that they travel in. They are rounded on the device,
// which halves what is read back and leaves nothing for this program to do with them.
type wire struct {
	mem    *memory
	copy   int           // which of a segment's copies
	packed device.Buffer // the segment that is being read, rounded; nil where it travels as it is
	pack   []*graph.Program
}

// wireKey is the key of a segment on the wire.
type wireKey struct{ len int }

// wireSpec is the buffer in which the largest segment is rounded to d.
func wireSpec(segments []plan.Segment, d tensor.DType) device.Spec {
	spec := device.Spec{DType: d, Class: device.Staging, Label: "rounded for the wire"}
	for _, seg := range segments {
		spec.Len = max(spec.Len, seg.Len)
	}
	return spec
}

// wireSpecs are the buffers of what a tab of a room sends rounded: gradients, and parameters of which it owns a shard.
func (s *Setup) wireSpecs() (specs []device.Spec) {
	if s.fsdp() == nil {
		return nil
	}
	if s.cfg.Precision.ReduceDType == "bfloat16" {
		specs = append(specs, wireSpec(s.Layout.Segments, tensor.BF16))
	}
	if s.Layout.Lanes != nil && s.cfg.Precision.ParamDType == "bfloat16" {
		specs = append(specs, wireSpec(s.owned().Segments, tensor.BF16))
	}
	return specs
}

func newWire(mem *memory, copy int, d tensor.DType) (*wire, error) {
	w := &wire{mem: mem, copy: copy}
	if d == tensor.F32 || len(mem.segments) == 0 {
		return w, nil
	}
	var err error
	if w.packed, err = mem.dev.Alloc(wireSpec(mem.layout.Segments, d)); err != nil {
		return nil, err
	}
	binder := graph.Binder{Extern: func(key any) (device.Slice, error) {
		if k, ok := key.(wireKey); ok {
			return device.Slice{Buf: w.packed, Len: k.len}, nil
		}
		return mem.find(key)
	}}
	for i, seg := range mem.layout.Segments {
		t := graph.NewTape()
		packed := t.Extern(graph.Extern{Key: wireKey{seg.Len}, Shape: tensor.Of(seg.Len), DType: d, Name: w.packed.Spec().Label})
		op.Pack(t, segmentVar(t, mem.layout, i, copy, 0, seg.Len), packed)
		p, err := t.Compile(mem.dev, fmt.Sprintf("pack segment %d", i), nil, binder)
		if err != nil {
			w.release()
			return nil, err
		}
		w.pack = append(w.pack, p)
	}
	return w, nil
}

// underWay is how many segments are read at a time: while one is handed over, the next is on its way.
const underWay = 2

// all reads all segments. In what is read, elements are at the places that they have in the segment.
func (w *wire) all() (out []device.Bytes, err error) {
	var reads []device.Pending
	for i := range len(w.mem.segments) + underWay {
		if i >= underWay {
			b, err := reads[i-underWay].Export()
			if err != nil {
				return nil, err
			}
			out = append(out, b)
		}
		if i < len(w.mem.segments) {
			r, err := w.fetch(i)
			if err != nil {
				return nil, err
			}
			reads = append(reads, r)
		}
	}
	return out, nil
}

// fetch begins to read a segment.
func (w *wire) fetch(segment int) (device.Pending, error) {
	n := w.mem.layout.Segments[segment].Len
	if w.packed == nil {
		return w.mem.dev.Fetch(w.mem.segments[segment][w.copy], 0, n)
	}
	if err := w.mem.dev.Submit(device.Work{Run: w.pack[segment].Executable}); err != nil {
		return nil, err
	}
	return w.mem.dev.Fetch(w.packed, 0, n)
}

func (w *wire) release() {
	for _, p := range w.pack {
		p.Release()
	}
	if w.packed != nil {
		w.mem.dev.Free(w.packed)
	}
}
