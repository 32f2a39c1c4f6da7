//go:build js

package webgpu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall/js"
	"testing"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/tensor"
)

func open(t *testing.T) *Device { return openWith(t, Options{}) }

func openWith(t *testing.T, opt Options) *Device {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	d, err := Open(ctx, opt)
	if err != nil {
		t.Fatal(err) // without a device this package has no test worth the name
	}
	t.Cleanup(d.Close)
	return d
}

type scaleDims struct {
	N uint32
	S float32
}

// scale is y = s·x, or y += s·x.
var scale = &device.Kernel{
	Name: "scale", Shader: "scale", Entry: "scale",
	Bindings: []device.Binding{{Name: "x"}, {Name: "y", Access: device.Write}},
	Grid: func(dims any, p device.Params) [3]int {
		return device.Groups(device.CeilDiv(int(dims.(scaleDims).N), p.Int("WG", 64)))
	},
	Flops: func(dims any) float64 { return 2 * float64(dims.(scaleDims).N) },
}

func launch(s float32, add bool, x, y device.Slice) device.Command {
	p := device.Params{}
	if add {
		p["ACCUMULATE"] = true
	}
	return device.Command{Launch: &device.Launch{Kernel: scale, Params: p, Dims: scaleDims{uint32(x.Len), s}, Args: []device.Slice{x, y}}}
}

func alloc(t *testing.T, d *Device, typ tensor.DType, n int) device.Buffer {
	t.Helper()
	b, err := d.Alloc(device.Spec{DType: typ, Len: n, Kind: device.Activations, Label: fmt.Sprintf("%v[%d]", typ, n)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compile(t *testing.T, d *Device, cmds ...device.Command) device.Executable {
	t.Helper()
	e, err := d.Compile(t.Name(), cmds)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func f32s(v ...float32) []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, v)
	return b
}

// want reads all of b and compares it.
func want(t *testing.T, d *Device, b device.Buffer, v ...float32) {
	t.Helper()
	data, err := d.Read(b, 0, b.Spec().Len)
	do(t, err)
	if !bytes.Equal(data, f32s(v...)) {
		got := make([]float32, len(data)/4)
		binary.Decode(data, binary.LittleEndian, got)
		t.Fatalf("got %v, want %v", got, v)
	}
}

// wantError checks that err tells what it should.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestOpen(t *testing.T) {
	info, best, err := Adapter(t.Context())
	do(t, err)
	d := openWith(t, Options{Want: device.Limits{MaxBuffer: 8 << 20, MaxStorageBuffers: 8}})
	if d.Info() != info || info.Backend != "webgpu" || info.Vendor == "" {
		t.Errorf("info %+v, the adapter's is %+v", d.Info(), info)
	}
	l := d.Limits()
	if l.MaxBuffer != 8<<20 || l.MaxStorageBuffers != 8 || l.MaxBinding != best.MaxBinding || l.OffsetAlignment == 0 {
		t.Errorf("limits %+v of %+v", l, best)
	}
	t.Logf("%+v\n%+v", info, best)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(canceled, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("opened under a canceled context: %v", err)
	}
}

func export(d *Device, b device.Buffer, off, n int) (device.Bytes, error) {
	p, err := d.Fetch(b, off, n)
	if err != nil {
		return nil, err
	}
	return p.Export()
}

func TestRoundTrips(t *testing.T) {
	d := open(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		typ  tensor.DType
		n    int   // elements of the buffer
		cuts []int // where writes and reads start and end
	}{
		{tensor.F32, 1, []int{0, 1}},
		{tensor.U32, 7, []int{0, 3, 7}},
		{tensor.BF16, 1, []int{0, 1}},
		{tensor.BF16, 7, []int{0, 2, 6, 7}},
		{tensor.BF16, 40_001, []int{0, 40_001}},                  // one write of more than packedWrite, odd
		{tensor.F32, 5_000_000, []int{0, 1, 20_000, 5_000_000}},  // in several chunks, read in several parts
		{tensor.BF16, 9_000_001, []int{0, 8_500_000, 9_000_001}}, // the same, odd
	} {
		b := alloc(t, d, c.typ, c.n)
		size := c.typ.Size()
		data := make([]byte, c.n*size)
		if got, err := d.Read(b, 0, c.n); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%v[%d]: not zeroed: %v", c.typ, c.n, err)
		}
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		for i, to := range c.cuts[1:] {
			do(t, d.Write(b, c.cuts[i], data[c.cuts[i]*size:to*size]))
		}
		for range 4 {
			from := rng.IntN(c.n)
			n := rng.IntN(c.n - from + 1)
			got, err := d.Read(b, from, n)
			do(t, err)
			exported, err := export(d, b, from, n)
			do(t, err)
			if want := data[from*size : (from+n)*size]; !bytes.Equal(got, want) || !bytes.Equal(exported.Go(), want) {
				t.Fatalf("%v[%d]: elements %d to %d differ", c.typ, c.n, from, from+n)
			}
		}
		whole, err := export(d, b, 0, c.n)
		do(t, err)
		clone := alloc(t, d, c.typ, c.n)
		for i, to := range c.cuts[1:] {
			from := c.cuts[i]
			do(t, d.Import(clone, from, whole.Slice(from*size, (to-from)*size)))
		}
		if got, err := d.Read(clone, 0, c.n); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%v[%d] differs after its import: %v", c.typ, c.n, err)
		}
		cut := c.n * size / 3
		again, err := d.Assemble(c.n*size, device.Part{At: cut, Bytes: whole.Slice(cut, c.n*size-cut)}, device.Part{Bytes: device.Heap(data[:cut])})
		if err != nil || !bytes.Equal(again.Go(), data) {
			t.Fatalf("%v[%d] differs after it was taken apart and assembled: %v", c.typ, c.n, err)
		}
		do(t, d.Import(clone, 0, device.Heap(make([]byte, c.n*size))))
		if got, err := d.Read(clone, 0, c.n); err != nil || !bytes.Equal(got, make([]byte, c.n*size)) {
			t.Fatalf("%v[%d] differs after the import of zeros from the heap: %v", c.typ, c.n, err)
		}
		d.Free(clone)
		if got, err := d.Read(b, 0, c.n); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%v[%d] differs: %v", c.typ, c.n, err)
		}
		d.Free(b)
	}
	if u := d.Usage(); u[device.Activations] != 0 || u[device.Staging] == 0 {
		t.Errorf("usage after all were freed: %v", u.Map())
	}
}

