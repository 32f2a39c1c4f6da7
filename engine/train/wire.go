package train

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/fsdp"
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

// wireSpecs are the buffers of what a tab of a room sends: gradients, parameters of which it owns a shard, and its state when
// a checkpoint is due. What travels rounded is packed first; all of it is read back.
func (s *Setup) wireSpecs() (specs []device.Spec) {
	if s.fsdp() == nil {
		return nil
	}
	reads := map[int64]int{} // read-back buffers by size, which all kinds share
	read := func(segments []plan.Segment, most, size, atOnce int) {
		of := map[int64]int{}
		for _, seg := range segments {
			bytes := device.ReadBackBytes(min(seg.Len, most) * size)
			of[bytes] = min(of[bytes]+1, atOnce)
			reads[bytes] = max(reads[bytes], of[bytes])
		}
	}
	send := func(segments []plan.Segment, d tensor.DType) {
		if d != tensor.F32 {
			specs = append(specs, wireSpec(segments, d))
		}
		read(segments, math.MaxInt32, d.Size(), underWay)
	}
	send(s.Layout.Segments, wireType(s.cfg.Precision.ReduceDType))
	if s.Layout.Lanes != nil {
		send(s.owned().Segments, wireType(s.cfg.Precision.ParamDType))
	}
	read(s.owned().Segments, fsdp.DefaultPiece, tensor.F32.Size(), 1)
	for _, size := range slices.Sorted(maps.Keys(reads)) {
		for range reads[size] {
			specs = append(specs, device.Spec{Len: int(size / 4), Class: device.Staging, Label: "read-back"})
		}
	}
	return specs
}

// wireType is the type on the wire for one of a config.
func wireType(name string) tensor.DType {
	if name == "bfloat16" {
		return tensor.BF16
	}
	return tensor.F32
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
