package rank

import (
	"fmt"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/memory"
	"llamatab/engine/op"
	"llamatab/engine/replay"
	"llamatab/engine/tensor"
)

// wire takes float32 copies of segments off a device on the type that they travel in. They are rounded on the device,
// which halves what is read back and leaves nothing for this program to do with them.
type wire struct {
	mem    *memory.Parameters
	copy   int           // which of a segment's copies
	packed device.Buffer // the segment that is being read, rounded; nil where it travels as it is
	pack   []*graph.Program
}

// wireKey is the key of a segment on the wire.
type wireKey struct{ len int }

func newWire(mem *memory.Parameters, copy int, d tensor.DType) (*wire, error) {
	w := &wire{mem: mem, copy: copy}
	if d == tensor.F32 || len(mem.Segments) == 0 {
		return w, nil
	}
	var err error
	if w.packed, err = mem.Device.Alloc(replay.WireSpec(mem.Layout.Segments, d)); err != nil {
		return nil, err
	}
	binder := graph.Binder{Extern: func(key any) (device.Slice, error) {
		if k, ok := key.(wireKey); ok {
			return device.Slice{Buf: w.packed, Len: k.len}, nil
		}
		return mem.Find(key)
	}}
	for i, seg := range mem.Layout.Segments {
		t := graph.NewTape()
		packed := t.Extern(graph.Extern{Key: wireKey{seg.Len}, Shape: tensor.Of(seg.Len), DType: d, Name: w.packed.Spec().Label})
		op.Pack(t, memory.SegmentVar(t, mem.Layout, i, copy, 0, seg.Len), packed)
		p, err := t.Compile(mem.Device, fmt.Sprintf("pack segment %d", i), nil, binder)
		if err != nil {
			w.release()
			return nil, err
		}
		w.pack = append(w.pack, p)
	}
	return w, nil
}

// all reads all segments. In what is read, elements are at the places that they have in the segment.
func (w *wire) all() (out []device.Bytes, err error) {
	var reads []device.Pending
	for i := range len(w.mem.Segments) + replay.UnderWay {
		if i >= replay.UnderWay {
			b, err := reads[i-replay.UnderWay].Export()
			if err != nil {
				return nil, err
			}
			out = append(out, b)
		}
		if i < len(w.mem.Segments) {
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
	n := w.mem.Layout.Segments[segment].Len
	if w.packed == nil {
		return w.mem.Device.Fetch(w.mem.Segments[segment][w.copy], 0, n)
	}
	if err := w.mem.Device.Submit(device.Work{Run: w.pack[segment].Executable}); err != nil {
		return nil, err
	}
	return w.mem.Device.Fetch(w.packed, 0, n)
}

func (w *wire) release() {
	for _, p := range w.pack {
		p.Release()
	}
	if w.packed != nil {
		w.mem.Device.Free(w.packed)
	}
}