func TestPaddingStaysZero(t *testing.T) {
	d := open(t)
	const n = 40_001 // written in the large way, whose array holds other data by then
	b := alloc(t, d, tensor.BF16, n)
	all := bytes.Repeat([]byte{0xff}, n*2)
	do(t, d.Write(b, 0, all))
	do(t, d.Write(b, 0, all))
	words := alloc(t, d, tensor.BF16, n+1)
	// The copy's last word takes the padding along.
	do(t, d.Submit(device.Work{Run: compile(t, d, device.Command{Copy: &device.Copy{Dst: device.Slice{Buf: words, Len: n + 1}, Src: device.Slice{Buf: b, Len: n}}})}))
	got, err := d.Read(words, n-1, 2)
	do(t, err)
	if !bytes.Equal(got, []byte{0xff, 0xff, 0, 0}) {
		t.Errorf("last word % x", got)
	}
}

func TestBadTransfers(t *testing.T) {
	d, other := open(t), open(t)
	f, h := alloc(t, d, tensor.F32, 8), alloc(t, d, tensor.BF16, 7)
	freed := alloc(t, d, tensor.F32, 8)
	d.Free(freed)
	d.Free(freed)
	for _, c := range []struct {
		buf device.Buffer
		off int
		n   int // bytes
		say string
	}{
		{f, 0, 3, "3 bytes"}, {f, -1, 4, "-1"}, {f, 7, 8, "which has 8"}, {f, 9, 0, "which has 8"},
		{h, 1, 2, "multiple of 4"}, {h, 0, 2, "middle of a word"}, {h, 2, 6, "middle of a word"}, {h, 6, 4, "which has 7"},
		{freed, 0, 4, "freed"}, {alloc(t, other, tensor.F32, 1), 0, 4, "another device"}, {nil, 0, 4, "another device"},
	} {
		wantError(t, d.Write(c.buf, c.off, make([]byte, c.n)), c.say)
		wantError(t, d.Import(c.buf, c.off, NewArray(uint8Array(c.n))), c.say)
	}
	for _, c := range [][2]int{{-1, 1}, {0, -1}, {8, 1}, {1 << 62, 1 << 62}} {
		_, err := d.Read(f, c[0], c[1])
		wantError(t, err, "read", "which has 8")
	}
	_, err := d.Fetch(freed, 0, 1)
	wantError(t, err, "freed")
	do(t, d.Sync()) // none of it reached the GPU
}

