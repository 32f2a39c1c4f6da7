//go:build js

package webgpu

import (
	"errors"
	"fmt"
	"iter"
	"syscall/js"
	"time"

	"github.com/cogentcore/webgpu/wgpu"
	"github.com/hack-pad/safejs"

	"llamatab/engine/device"
)

const largestSlot = 16 << 20 // bytes; longer reads go in parts

// window is a slice in bytes, for commands: it starts on a word, and its end is rounded up to one.
func (d *Device) window(s device.Slice) (b *buffer, from, size int64, err error) {
	if b, err = d.own(s.Buf); err != nil {
		return nil, 0, 0, err
	}
	if s.Off < 0 || s.Len <= 0 || s.Off > b.spec.Len-s.Len {
		return nil, 0, 0, fmt.Errorf("elements %d to %d of %q, which has %d", s.Off, s.Off+s.Len, b.spec.Label, b.spec.Len)
	}
	n := int64(b.spec.DType.Size())
	from, size = int64(s.Off)*n, (int64(s.Len)*n+3)&^3
	if from%4 != 0 {
		return nil, 0, 0, fmt.Errorf("%q from byte %d on: not a multiple of 4", b.spec.Label, from)
	}
	return b, from, size, nil
}

// target is a window to be replaced. It must not end in the middle of a word, unless that is the buffer's last.
func (d *Device) target(s device.Slice) (b *buffer, from, size int64, err error) {
	b, from, size, err = d.window(s)
	if err == nil && int64(s.Len*b.spec.DType.Size()) != size && s.Off+s.Len != b.spec.Len {
		err = fmt.Errorf("%d elements of %q from %d on end in the middle of a word", s.Len, b.spec.Label, s.Off)
	}
	return b, from, size, err
}

// Write implements device.Device. In a buffer of 2-byte elements it must start on an even one, and be of an even
// length unless it ends the buffer.
func (d *Device) Write(b device.Buffer, off int, data []byte) error {
	return d.Submit(device.Work{Buf: b, Off: off, Data: data})
}

// Submit implements device.Device. Writes of more than 64 KiB take further calls. Where an entry cannot be done,
// none after it is.
func (d *Device) Submit(work ...device.Work) error {
	if d.err != nil {
		return d.err
	}
	start := time.Now()
	var failure error
	for i, w := range work {
		if err := d.pack(w); err != nil {
			failure = fmt.Errorf("webgpu: submit: entry %d: %w", i, err)
			break
		}
	}
	if err := d.replay.flush(); err != nil && failure == nil {
		failure = fmt.Errorf("webgpu: submit: %w", err)
	}
	d.submitting += time.Since(start)
	return failure
}

func (d *Device) pack(w device.Work) error {
	if w.Run != nil {
		e, ok := w.Run.(*executable)
		if !ok || e.dev != d {
			return errors.New("the executable is of another device")
		}
		if e.program < 0 {
			return fmt.Errorf("executable %s was released", e.label)
		}
		d.stats.Dispatches += e.dispatches
		d.replay.run(e.program)
		return nil
	}
	b, from, err := d.written(w.Buf, w.Off, len(w.Data))
	if err != nil || len(w.Data) == 0 {
		return err
	}
	return d.replay.write(b.id, from, w.Data)
}

// written checks a write of n bytes from element off on and returns the byte that it starts at.
func (d *Device) written(db device.Buffer, off, n int) (b *buffer, from int64, err error) {
	if b, err = d.own(db); err != nil {
		return nil, 0, err
	}
	if n == 0 && off >= 0 && off <= b.spec.Len {
		return b, 0, nil
	}
	size := b.spec.DType.Size()
	if n%size != 0 {
		return nil, 0, fmt.Errorf("write of %d bytes into %q of %v", n, b.spec.Label, b.spec.DType)
	}
	if _, from, _, err = d.target(device.Slice{Buf: b, Off: off, Len: n / size}); err != nil {
		return nil, 0, fmt.Errorf("write: %w", err)
	}
	return b, from, nil
}

// slot is a buffer that the GPU copies to and Go reads from, used for one read after the other.
type slot struct {
	gpu             *wgpu.Buffer
	size            int
	mapped, refused safejs.Func
	done            chan error
}

