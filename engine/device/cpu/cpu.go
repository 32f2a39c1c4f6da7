// Package cpu is the reference backend. It runs the Go reference of each kernel in float64, on one goroutine, without a GPU.
package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"llamatab/engine/device"
	"llamatab/engine/tensor"
)

// Device implements device.Device in host memory.
type Device struct {
	limits device.Limits

	mu    sync.Mutex // guards usage: a rank's status reports it while another goroutine allocates
	usage device.Usage
}

// New makes a device whose buffers may have 4 GiB.
func New() *Device {
	l := device.DefaultLimits
	l.MaxBuffer, l.MaxBinding = 4<<30, 4<<30
	return &Device{limits: l}
}

// WithLimits makes a device that has the limits of an adapter and returns the same errors.
func WithLimits(l device.Limits) *Device { return &Device{limits: l} }

type buffer struct {
	spec device.Spec
	f    []float64 // of a floating-point type; bfloat16 and float16 values are rounded
	u    []uint32  // of an integer type
}

func (b *buffer) Spec() device.Spec { return b.spec }

func (b *buffer) window(s device.Slice) any {
	if b.f != nil {
		return b.f[s.Off : s.Off+s.Len]
	}
	return b.u[s.Off : s.Off+s.Len]
}

// Info implements device.Device.
func (d *Device) Info() device.Info {
	return device.Info{Backend: "cpu", Vendor: "go", Architecture: "float64 reference", Software: true}
}

// Limits implements device.Device.
func (d *Device) Limits() device.Limits { return d.limits }

// Usage implements device.Device.
func (d *Device) Usage() device.Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.usage
}

// Alloc implements device.Device.
func (d *Device) Alloc(s device.Spec) (device.Buffer, error) {
	if s.Len <= 0 {
		return nil, fmt.Errorf("cpu: buffer %q has %d elements", s.Label, s.Len)
	}
	if s.Bytes() > d.limits.MaxBuffer {
		return nil, fmt.Errorf("cpu: buffer %q of %d bytes: limit is %d: %w", s.Label, s.Bytes(), d.limits.MaxBuffer, device.ErrOutOfMemory)
	}
	b := &buffer{spec: s}
	if s.DType.IsFloat() {
		b.f = make([]float64, s.Len)
	} else {
		b.u = make([]uint32, s.Len)
	}
	d.account(s.Kind, s.Bytes())
	return b, nil
}

// Free implements device.Device.
func (d *Device) Free(b device.Buffer) { d.account(b.Spec().Kind, -b.Spec().Bytes()) }

// account adds bytes to the usage of a kind of memory.
func (d *Device) account(kind device.MemoryKind, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.usage[kind] += bytes
}

// Write implements device.Device.
func (d *Device) Write(db device.Buffer, off int, data []byte) error {
	b, size := db.(*buffer), db.Spec().DType.Size()
	n := len(data) / size
	if len(data)%size != 0 || off < 0 || off+n > b.spec.Len {
		return fmt.Errorf("cpu: write of %d bytes at element %d of %q, which has %d", len(data), off, b.spec.Label, b.spec.Len)
	}
	for i := range n {
		switch b.spec.DType {
		case tensor.F32:
			b.f[off+i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])))
		case tensor.BF16:
			b.f[off+i] = float64(tensor.F32FromBF16(binary.LittleEndian.Uint16(data[2*i:])))
		case tensor.F16:
			b.f[off+i] = float64(tensor.F32FromF16(binary.LittleEndian.Uint16(data[2*i:])))
		default:
			b.u[off+i] = binary.LittleEndian.Uint32(data[4*i:])
		}
	}
	return nil
}

// Read implements device.Device.
func (d *Device) Read(db device.Buffer, off, n int) ([]byte, error) {
	b := db.(*buffer)
	if off < 0 || n < 0 || off+n > b.spec.Len {
		return nil, fmt.Errorf("cpu: read of %d elements at %d of %q, which has %d", n, off, b.spec.Label, b.spec.Len)
	}
	out := make([]byte, 0, n*b.spec.DType.Size())
	for i := range n {
		switch b.spec.DType {
		case tensor.F32:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(b.f[off+i])))
		case tensor.BF16:
			out = binary.LittleEndian.AppendUint16(out, tensor.BF16FromF32(float32(b.f[off+i])))
		case tensor.F16:
			out = binary.LittleEndian.AppendUint16(out, tensor.F16FromF32(float32(b.f[off+i])))
		default:
			out = binary.LittleEndian.AppendUint32(out, b.u[off+i])
		}
	}
	return out, nil
}

// Import implements device.Device.
func (d *Device) Import(b device.Buffer, off int, data device.Bytes) error {
	return d.Write(b, off, data.Go())
}

