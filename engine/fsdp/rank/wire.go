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

// wire reads float32 copies of segments in the type of the wire. They are rounded on the device, so half as many bytes are read
// back and Go does not touch them.
type wire struct {
	dev    device.Device
	mem    *memory.Parameters
	copy   int              // which of a segment's copies
	packed device.Buffer    // the rounded segment that is being read; nil if the wire carries float32
	pack   []*graph.Program // by segment
}

// wireKey is the key of a rounded segment.
type wireKey struct{ len int }

func newWire(dev device.Device, mem *memory.Parameters, copy int, d tensor.DType) (*wire, error) {
	w := &wire{dev: dev, mem: mem, copy: copy}
	if d == tensor.F32 || len(mem.Layout.Segments) == 0 {
		return w, nil
	}
	var err error
	if w.packed, err = dev.Alloc(replay.WireSpec(mem.Layout.Segments, d)); err != nil {
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
		p, err := t.Compile(dev, fmt.Sprintf("pack segment %d", i), nil, binder)
		if err != nil {
			w.release()
			return nil, err
		}
		w.pack = append(w.pack, p)
	}
	return w, nil
}

// all reads all segments. Elements keep their places in the segment.
func (w *wire) all() (out []device.Bytes, err error) {
	var reads []device.Pending
	n := len(w.mem.Layout.Segments)
	for i := range n + replay.UnderWay {
		if i >= replay.UnderWay {
			b, err := reads[i-replay.UnderWay].Export()
			if err != nil {
				return nil, err
			}
			out = append(out, b)
		}
		if i < n {
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
		return w.mem.Fetch(segment, w.copy, 0, n)
	}
	if err := w.dev.Submit(device.Work{Run: w.pack[segment].Executable}); err != nil {
		return nil, err
	}
	return w.dev.Fetch(w.packed, 0, n)
}

func (w *wire) release() {
	for _, p := range w.pack {
		p.Release()
	}
	if w.packed != nil {
		w.dev.Free(w.packed)
	}
}