// slot takes a free read-back buffer for n bytes, or makes one.
func (d *Device) slot(n int) (*slot, error) {
	size := int(device.ReadBackBytes(n))
	if free := d.slots[size]; len(free) > 0 {
		s := free[len(free)-1]
		d.slots[size] = free[:len(free)-1]
		return s, nil
	}
	gpu, err := d.create("read-back", int64(size), wgpu.BufferUsageMapRead|wgpu.BufferUsageCopyDst)
	if err != nil {
		return nil, err
	}
	s := &slot{gpu: gpu, size: size, done: make(chan error, 1)}
	s.mapped, err = safejs.FuncOf(func(safejs.Value, []safejs.Value) any { s.done <- nil; return nil })
	if err != nil {
		return nil, err
	}
	s.refused, err = safejs.FuncOf(func(_ safejs.Value, args []safejs.Value) any { s.done <- reason(args[0]); return nil })
	if err != nil {
		return nil, err
	}
	d.stats.ReadBuffers++
	d.usage[device.Staging] += int64(size)
	return s, nil
}

// fetch starts copying n bytes from byte from of b to a slot. Both count whole words.
func (d *Device) fetch(b *buffer, from int64, n int) (*slot, error) {
	s, err := d.slot(n)
	if err != nil {
		return nil, err
	}
	err = try(func() {
		encoder, _ := d.gpu.CreateCommandEncoder(nil)
		encoder.CopyBufferToBuffer(b.gpu, uint64(from), s.gpu, 0, uint64(n))
		commands, _ := encoder.Finish(nil)
		d.gpu.GetQueue().Submit(commands)
		raw(s.gpu).Call("mapAsync", uint32(wgpu.MapModeRead), 0, n).Call("then", safejs.Unsafe(s.mapped.Value()), safejs.Unsafe(s.refused.Value()))
	})
	if err != nil {
		d.discard(s)
		return nil, err
	}
	d.stats.Submits++
	d.stats.Fetches++
	return s, nil
}

// collect waits for a slot, has its first n bytes taken, as an ArrayBuffer that is good only meanwhile, and frees it.
func (d *Device) collect(s *slot, n int, take func(mapped js.Value)) error {
	var err error
	select {
	case err = <-s.done:
	case <-d.gone:
	}
	if d.err != nil {
		return d.err
	}
	if err == nil {
		err = try(func() {
			take(raw(s.gpu).Call("getMappedRange", 0, n))
			s.gpu.Unmap()
		})
	}
	if err != nil {
		d.discard(s)
		return err
	}
	d.slots[s.size] = append(d.slots[s.size], s)
	return nil
}

// Trim implements device.Trimmer.
func (d *Device) Trim() {
	for size, free := range d.slots {
		for _, s := range free {
			d.discard(s)
			s.mapped.Release()
			s.refused.Release()
			d.stats.ReadBuffers--
		}
		delete(d.slots, size)
	}
}

// discard gives up a slot that failed. Its functions stay, as its promise may still call them.
func (d *Device) discard(s *slot) {
	s.gpu.Destroy()
	d.usage[device.Staging] -= int64(s.size)
}

// reading is a range of elements to read, rounded out to whole words.
type reading struct {
	buf        *buffer
	from       int64 // byte where the first word starts
	words      int   // bytes of the words
	skip, size int   // which of them were asked for
}

func (d *Device) reading(db device.Buffer, off, n int) (reading, error) {
	b, err := d.own(db)
	if err != nil {
		return reading{}, err
	}
	if off < 0 || n < 0 || off > b.spec.Len-n {
		return reading{}, fmt.Errorf("%d elements at %d of %q, which has %d", n, off, b.spec.Label, b.spec.Len)
	}
	each := b.spec.DType.Size()
	skip, size := off*each%4, n*each
	return reading{b, int64(off*each - skip), (skip + size + 3) &^ 3, skip, size}, nil
}

// parts are where the parts that one read-back buffer holds begin among the words, and their sizes.
func (r reading) parts() iter.Seq2[int, int] {
	return func(yield func(at, n int) bool) {
		for at := 0; at < r.words; at += largestSlot {
			if !yield(at, min(largestSlot, r.words-at)) {
				return
			}
		}
	}
}