// Assemble implements device.Device.
func (d *Device) Assemble(n int, parts ...device.Part) (device.Bytes, error) {
	out := make(device.Heap, n)
	for _, p := range parts {
		copy(out[p.At:p.At+p.Bytes.Len()], p.Bytes.Go())
	}
	return out, nil
}

// Floats returns the content of a buffer in full precision, for tests. Writes to it change the buffer.
func Floats(b device.Buffer) []float64 { return b.(*buffer).f }

type pending []byte

func (p pending) Wait() ([]byte, error)         { return p, nil }
func (p pending) Export() (device.Bytes, error) { return device.Heap(p), nil }

// Fetch implements device.Device.
func (d *Device) Fetch(b device.Buffer, off, n int) (device.Pending, error) {
	data, err := d.Read(b, off, n)
	return pending(data), err
}

type executable struct {
	run        []func()
	dispatches int
}

func (e *executable) Dispatches() int { return e.dispatches }
func (e *executable) Release()        { e.run = nil }

// Compile implements device.Device. It checks what a WebGPU device would check: the number of arguments, windows
// inside their buffers, alignment, and that no buffer is both read and written by one launch.
func (d *Device) Compile(label string, cmds []device.Command) (device.Executable, error) {
	e := &executable{}
	for _, c := range cmds {
		switch {
		case c.Launch != nil:
			l := c.Launch
			if err := d.check(l); err != nil {
				return nil, fmt.Errorf("cpu: %s: %s: %w", label, l.Kernel.Name, err)
			}
			args := make([]any, len(l.Args))
			for i, s := range l.Args {
				args[i] = s.Buf.(*buffer).window(s)
			}
			call := device.NewCall(l, args)
			e.run = append(e.run, func() { l.Kernel.Ref(call) })
			e.dispatches++
		case c.Copy != nil:
			dst, src := c.Copy.Dst.Buf.(*buffer).window(c.Copy.Dst), c.Copy.Src.Buf.(*buffer).window(c.Copy.Src)
			e.run = append(e.run, func() {
				if f, ok := dst.([]float64); ok {
					copy(f, src.([]float64))
				} else {
					copy(dst.([]uint32), src.([]uint32))
				}
			})
		case c.Clear != nil:
			w := c.Clear.Buf.(*buffer).window(*c.Clear)
			e.run = append(e.run, func() {
				if f, ok := w.([]float64); ok {
					clear(f)
				} else {
					clear(w.([]uint32))
				}
			})
		}
	}
	return e, nil
}

func (d *Device) check(l *device.Launch) error {
	if len(l.Args) != len(l.Kernel.Bindings) {
		return fmt.Errorf("%d arguments for %d bindings", len(l.Args), len(l.Kernel.Bindings))
	}
	if len(l.Args) > d.limits.MaxStorageBuffers {
		return fmt.Errorf("%d storage buffers, limit %d", len(l.Args), d.limits.MaxStorageBuffers)
	}
	l.Words() // panics if the dimensions are no uniform struct
	if l.Kernel.Grid != nil {
		for _, n := range l.Kernel.Grid(l.Dims, l.Params) {
			if n < 1 || n > d.limits.MaxWorkgroups {
				return fmt.Errorf("grid %v", l.Kernel.Grid(l.Dims, l.Params))
			}
		}
	}
	written := map[device.Buffer]bool{}
	for i, s := range l.Args {
		name, size := l.Kernel.Bindings[i].Name, s.Buf.Spec().DType.Size()
		if s.Off < 0 || s.Len <= 0 || s.Off+s.Len > s.Buf.Spec().Len {
			return fmt.Errorf("argument %s: elements %d to %d of a buffer of %d", name, s.Off, s.Off+s.Len, s.Buf.Spec().Len)
		}
		if s.Off*size%d.limits.OffsetAlignment != 0 {
			return fmt.Errorf("argument %s starts at byte %d, not a multiple of %d", name, s.Off*size, d.limits.OffsetAlignment)
		}
		if int64(s.Len)*int64(size) > d.limits.MaxBinding {
			return fmt.Errorf("argument %s has %d bytes, the binding limit is %d", name, s.Len*size, d.limits.MaxBinding)
		}
		w := l.Kernel.Bindings[i].Access != device.Read
		if was, seen := written[s.Buf]; seen && was != w {
			return fmt.Errorf("argument %s: buffer %q is read and written by the same launch", name, s.Buf.Spec().Label)
		}
		written[s.Buf] = w
	}
	return nil
}

// Submit implements device.Device.
func (d *Device) Submit(work ...device.Work) error {
	for _, w := range work {
		if w.Run == nil {
			if err := d.Write(w.Buf, w.Off, w.Data); err != nil {
				return err
			}
			continue
		}
		for _, f := range w.Run.(*executable).run {
			f()
		}
	}
	return nil
}

// Sync implements device.Device.
func (d *Device) Sync() error { return nil }

// Close implements device.Device.
func (d *Device) Close() {}
