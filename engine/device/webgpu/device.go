//go:build js

package webgpu

import (
	"errors"
	"fmt"
	"syscall/js"
	"time"
	"unsafe"

	"github.com/cogentcore/webgpu/wgpu"
	"github.com/hack-pad/safejs"

	"llamatab/engine/device"
)

// Device implements device.Device on WebGPU.
type Device struct {
	gpu    wgpu.Device
	value  safejs.Value // gpu again, for what its binding lacks
	queue  safejs.Value
	info   device.Info
	limits device.Limits
	usage  device.Usage
	replay replay

	layouts   map[string]layout // by the accesses of the bindings
	pipelines map[string]int    // ids in the registry, by shader, entry point, parameters and accesses
	slots     map[int][]*slot   // free read-back buffers by size
	stats     Stats

	submitting time.Duration // spent in Submit

	err        error         // what ended the device's use
	gone       chan struct{} // closed when the device is lost
	uncaptured safejs.Func
}

// Stats counts what a device has done since it was opened.
type Stats struct {
	Dispatches    int     // kernel launches submitted
	Submits       int     // command buffers handed to the GPU
	Fetches       int     // reads started
	GoSeconds     float64 // in Submit and Write, on the Go side
	EncodeSeconds float64 // in Submit, on the JavaScript side
	Pipelines     int     // compiled and cached
	Objects       int     // buffers, pipelines and executables registered now
	ReadBuffers   int     // read-back buffers made
}

var errClosed = fmt.Errorf("webgpu: the device was closed: %w", device.ErrLost)

// Info implements device.Device.
func (d *Device) Info() device.Info { return d.info }

// Limits implements device.Device.
func (d *Device) Limits() device.Limits { return d.limits }

// Usage implements device.Device. Read-back buffers and dimensions are counted as staging.
func (d *Device) Usage() device.Usage { return d.usage }

// Stats returns the counts so far.
func (d *Device) Stats() Stats {
	s := d.stats
	s.Pipelines = len(d.pipelines)
	s.Submits += int(number(d.replay.object, "submits"))
	s.EncodeSeconds = number(d.replay.object, "seconds")
	s.GoSeconds = max(0, d.submitting.Seconds()-s.EncodeSeconds)
	if live, err := d.replay.object.Call("live"); err == nil {
		s.Objects, _ = live.Int()
	}
	return s
}

