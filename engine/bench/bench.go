//go:build js

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/device/webgpu"
	"llamatab/engine/graph"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/op"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
)

// lab is where things are measured.
type lab struct {
	dev   *webgpu.Device
	host  report.Host
	sizes sizes
	Report
}

// sizes are those of the problems. On hardware they must be large to fill it; a software adapter would take minutes.
type sizes struct {
	peakThreads int
	copyBytes   int
	linear      [][3]int // rows, inputs, outputs
	attention   op.AttentionShape
	norm        [2]int // rows, columns
	weights     int    // of one AdamW update
	llama       llama
}

var software = sizes{
	peakThreads: 1 << 14, copyBytes: 16 << 20,
	linear:    [][3]int{{128, 576, 1536}, {128, 576, 8}},
	attention: op.AttentionShape{B: 2, T: 128, Heads: 8, KVHeads: 4, HeadDim: 32},
	norm:      [2]int{256, 576}, weights: 1 << 20,
	llama: llama{hidden: 128, layers: 2, heads: 4, kvHeads: 2, ffn: 384, vocab: 1024, rows: 2, columns: 128},
}

var hardware = sizes{
	peakThreads: 1 << 20, copyBytes: 64 << 20,
	linear:    [][3]int{{256, 576, 1536}, {256, 576, 8}, {2048, 2048, 2048}},
	attention: op.AttentionShape{B: 4, T: 512, Heads: 16, KVHeads: 8, HeadDim: 64},
	norm:      [2]int{4096, 2048}, weights: 1 << 24,
	llama: llama{hidden: 256, layers: 4, heads: 8, kvHeads: 4, ffn: 768, vocab: 4096, rows: 4, columns: 128},
}

// Run measures everything and sends the Report. It implements train.Job's Bench.
func Run(ctx context.Context, j *job.Job) error {
	start := time.Now()
	opened, err := j.Open(device.DefaultLimits)
	if err != nil {
		return &report.Error{Code: "no_adapter", Next: "Run llamatab doctor: it says what is missing.", Exit: report.ExitBrowser, Err: err}
	}
	defer opened.Close()
	dev, ok := opened.(*webgpu.Device)
	if !ok {
		return fmt.Errorf("bench: a %s device cannot be measured", opened.Info().Backend)
	}
	l := &lab{dev: dev, host: j.Host, sizes: hardware}
	if dev.Info().Software {
		l.sizes = software
	}
	l.Adapter, l.AdapterBackend, l.Limits = dev.Info(), j.AdapterBackend, dev.Limits()
	parts := []struct {
		name    string
		measure func() error
	}{
		{"multiply-adds", l.peak}, {"copies", l.copies}, {"dispatches", l.dispatches}, {"linear maps", l.linear},
		{"attention", l.attention}, {"normalization", l.norm}, {"optimizer", l.optimizer},
		{"training all weights", func() error { return l.train(ctx, "full") }}, {"training LoRA", func() error { return l.train(ctx, "lora") }},
	}
	progress := func(i int, what string) {
		l.host.Emit(message.Envelope{Type: "progress", Progress: &message.Progress{
			Phase: "bench", Detail: what, Done: int64(i), Total: int64(len(parts)), Unit: "parts",
		}})
	}
	for i, p := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		progress(i, p.name)
		if err := p.measure(); err != nil {
			return fmt.Errorf("bench: %s: %w", p.name, err)
		}
	}
	progress(len(parts), "")
	l.Seconds = time.Since(start).Seconds()
	result, err := json.Marshal(l.Report)
	if err != nil {
		return fmt.Errorf("bench: the report: %w", err)
	}
	l.host.Emit(message.Envelope{Type: "result", Result: result})
	return nil
}

// peak finds the adapter's rate of multiply-adds: that of the best variant.
func (l *lab) peak() error {
	rows, err := l.kernels("peak", "", nil, func(t *graph.Tape) {
		n := l.sizes.peakThreads
		t.Launch(peak, peakDims{uint32(n), 256, 0.5, 0.5}, t.New(tensor.Of(n)))
	})
	for _, r := range rows {
		l.Peak.MultiplyAdd = max(l.Peak.MultiplyAdd, r.GFLOPS)
	}
	return err
}

type peakDims struct {
	N, Turns uint32
	M, C     float32
}