func TestOrder(t *testing.T) {
	d := open(t)
	x, y := alloc(t, d, tensor.F32, 3), alloc(t, d, tensor.F32, 3)
	double := compile(t, d, launch(2, false, device.All(x), device.All(y)))
	add := compile(t, d, launch(10, true, device.All(x), device.All(y)), launch(10, true, device.All(x), device.All(y)))
	if double.Dispatches() != 1 || add.Dispatches() != 2 {
		t.Errorf("%d and %d dispatches", double.Dispatches(), add.Dispatches())
	}
	do(t, d.Write(x, 0, f32s(1, 2, 3)))
	do(t, d.Submit(device.Work{Run: double}, device.Work{Run: add}))
	want(t, d, y, 22, 44, 66)
	// A write in the middle is seen by what comes after it and by nothing before.
	do(t, d.Submit(
		device.Work{Run: double},
		device.Work{Buf: x, Data: f32s(0, 0, 1)},
		device.Work{Run: add},
		device.Work{Buf: x, Off: 1, Data: f32s(7)},
	))
	want(t, d, y, 2, 4, 26)
	want(t, d, x, 0, 7, 1)
}

func TestCopyClearAndOffsets(t *testing.T) {
	d := open(t)
	step := d.Limits().OffsetAlignment / 4
	x, y := alloc(t, d, tensor.F32, step+2), alloc(t, d, tensor.F32, 4)
	do(t, d.Write(x, step, f32s(5, 6)))
	tail := device.Slice{Buf: x, Off: step, Len: 2}
	e := compile(t, d,
		launch(3, false, tail, device.Slice{Buf: y, Len: 2}),                                     // y = 15 18
		device.Command{Copy: &device.Copy{Dst: device.Slice{Buf: y, Off: 1, Len: 2}, Src: tail}}, // 15 5 6
		device.Command{Clear: &device.Slice{Buf: y, Off: 0, Len: 1}},                             // 0 5 6
		launch(1, true, tail, device.Slice{Buf: y, Len: 2}),                                      // 5 11 6
	)
	do(t, d.Submit(device.Work{Run: e}))
	want(t, d, y, 5, 11, 6, 0)
	e.Release()
	e.Release()
	wantError(t, d.Submit(device.Work{Run: e}), "released")
	empty := compile(t, d)
	do(t, d.Submit(device.Work{Run: empty}))
}