// listen records from now on what the device reports on its own.
func (d *Device) listen() error {
	var err error
	d.uncaptured, err = safejs.FuncOf(func(_ safejs.Value, args []safejs.Value) any {
		args[0].Call("preventDefault") // the browser need not print it too
		if e, err := args[0].Get("error"); err == nil {
			d.fail(fmt.Errorf("webgpu: the GPU rejected submitted work: %w", reason(e)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err = d.value.Call("addEventListener", "uncapturederror", d.uncaptured); err != nil {
		return err
	}
	lost, err := d.value.Get("lost")
	if err != nil {
		return err
	}
	return then(lost, func(s settled) {
		d.fail(fmt.Errorf("webgpu: %w (%s): %s; reload the page to open it again", device.ErrLost, text(s.value, "reason"), text(s.value, "message")))
		close(d.gone)
	})
}

// fail keeps the first error, or the one that tells of the loss.
func (d *Device) fail(err error) {
	switch {
	case d.err == nil:
		d.err = err
	case errors.Is(err, device.ErrLost) && !errors.Is(d.err, device.ErrLost):
		d.err = fmt.Errorf("%w; before that: %w", err, d.err)
	}
}

// await waits for a promise of the device.
func (d *Device) await(p promise) (safejs.Value, error) {
	v, err := p.wait(d.gone)
	if d.err != nil {
		err = d.err
	}
	return v, err
}

// scopes are the kinds of error that a device can be asked about.
var scopes = [...]string{"internal", "validation", "out-of-memory"}

// guard runs f, which does not wait, and returns what JavaScript throws and what the device reports of it.
func (d *Device) guard(f func()) error {
	if d.err != nil {
		return d.err
	}
	for _, s := range scopes {
		if _, err := d.value.Call("pushErrorScope", s); err != nil {
			return err
		}
	}
	err := try(f)
	var answers [len(scopes)]promise
	for i := range answers {
		answers[i] = watch(d.value.Call("popErrorScope"))
	}
	for _, p := range answers {
		e, failure := d.await(p)
		if failure == nil && !e.IsNull() {
			failure = reason(e)
		}
		if err == nil {
			err = failure
		}
	}
	return err
}

type buffer struct {
	spec device.Spec
	dev  *Device
	gpu  *wgpu.Buffer
	id   int // in the registry, -1 when freed
}

// Spec implements device.Buffer.
func (b *buffer) Spec() device.Spec { return b.spec }

// Alloc implements device.Device.
func (d *Device) Alloc(s device.Spec) (device.Buffer, error) {
	if s.Len <= 0 {
		return nil, fmt.Errorf("webgpu: buffer %q has %d elements", s.Label, s.Len)
	}
	if d.err == nil && s.Bytes() > d.limits.MaxBuffer {
		return nil, fmt.Errorf("webgpu: buffer %q of %d bytes: limit is %d: %w", s.Label, s.Bytes(), d.limits.MaxBuffer, device.ErrOutOfMemory)
	}
	gpu, err := d.create(s.Label, s.Bytes(), wgpu.BufferUsageStorage|wgpu.BufferUsageCopySrc|wgpu.BufferUsageCopyDst)
	if err != nil {
		return nil, err
	}
	id, err := d.replay.add(raw(gpu))
	if err != nil {
		gpu.Destroy()
		return nil, fmt.Errorf("webgpu: buffer %q: %w", s.Label, err)
	}
	d.usage[s.Kind] += s.Bytes()
	return &buffer{s, d, gpu, id}, nil
}

// create makes a GPU buffer or says why there is none.
func (d *Device) create(label string, size int64, usage wgpu.BufferUsage) (*wgpu.Buffer, error) {
	if d.err != nil {
		return nil, d.err
	}
	var b *wgpu.Buffer
	err := d.guard(func() {
		b, _ = d.gpu.CreateBuffer(&wgpu.BufferDescriptor{Label: label, Size: uint64(size), Usage: usage})
	})
	if err != nil {
		return nil, fmt.Errorf("webgpu: buffer %q of %d bytes, %d being in use: %w", label, size, d.usage.Total(), err)
	}
	return b, nil
}

// Free implements device.Device.
func (d *Device) Free(db device.Buffer) {
	b, err := d.own(db)
	if err != nil {
		return
	}
	d.replay.drop(b.id)
	b.id = -1
	b.gpu.Destroy()
	d.usage[b.spec.Kind] -= b.spec.Bytes()
}

// own finds this device's side of a buffer.
func (d *Device) own(db device.Buffer) (*buffer, error) {
	b, ok := db.(*buffer)
	switch {
	case !ok || b.dev != d:
		return nil, errors.New("the buffer is of another device")
	case b.id < 0:
		return nil, fmt.Errorf("buffer %q was freed", b.spec.Label)
	}
	return b, nil
}

// Sync implements device.Device.
func (d *Device) Sync() error {
	if d.err != nil {
		return d.err
	}
	if _, err := d.await(watch(d.queue.Call("onSubmittedWorkDone"))); err != nil {
		return fmt.Errorf("webgpu: waiting for submitted work: %w", err)
	}
	return nil
}

// Measure is the wall time of one replay of work on a device that does nothing else: the least of three
// batches, each long enough that starting and awaiting it hardly counts.
func (d *Device) Measure(work ...device.Work) (time.Duration, error) {
	const (
		batch = 10 * time.Millisecond // some 20 times what an empty submission takes
		most  = 1024                  // replays in a batch
	)
	run := func(n int) (time.Duration, error) {
		start := time.Now()
		for range n {
			if err := d.Submit(work...); err != nil {
				return 0, err
			}
		}
		err := d.Sync()
		return time.Since(start), err
	}
	if _, err := run(1); err != nil { // the first replay pays for late compilation
		return 0, err
	}
	n, best := 1, time.Duration(0)
	for measured := 0; measured < 3; {
		t, err := run(n)
		if err != nil {
			return 0, err
		}
		if t < batch && n < most {
			n *= 2
			continue
		}
		if each := t / time.Duration(n); measured == 0 || each < best {
			best = each
		}
		measured++
	}
	return best, nil
}

// Close implements device.Device. Destroying the device destroys its buffers.
func (d *Device) Close() {
	if d.err == errClosed {
		return
	}
	d.err = errClosed
	d.value.Call("removeEventListener", "uncapturederror", d.uncaptured)
	d.uncaptured.Release()
	d.value.Call("destroy")
	for _, slots := range d.slots {
		for _, s := range slots {
			s.mapped.Release()
			s.refused.Release()
		}
	}
	d.slots, d.replay, d.usage = map[int][]*slot{}, replay{}, device.Usage{}
}

// raw reaches the JavaScript object in a type of the binding, each of which is a struct of nothing else.
// Open checks that this holds.
func raw[T any](p *T) js.Value { return *(*js.Value)(unsafe.Pointer(p)) }

func wrapped[T any](p *T) safejs.Value { return safejs.Safe(raw(p)) }
