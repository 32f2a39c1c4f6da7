package main

import (
	"cmp"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	engineexport "llamatab/engine/export"
	"llamatab/engine/gguf"
	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/job"
	"llamatab/server/runner"
)

// export is the command export.
func export(ctx context.Context, args []string) error {
	f := newFlagSet("export")
	model := f.String("model", "", "model `DIR`, a GGUF file, or its name on a hub")
	adapter := f.String("adapter", "", "PEFT adapter `DIR`, or its name on a hub")
	format := f.String("format", "", "`peft` (the adapter alone), merged (a whole model with the adapter merged in), gguf (the same for llama.cpp and Ollama), gguf-lora (the adapter for llama.cpp), or mlx (the adapter for mlx-lm)")
	dtype := f.String("dtype", "", "type of the weights: `f16`, bf16, f32, q8_0, q4_0 or q4_k_m for gguf (f16 if absent); f32, bf16 or f16 for merged (the base's if absent)")
	split := f.String("split-size", "", "write a GGUF file in parts of at most this `SIZE` of tensors, such as 4G or 500M; a larger tensor gets a part of its own")
	out := f.String("out", "", "`DIR` that gets the result")
	browser, hubs := f.browser(), f.hub()
	if err := f.parse(args); err != nil {
		return err
	}
	if err := f.require("model", "format", "out"); err != nil {
		return err
	}
	e := &message.ExportJob{Format: *format, DType: *dtype, Name: exportName(*adapter, *model)}
	if err := checkExport(e, *split); err != nil {
		return err
	}
	m := inputs.New("", hubs.finder(ctx))
	if err := m.Model("--model", model); err != nil {
		return err
	}
	if *adapter != "" {
		if err := m.Adapter("--adapter", adapter); err != nil {
			return err
		}
	} else if e.Format != "gguf" && e.Format != "merged" {
		return exit.Usagef("export: --format %s needs --adapter", e.Format)
	}
	if err := outputFolder("out", out); err != nil {
		return err
	}
	for name, path := range m.Paths() {
		if info, err := os.Stat(path); err == nil && !info.IsDir() { // a GGUF file
			path = filepath.Dir(path)
		}
		if sameFolder(path, *out) {
			return exit.Usagef("export: --out is the folder of --%s, which would be overwritten", name)
		}
	}

	j := m.Into(message.Job{Command: message.Export, Export: e})
	if err := precheck(ctx, j.Spec, m); err != nil {
		return err
	}
	dir, err := job.OpenDir(*out)
	if err != nil {
		return err
	}
	j.Store, j.Observe = dir, runner.NewProgress().Observe
	err = runner.Start(ctx, runner.Run{Job: j, Browser: *browser})
	return runner.Finish(err, dir.Close)
}

// sameFolder reports whether two paths lead to one folder, however they are written. A folder that does not exist is no other.
func sameFolder(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return filepath.Clean(a) == filepath.Clean(b)
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// exportTypes are the values of --dtype by the format; other formats have no choice.
var exportTypes = map[string][]string{"merged": {"f32", "bf16", "f16"}, "gguf": engineexport.GGUFTypes(), "peft": nil, "gguf-lora": nil, "mlx": nil}

// checkExport checks the flags that choose the form, and reads split.
func checkExport(e *message.ExportJob, split string) error {
	types, known := exportTypes[e.Format]
	switch {
	case !known:
		return exit.Usagef("export: --format %q is none of peft, merged, gguf, gguf-lora and mlx", e.Format)
	case e.DType != "" && types == nil:
		return exit.Usagef("export: --format %s has no --dtype: the tensors of an adapter are float32", e.Format)
	case e.DType != "" && !slices.Contains(types, e.DType):
		return exit.Usagef("export: --dtype %q is none of %s, which --format %s has", e.DType, strings.Join(types, ", "), e.Format)
	case split != "" && e.Format != "gguf":
		return exit.Usagef("export: --split-size belongs to --format gguf")
	case split == "":
		return nil
	}
	number, unit := strings.TrimRight(split, "GgMm"), int64(1)
	switch strings.ToUpper(split[len(number):]) {
	case "M":
		unit = 1e6
	case "G":
		unit = 1e9
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64/unit || len(split) > len(number)+1 {
		return exit.Usagef("export: --split-size %q is no size: write bytes, or 500M, or 4G", split)
	}
	e.SplitBytes = n * unit
	return nil
}

// exportName names a result after the folder of its adapter, or else of its model. The folders adapter and model of a run stand for the
// run, a GGUF file for its name without what splitting and the format have added.
func exportName(adapter, model string) string {
	path := filepath.ToSlash(cmp.Or(adapter, model))
	name := filepath.Base(path)
	if name == "adapter" || name == "model" {
		if full, err := filepath.Abs(path); err == nil {
			name = filepath.Base(filepath.Dir(full))
		}
	}
	if gguf.IsName(name) {
		name = gguf.Stem(name)
	}
	return name
}