func TestFetchPipelining(t *testing.T) {
	d := open(t)
	x := alloc(t, d, tensor.F32, 1)
	one := alloc(t, d, tensor.F32, 1)
	do(t, d.Write(one, 0, f32s(1)))
	count := compile(t, d, launch(1, true, device.All(one), device.All(x)))
	const rounds, ahead = 40, 3
	var queue []device.Pending
	next := float32(0)
	take := func() {
		t.Helper()
		next++
		got, err := queue[0].Wait()
		do(t, err)
		if again, _ := queue[0].Wait(); !bytes.Equal(again, got) || !bytes.Equal(got, f32s(next)) {
			t.Fatalf("fetch %v has % x, then % x", next, got, again)
		}
		if out, err := queue[0].Export(); err != nil || !bytes.Equal(out.Go(), got) {
			t.Fatalf("fetch %v is exported as %v, %v", next, out, err)
		}
		queue = queue[1:]
	}
	for range rounds {
		do(t, d.Submit(device.Work{Run: count}))
		p, err := d.Fetch(x, 0, 1)
		do(t, err)
		if queue = append(queue, p); len(queue) > ahead {
			take()
		}
	}
	for len(queue) > 0 {
		take()
	}
	if s := d.Stats(); s.ReadBuffers > ahead+1 || s.Fetches != rounds {
		t.Errorf("%d read-back buffers for %d fetches", s.ReadBuffers, s.Fetches)
	}
	// Longer than a read-back buffer.
	long := alloc(t, d, tensor.F32, largestSlot/4+3)
	do(t, d.Write(long, largestSlot/4, f32s(1, 2, 3)))
	p, err := d.Fetch(long, 1, largestSlot/4+2)
	do(t, err)
	do(t, d.Write(long, largestSlot/4, f32s(4, 5, 6))) // too late for p
	got, err := p.Wait()
	do(t, err)
	if len(got) != largestSlot+8 || !bytes.Equal(got[largestSlot-4:], f32s(1, 2, 3)) {
		t.Errorf("%d bytes ending in % x", len(got), got[max(0, len(got)-12):])
	}
}

func TestAllocRefused(t *testing.T) {
	d := openWith(t, Options{Want: device.Limits{MaxBuffer: 1 << 20}})
	_, err := d.Alloc(device.Spec{DType: tensor.F32, Len: 1<<18 + 1, Label: "wide"})
	if !errors.Is(err, device.ErrOutOfMemory) {
		t.Errorf("%v is no ErrOutOfMemory", err)
	}
	wantError(t, err, "wide", "1048580", "limit is 1048576")
	_, err = d.Alloc(device.Spec{DType: tensor.F32, Label: "none"})
	wantError(t, err, "none", "0 elements")
	// The device's own refusal, by its error scope, ends nothing.
	d.limits.MaxBuffer = 1 << 50
	_, err = d.Alloc(device.Spec{DType: tensor.F32, Len: 1 << 46, Label: "huge"})
	wantError(t, err, "huge", "GPU")
	if u := d.Usage(); u.Total() != 0 {
		t.Errorf("usage %v", u.Map())
	}
	want(t, d, alloc(t, d, tensor.F32, 1), 0)
}

// replaced sets a property of a JavaScript object until the test ends.
func replaced(t *testing.T, object js.Value, name string, f func(args []js.Value) any) {
	t.Helper()
	fn := js.FuncOf(func(_ js.Value, args []js.Value) any { return f(args) })
	object.Set(name, fn)
	t.Cleanup(func() { object.Delete(name); fn.Release() })
}

// resolved is a promise of v.
func resolved(v any) any { return js.Global().Get("Promise").Call("resolve", v) }

func TestOutOfMemory(t *testing.T) {
	d := open(t)
	none := js.Global().Get("GPUOutOfMemoryError").New("no room")
	replaced(t, raw(&d.gpu), "popErrorScope", func([]js.Value) any { return resolved(none) })
	_, err := d.Alloc(device.Spec{Len: 5, Label: "five"})
	if !errors.Is(err, device.ErrOutOfMemory) {
		t.Errorf("%v is no ErrOutOfMemory", err)
	}
	wantError(t, err, "five", "20 bytes", "no room")
	// An error that no scope catches is remembered.
	raw(&d.gpu).Call("dispatchEvent", js.Global().Get("GPUUncapturedErrorEvent").New("uncapturederror", map[string]any{"error": none, "cancelable": true}))
	if err := d.Sync(); !errors.Is(err, device.ErrOutOfMemory) || errors.Is(err, device.ErrLost) {
		t.Errorf("%v is no ErrOutOfMemory", err)
	}
	raw(&d.gpu).Call("destroy")
	<-d.gone
	if err := d.Sync(); !errors.Is(err, device.ErrOutOfMemory) || !errors.Is(err, device.ErrLost) {
		t.Errorf("%v does not tell both", err)
	}
}