// Read implements device.Device, one part after the other.
func (d *Device) Read(db device.Buffer, off, n int) ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	r, err := d.reading(db, off, n)
	if err != nil {
		return nil, fmt.Errorf("webgpu: read: %w", err)
	}
	out := make([]byte, r.words)
	for at, n := range r.parts() {
		s, err := d.fetch(r.buf, r.from+int64(at), n)
		if err == nil {
			err = d.collect(s, n, func(mapped js.Value) { js.CopyBytesToGo(out[at:at+n], uint8Array(mapped)) })
		}
		if err != nil {
			return nil, fmt.Errorf("webgpu: read of %q: %w", r.buf.spec.Label, err)
		}
	}
	return out[r.skip : r.skip+r.size], nil
}

// Import implements device.Device, under the conditions of Write.
func (d *Device) Import(db device.Buffer, off int, data device.Bytes) error {
	a, ok := data.(Array)
	if !ok {
		return d.Write(db, off, data.Go())
	}
	if d.err != nil {
		return d.err
	}
	b, from, err := d.written(db, off, a.n)
	if err != nil || a.n == 0 {
		return err
	}
	start := time.Now()
	defer func() { d.submitting += time.Since(start) }()
	whole := a.n &^ 3 // what WebGPU takes; the rest is filled up to a word
	if whole > 0 {
		if _, err := d.replay.object.Call("write", b.id, from/4, whole, safejs.Safe(a.array), a.off); err != nil {
			return fmt.Errorf("webgpu: import into %q: %w", b.spec.Label, err)
		}
	}
	if whole < a.n {
		return d.Write(db, b.spec.Len-(a.n-whole)/b.spec.DType.Size(), a.Slice(whole, a.n-whole).Go())
	}
	return nil
}

// Fetch implements device.Device. A read that nobody waits for keeps its read-back buffer until Close.
func (d *Device) Fetch(db device.Buffer, off, n int) (device.Pending, error) {
	if d.err != nil {
		return nil, d.err
	}
	r, err := d.reading(db, off, n)
	if err != nil {
		return nil, fmt.Errorf("webgpu: fetch: %w", err)
	}
	p := &pending{dev: d, reading: r}
	for at, n := range r.parts() {
		s, err := d.fetch(r.buf, r.from+int64(at), n)
		if err != nil {
			for _, s := range p.slots {
				d.discard(s)
			}
			return nil, fmt.Errorf("webgpu: fetch of %q: %w", r.buf.spec.Label, err)
		}
		p.slots = append(p.slots, s)
	}
	return p, nil
}

// pending implements device.Pending.
type pending struct {
	dev *Device
	reading
	slots []*slot // under way, one for each part
	over  bool
	out   device.Bytes
	err   error
}

// Wait implements device.Pending.
func (p *pending) Wait() ([]byte, error) {
	p.wait(func() (device.Bytes, func(int, int, js.Value)) {
		out := make([]byte, p.words)
		return device.Heap(out), func(at, n int, mapped js.Value) { js.CopyBytesToGo(out[at:at+n], uint8Array(mapped)) }
	})
	if p.err != nil {
		return nil, p.err
	}
	return p.out.Go(), nil
}

// Export implements device.Pending: the bytes stay in JavaScript's memory.
func (p *pending) Export() (device.Bytes, error) {
	p.wait(func() (device.Bytes, func(int, int, js.Value)) {
		out := uint8Array(p.words)
		return NewArray(out), func(at, _ int, mapped js.Value) { out.Call("set", uint8Array(mapped), at) }
	})
	return p.out, p.err
}

// wait has the parts put into the room that is made for them, the first time that it is called.
func (p *pending) wait(room func() (device.Bytes, func(at, n int, mapped js.Value))) {
	if p.over {
		return
	}
	p.over = true
	var out device.Bytes
	var take func(at, n int, mapped js.Value)
	p.err = try(func() { out, take = room() })
	for at, n := range p.parts() {
		err := p.dev.collect(p.slots[0], n, func(mapped js.Value) {
			if p.err == nil {
				take(at, n, mapped)
			}
		})
		if err != nil && p.err == nil {
			p.err = fmt.Errorf("webgpu: fetch of %q: %w", p.buf.spec.Label, err)
		}
		p.slots = p.slots[1:]
	}
	if p.err == nil {
		p.out = out.Slice(p.skip, p.size)
	}
}