// peak has as many accumulators as hide the latency of a multiply-add, which differs, and fit the registers.
var peak = &device.Kernel{
	Name: "peak", Shader: "peak", Entry: "peak",
	Bindings: []device.Binding{{Name: "y", Access: device.Write}},
	Grid: func(dims any, _ device.Params) [3]int {
		return device.Groups(device.CeilDiv(int(dims.(peakDims).N), 64))
	},
	Flops: func(dims any) float64 {
		d := dims.(peakDims)
		return float64(d.N) * float64(d.Turns) * 16 * 4 * 2
	},
	Variants: []device.Variant{
		{Name: "1", Params: device.Params{"ACC": 1}}, {Name: "2", Params: device.Params{"ACC": 2}}, {Name: "4", Params: device.Params{"ACC": 4}}, {Name: "8", Params: device.Params{"ACC": 8}},
	},
	// So many turns that all accumulators have reached c/(1−m), wherever they started.
	Sample: func(any) (any, []int) { return peakDims{70, 32, 0.5, 0.5}, []int{70} },
	Ref: func(c *device.Call) {
		d, y := c.Dims.(peakDims), c.F(0)
		for i := range y {
			y[i] = float64(i)
			for range 16 / c.Params.Int("ACC", 4) * int(d.Turns) {
				y[i] = y[i]*float64(d.M) + float64(d.C)
			}
		}
	},
}

// copies finds the rates at which memory is copied: that of the best shader, and of the device's own copies.
func (l *lab) copies() error {
	n := l.sizes.copyBytes / 4
	rows, err := l.kernels("copy", "", nil, func(t *graph.Tape) {
		t.Launch(stream, graph.Elements{N: uint32(n)}, input(t, "x", false, n), t.New(tensor.Of(n)))
	})
	if err != nil {
		return err
	}
	for _, r := range rows {
		l.Peak.ShaderCopy = max(l.Peak.ShaderCopy, r.GBPS)
	}
	p, err := l.compile("copy", nil, func(t *graph.Tape) { t.Copy(input(t, "y", false, n), input(t, "x", false, n)) })
	if err != nil {
		return err
	}
	defer p.free()
	took, err := l.dev.Measure(device.Work{Run: p.exe})
	if err != nil {
		return err
	}
	l.Peak.CopyBytes = int64(4 * n)
	l.Peak.BufferCopy = float64(2*4*n) / took.Seconds() / 1e9
	return nil
}

// stream copies in several ways, as adapters differ in which is the fastest.
var stream = &device.Kernel{
	Name: "stream", Shader: "stream", Entry: "stream",
	Bindings: []device.Binding{{Name: "x", Access: device.Read}, {Name: "y", Access: device.Write}},
	Grid: func(dims any, p device.Params) [3]int {
		return device.Groups(device.CeilDiv(int(dims.(graph.Elements).N), 4*p.Int("WG", 64)*p.Int("EACH", 4)))
	},
	Variants: streamVariants(),
	Sample:   func(any) (any, []int) { return graph.Elements{N: 4 * 1100}, []int{4 * 1100, 4 * 1100} },
	Ref:      func(c *device.Call) { copy(c.F(1), c.F(0)) },
}

func streamVariants() (all []device.Variant) {
	for _, wg := range []int{64, 256} {
		for _, each := range []int{1, 4, 16} {
			for _, beside := range []bool{true, false} {
				if each == 1 && !beside { // the same
					continue
				}
				name := fmt.Sprintf("%dx%d", wg, each)
				if !beside {
					name += " apart"
				}
				all = append(all, device.Variant{Name: name, Params: device.Params{"WG": wg, "EACH": each, "BESIDE": beside}})
			}
		}
	}
	return all
}

// dispatches finds what the smallest launches cost.
func (l *lab) dispatches() error {
	const count = 512
	p, err := l.compile("dispatches", nil, func(t *graph.Tape) {
		x := input(t, "x", false, 1)
		for range count {
			op.Scale(t, x, 1)
		}
	})
	if err != nil {
		return err
	}
	defer p.free()
	before := l.dev.Stats()
	took, err := l.dev.Measure(device.Work{Run: p.exe})
	if err != nil {
		return err
	}
	after := l.dev.Stats()
	each := 1e6 / float64(after.Dispatches-before.Dispatches)
	l.Dispatch = Dispatch{
		Count: count, Go: (after.GoSeconds - before.GoSeconds) * each, Encode: (after.EncodeSeconds - before.EncodeSeconds) * each,
		All: took.Seconds() * 1e6 / count, PerSecond: count / took.Seconds(),
	}
	return nil
}