func TestNoDevice(t *testing.T) {
	gpu := js.Global().Get("navigator").Get("gpu")
	request := gpu.Get("requestAdapter").Call("bind", gpu)
	t.Run("unsupported", func(t *testing.T) {
		navigator := js.Global().Get("navigator")
		js.Global().Get("Object").Call("defineProperty", navigator, "gpu", map[string]any{"value": nil, "configurable": true})
		defer navigator.Delete("gpu")
		_, err := Open(t.Context(), Options{})
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("%v is no ErrUnsupported", err)
		}
		wantError(t, err, "Chrome")
	})
	t.Run("no adapter", func(t *testing.T) {
		asked := 0
		replaced(t, gpu, "requestAdapter", func([]js.Value) any { asked++; return resolved(nil) })
		_, _, err := Adapter(t.Context())
		if !errors.Is(err, ErrNoAdapter) || asked != attempts {
			t.Errorf("%v after %d attempts", err, asked)
		}
		wantError(t, err, "driver")
	})
	t.Run("no answer", func(t *testing.T) {
		never := js.Global().Get("Promise").New(js.FuncOf(func(js.Value, []js.Value) any { return nil }))
		replaced(t, gpu, "requestAdapter", func([]js.Value) any { return never })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := Open(ctx, Options{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	t.Run("late adapter", func(t *testing.T) {
		asked := 0
		replaced(t, gpu, "requestAdapter", func(args []js.Value) any {
			if asked++; asked < 3 {
				return resolved(nil)
			}
			return request.Invoke(args[0])
		})
		open(t)
	})
	t.Run("refused", func(t *testing.T) {
		var adapter js.Value // the same each time, and so used up
		replaced(t, gpu, "requestAdapter", func(args []js.Value) any {
			if adapter.IsUndefined() {
				adapter = request.Invoke(args[0])
			}
			return adapter
		})
		open(t)
		_, err := Open(t.Context(), Options{})
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%v is no ErrRefused", err)
		}
	})
	t.Run("no replay.js", func(t *testing.T) {
		maker := js.Global().Get("llamatabReplay")
		js.Global().Set("llamatabReplay", js.Undefined())
		defer js.Global().Set("llamatabReplay", maker)
		_, err := Open(t.Context(), Options{})
		wantError(t, err, "replay.js")
	})
}

func TestBadShaders(t *testing.T) {
	d := open(t)
	x, y := device.All(alloc(t, d, tensor.F32, 4)), device.All(alloc(t, d, tensor.F32, 4))
	with := func(change func(*device.Launch, *device.Kernel)) error {
		l, k := *launch(1, false, x, y).Launch, *scale
		l.Kernel = &k
		change(&l, &k)
		_, err := d.Compile("bad", []device.Command{launch(1, false, x, y), {Launch: &l}})
		return err
	}
	live := d.Stats().Objects
	err := with(func(l *device.Launch, k *device.Kernel) { l.Params = device.Params{"WG": "sixty"} })
	wantError(t, err, "compile bad", "scale", "shaders/scale.wgsl", "line ", "const WG: u32 = sixtyu;")
	err = with(func(l *device.Launch, k *device.Kernel) { l.Params = device.Params{"WG": 2048} })
	wantError(t, err, "scale", "2048")
	err = with(func(l *device.Launch, k *device.Kernel) { l.Params = device.Params{"NONE": true} })
	wantError(t, err, "NONE")
	err = with(func(l *device.Launch, k *device.Kernel) { k.Entry = "missing" })
	wantError(t, err, "missing")
	err = with(func(l *device.Launch, k *device.Kernel) { k.Shader = "missing" })
	wantError(t, err, "missing.wgsl")
	// The shader writes what the kernel says is only read.
	err = with(func(l *device.Launch, k *device.Kernel) { k.Bindings = []device.Binding{{Name: "x"}, {Name: "y"}} })
	wantError(t, err, "scale", "binding")
	if s := d.Stats(); s.Objects != live+s.Pipelines {
		t.Errorf("%d objects left of %d and %d pipelines", s.Objects, live, s.Pipelines)
	}
	if u := d.Usage(); u[device.Staging] != 0 {
		t.Errorf("usage %v", u.Map())
	}
	do(t, d.Sync())
}

func TestBadCommands(t *testing.T) {
	d := open(t)
	d.limits.MaxBinding = 2048
	x, y := alloc(t, d, tensor.F32, 1024), alloc(t, d, tensor.F32, 1024)
	h := alloc(t, d, tensor.BF16, 5)
	in, out := device.Slice{Buf: x, Len: 8}, device.Slice{Buf: y, Len: 8}
	args := func(a ...device.Slice) device.Command {
		c := launch(1, false, in, out)
		c.Launch.Args = a
		return c
	}
	dims := func(v any) device.Command {
		c, k := launch(1, false, in, out), *scale
		k.Grid = func(any, device.Params) [3]int { return [3]int{1, 1, 1} }
		c.Launch.Kernel, c.Launch.Dims = &k, v
		return c
	}
	grid := func(f func(any, device.Params) [3]int) device.Command {
		c, k := launch(1, false, in, out), *scale
		k.Grid = f
		c.Launch.Kernel = &k
		return c
	}
	cp := func(dst, src device.Slice) device.Command {
		return device.Command{Copy: &device.Copy{Dst: dst, Src: src}}
	}
	for name, c := range map[string]struct {
		cmd device.Command
		say string
	}{
		"nothing":           {device.Command{}, "neither"},
		"count":             {args(in), "1 arguments for 2"},
		"nil buffer":        {args(device.Slice{Len: 1}, out), "argument x"},
		"unaligned":         {args(device.Slice{Buf: x, Off: 1, Len: 8}, out), "argument x starts at byte 4, not a multiple of"},
		"beyond":            {args(in, device.Slice{Buf: y, Off: 1024, Len: 1}), "argument y"},
		"overflow":          {args(in, device.Slice{Buf: y, Off: 1 << 62, Len: 1 << 62}), "argument y"},
		"too long":          {args(in, device.Slice{Buf: y, Len: 1024}), "binding limit is 2048"},
		"read and written":  {args(in, in), "read and written"},
		"no dimensions":     {dims(nil), "dimensions <nil>"},
		"bad dimensions":    {dims(struct{ N int }{1}), "dimensions"},
		"empty grid":        {grid(func(any, device.Params) [3]int { return [3]int{0, 1, 1} }), "grid [0 1 1]"},
		"wide grid":         {grid(func(any, device.Params) [3]int { return [3]int{65536, 1, 1} }), "grid [65536 1 1], limit 65535"},
		"no grid":           {grid(nil), "no grid"},
		"copy within":       {cp(out, device.Slice{Buf: y, Off: 64, Len: 8}), "copy within"},
		"copy lengths":      {cp(out, device.Slice{Buf: x, Len: 9}), "copy of 9 F32"},
		"copy types":        {cp(device.Slice{Buf: h, Len: 4}, device.Slice{Buf: x, Len: 2}), "copy of 2 F32"},
		"clear half a word": {device.Command{Clear: &device.Slice{Buf: h, Len: 3}}, "middle of a word"},
		"clear odd start":   {device.Command{Clear: &device.Slice{Buf: h, Off: 1, Len: 4}}, "multiple of 4"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Compile("bad", []device.Command{launch(1, false, in, out), c.cmd})
			wantError(t, err, "compile bad: command 1", c.say)
		})
	}
	// What Go lets through, WebGPU finds in the encoded program, which is never submitted.
	d.limits.MaxWorkgroups = 1 << 20
	_, err := d.Compile("bad", []device.Command{grid(func(any, device.Params) [3]int { return [3]int{70000, 1, 1} })})
	wantError(t, err, "compile bad", "70000")
	do(t, d.Sync())
	if s := d.Stats(); s.Submits != 0 || d.Usage()[device.Staging] != 0 {
		t.Errorf("%+v, usage %v", s, d.Usage())
	}
}

func TestRejectedWork(t *testing.T) {
	d := open(t)
	x, y := alloc(t, d, tensor.F32, 4), alloc(t, d, tensor.F32, 4)
	e := compile(t, d, launch(1, false, device.All(x), device.All(y)))
	d.Free(x) // against the rules
	do(t, d.Submit(device.Work{Run: e}))
	wantError(t, d.Sync(), "rejected", "F32[4]")
	_, err := d.Read(y, 0, 1)
	wantError(t, err, "rejected")

	d = open(t)
	x = alloc(t, d, tensor.F32, 1)
	want(t, d, x, 0)
	s := d.slots[int(device.ReadBackBytes(1))][0]
	watch(wrapped(s.gpu).Call("mapAsync", 1, 0, 4)) // it is in use: the next promise is rejected
	_, err = d.Read(x, 0, 1)
	wantError(t, err, "read of", "OperationError")
}

func TestLoss(t *testing.T) {
	for _, how := range []string{"destroy", "Close"} {
		t.Run(how, func(t *testing.T) {
			d := open(t)
			x, y := alloc(t, d, tensor.F32, 4), alloc(t, d, tensor.F32, 4)
			e := compile(t, d, launch(1, false, device.All(x), device.All(y)))
			do(t, d.Submit(device.Work{Run: e}))
			p, err := d.Fetch(x, 0, 4)
			do(t, err)
			if how == "Close" {
				d.Close()
				d.Close()
			} else {
				d.value.Call("destroy")
			}
			calls := map[string]func() error{
				"Sync":    d.Sync,
				"Wait":    func() error { _, err := p.Wait(); return err },
				"Read":    func() error { _, err := d.Read(x, 0, 1); return err },
				"Fetch":   func() error { _, err := d.Fetch(x, 0, 1); return err },
				"Import":  func() error { return d.Import(x, 0, NewArray(uint8Array(4))) },
				"Write":   func() error { return d.Write(x, 0, f32s(1)) },
				"Submit":  func() error { return d.Submit(device.Work{Run: e}) },
				"Measure": func() error { _, err := d.Measure(device.Work{Run: e}); return err },
				"Alloc":   func() error { _, err := d.Alloc(device.Spec{Len: 1}); return err },
				"Compile": func() error {
					_, err := d.Compile("late", []device.Command{launch(2, true, device.All(x), device.All(y))})
					return err
				},
			}
			if err := d.Sync(); !errors.Is(err, device.ErrLost) {
				t.Fatalf("Sync after the loss: %v", err)
			}
			for name, call := range calls {
				if err := call(); !errors.Is(err, device.ErrLost) {
					t.Errorf("%s after the loss: %v", name, err)
				}
			}
			e.Release()
			d.Free(x)
			d.Stats()
		})
	}
}

func TestReplayKeepsNothing(t *testing.T) {
	d := open(t)
	x, y := alloc(t, d, tensor.F32, 64), alloc(t, d, tensor.F32, 64)
	var cmds []device.Command
	for i := range 20 {
		cmds = append(cmds, launch(float32(i%4), true, device.All(x), device.All(y)))
	}
	e := compile(t, d, cmds...)
	if s := d.Stats(); s.Pipelines != 1 || s.Objects != 4 { // x, y, pipeline, executable
		t.Fatalf("%+v", s)
	}
	if got := d.Usage()[device.Staging]; got != 4*uniformAlign {
		t.Errorf("%d bytes for 4 distinct dimensions", got)
	}
	work := []device.Work{{Buf: x, Data: f32s(1, 2, 3)}, {Run: e}}
	do(t, d.Submit(work...))
	do(t, d.Sync())
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, usage, held := d.Stats(), d.Usage(), heap()
	const rounds = 500
	for i := range rounds {
		do(t, d.Submit(work...))
		if i%50 == 0 {
			do(t, d.Sync())
		}
	}
	do(t, d.Sync())
	if grown := heap() - held; grown > 64<<10 {
		t.Errorf("the Go heap grew by %d bytes", grown)
	}
	after := d.Stats()
	if after.Objects != before.Objects || after.ReadBuffers != before.ReadBuffers || d.Usage() != usage {
		t.Errorf("before %+v, after %+v, usage %v and %v", before, after, usage, d.Usage())
	}
	if n := after.Submits - before.Submits; n != rounds {
		t.Errorf("%d command buffers for %d submissions", n, rounds)
	}
	if n := after.Dispatches - before.Dispatches; n != rounds*20 {
		t.Errorf("%d dispatches", n)
	}
	// Executables come and go; the registry and the usage stand still.
	for range 20 {
		compile(t, d, cmds...).Release()
	}
	if s := d.Stats(); s.Objects != before.Objects || s.Pipelines != 1 || d.Usage() != usage {
		t.Errorf("%+v, usage %v", s, d.Usage())
	}
	t.Logf("encode %.2f µs a dispatch, Go %.1f µs a submission", (after.EncodeSeconds-before.EncodeSeconds)*1e6/(rounds*20), (after.GoSeconds-before.GoSeconds)*1e6/rounds)
}

// TestArraysStayOutside moves 256 MiB from buffer to buffer: next to nothing of it is Go's. Go collects all the same,
// though its own garbage would be no reason to, as JavaScript keeps what Go holds.
func TestArraysStayOutside(t *testing.T) {
	d := open(t)
	const n, rounds = 4 << 20, 64
	x, y := alloc(t, d, tensor.BF16, n/2), alloc(t, d, tensor.BF16, n/2)
	move := func() {
		b, err := export(d, x, 0, n/2)
		do(t, err)
		do(t, d.Import(y, 0, b))
	}
	move()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	for range rounds {
		move()
	}
	do(t, d.Sync())
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > rounds*n/256 {
		t.Errorf("%d bytes were moved and Go allocated %d", rounds*n, grown)
	}
	if gcs := after.NumGC - before.NumGC; gcs < rounds*n/pressure-1 {
		t.Errorf("Go collected %d times", gcs)
	}
	t.Logf("%.0f MB/s from buffer to buffer", float64(rounds*n)/1e6/took.Seconds())
}

func TestSplits(t *testing.T) {
	d := open(t)
	x, y := device.All(alloc(t, d, tensor.F32, 4)), device.All(alloc(t, d, tensor.F32, 4))
	heavy := *scale
	heavy.Flops = func(any) float64 { return 3e9 }
	var light, dense []device.Command
	for range 150 {
		light = append(light, launch(1, true, x, y))
	}
	for range 5 {
		c := launch(1, true, x, y)
		c.Launch.Kernel = &heavy
		dense = append(dense, c)
	}
	for _, c := range []struct {
		software bool
		cmds     []device.Command
		submits  int
	}{{true, light, 1}, {false, light, 3}, {true, dense, 1}, {false, dense, 3}} {
		d.info.Software = c.software
		e := compile(t, d, c.cmds...)
		before := d.Stats().Submits
		do(t, d.Submit(device.Work{Run: e}))
		if n := d.Stats().Submits - before; n != c.submits {
			t.Errorf("software %v: %d launches in %d command buffers, want %d", c.software, len(c.cmds), n, c.submits)
		}
	}
	do(t, d.Sync())
}

func TestMeasure(t *testing.T) {
	d := open(t)
	x, y := alloc(t, d, tensor.F32, 1<<16), alloc(t, d, tensor.F32, 1<<16)
	e := compile(t, d, launch(1, false, device.All(x), device.All(y)))
	took, err := d.Measure(device.Work{Run: e})
	do(t, err)
	if took <= 0 || took > time.Second {
		t.Errorf("%v for 65536 elements", took)
	}
	t.Logf("%v", took)
}

func BenchmarkSubmit(b *testing.B) {
	d, err := Open(b.Context(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	x, _ := d.Alloc(device.Spec{Len: 64, Label: "x"})
	y, _ := d.Alloc(device.Spec{Len: 64, Label: "y"})
	var cmds []device.Command
	for i := range 500 {
		cmds = append(cmds, launch(float32(i), true, device.All(x), device.All(y)))
	}
	e, err := d.Compile("step", cmds)
	if err != nil {
		b.Fatal(err)
	}
	before := d.Stats()
	for b.Loop() {
		if err := d.Submit(device.Work{Run: e}); err != nil {
			b.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	after := d.Stats()
	n := float64(after.Dispatches - before.Dispatches)
	b.ReportMetric((after.EncodeSeconds-before.EncodeSeconds)*1e9/n, "encode-ns/launch")
	b.ReportMetric((after.GoSeconds-before.GoSeconds)*1e9/n, "go-ns/launch")
}
