package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"

	benchmark "llamatab/engine/bench"
	"llamatab/engine/message"
	"llamatab/server/inputs"
	"llamatab/server/runner"
	"llamatab/server/web"
)

// bench is the command bench.
func bench(ctx context.Context, args []string) error {
	f := newFlagSet("bench")
	asJSON := f.Bool("json", false, "print the report as JSON instead of tables")
	out := f.String("out", "", "`FILE` that gets the report as JSON, instead of stdout")
	browser := f.browser()
	if err := f.parse(args); err != nil {
		return err
	}
	if *out != "" {
		if err := outputFile("out", out); err != nil {
			return err
		}
	}
	result, err := runner.Result(ctx, inputs.New("", nil).Into(message.Job{Command: message.Bench}), *browser)
	if err != nil {
		return err
	}
	var r benchmark.Report
	if err := json.Unmarshal(result, &r); err != nil {
		return fmt.Errorf("the engine's result: %w", err)
	}
	if r.Wasm, err = wasmSizes(web.Packed); err != nil {
		return err
	}
	if *out == "" && !*asJSON {
		return printBench(os.Stdout, &r)
	}
	if result, err = json.Marshal(r); err != nil {
		return fmt.Errorf("the engine's result: %w", err)
	}
	return runner.WriteResult(result, *out)
}

// wasmSizes are the sizes of the engine among the assets, as it is served and unweb.Packed.
func wasmSizes(assets fs.FS) (map[string]int64, error) {
	sizes := map[string]int64{}
	for _, encoding := range []string{"gz", "zst"} {
		info, err := fs.Stat(assets, "engine.wasm."+encoding)
		if err != nil {
			return nil, fmt.Errorf("the engine's size: %w", err)
		}
		sizes[encoding] = info.Size()
	}
	zipped, err := fs.ReadFile(assets, "engine.wasm.gz")
	if err != nil {
		return nil, fmt.Errorf("the engine's size: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(zipped))
	if err == nil {
		sizes["plain"], err = io.Copy(io.Discard, z)
	}
	if err != nil {
		return nil, fmt.Errorf("the engine's size: engine.wasm.gz: %w", err)
	}
	return sizes, nil
}

// printBench writes the report as tables.
func printBench(w io.Writer, r *benchmark.Report) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }
	kind := "hardware"
	if r.Adapter.Software {
		kind = "software"
	}
	line("adapter\t%s %s %s (%s)", r.Adapter.Vendor, r.Adapter.Architecture, r.Adapter.Description, kind)
	line("buffer, binding\t%d MiB, %d MiB at most", r.Limits.MaxBuffer>>20, r.Limits.MaxBinding>>20)
	line("peak multiply-add\t%.4g GFLOP/s", r.Peak.MultiplyAdd)
	line("copy by shader\t%.4g GB/s, of %d MiB", r.Peak.ShaderCopy, r.Peak.CopyBytes>>20)
	line("copy of buffers\t%.4g GB/s", r.Peak.BufferCopy)
	line("a dispatch\t%.3g µs in all: %.2g in Go, %.2g in WebGPU's calls; %.4g a second", r.Dispatch.All, r.Dispatch.Go, r.Dispatch.Encode, r.Dispatch.PerSecond)
	line("engine\t%.1f MiB, %.1f as gzip, %.1f as zstd", mib(r.Wasm["plain"]), mib(r.Wasm["gz"]), mib(r.Wasm["zst"]))

	line("\nop\tshape\tkernel\tvariant\tms\tGFLOP/s\tGB/s\tof limit")
	for _, k := range r.Kernels {
		variant, flops := k.Variant, ""
		if k.Chosen && variant != "" {
			variant += " *"
		}
		if k.GFLOPS > 0 {
			flops = fmt.Sprintf("%.4g", k.GFLOPS)
		}
		if k.Error != "" {
			line("%s\t%s\t%s\t%s\t%s", k.Op, k.Shape, k.Kernel, variant, k.Error)
			continue
		}
		line("%s\t%s\t%s\t%s\t%.3g\t%s\t%.3g\t%.1f %%", k.Op, k.Shape, k.Kernel, variant, k.Seconds*1e3, flops, k.GBPS, 100*k.OfLimit)
	}
	line("* chosen on this adapter; the limit is the peak multiply-add or the copy by shader, whichever is nearer")

	line("\ntraining\ttokens/s\tms a step\tof it not GPU\tdispatches\tfirst step after\tof peak")
	for _, s := range r.Training {
		line("%s\t%.0f\t%.3g\t%.1f %%\t%d\t%.2g s\t%.1f %%", s.Method, s.TokensPerSecond, s.StepSeconds*1e3, 100*s.Idle, s.Dispatches, s.FirstStep, 100*s.Utilisation)
	}
	if len(r.Training) > 0 {
		s := r.Training[0]
		line("%s; %d parameters; batches of %d×%d tokens", s.Model, s.Parameters, s.Rows, s.Columns)
	}
	return t.Flush()
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
