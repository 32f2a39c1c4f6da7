package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	benchmark "llamatab/engine/bench"
	"llamatab/server/servertest"
)

func TestBench(t *testing.T) {
	out := servertest.Run(t, "", "bench", "--json")
	var r benchmark.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	positive := func(name string, values ...float64) {
		t.Helper()
		for i, v := range values {
			if !(v > 0) || math.IsInf(v, 0) {
				t.Errorf("%s: number %d is %v", name, i, v)
			}
		}
	}
	if r.Adapter.Backend != "webgpu" || !r.Adapter.Software || r.AdapterBackend != "swiftshader" {
		t.Errorf("adapter %+v, backend %q", r.Adapter, r.AdapterBackend)
	}
	positive("limits", float64(r.Limits.MaxBuffer), float64(r.Limits.MaxBinding), float64(r.Limits.MaxInvocations))
	positive("peak", r.Peak.MultiplyAdd, r.Peak.ShaderCopy, r.Peak.BufferCopy, float64(r.Peak.CopyBytes))
	positive("dispatch", float64(r.Dispatch.Count), r.Dispatch.Go, r.Dispatch.Encode, r.Dispatch.All, r.Dispatch.PerSecond)
	positive("wasm", float64(r.Wasm["plain"]), float64(r.Wasm["gz"]), float64(r.Wasm["zst"]))

	chosen := map[string]int{} // by op, shape and kernel
	for _, k := range r.Kernels {
		name := k.Op + " " + k.Shape + " " + k.Kernel
		if k.Error != "" {
			t.Errorf("%s %s: %s", name, k.Variant, k.Error)
			continue
		}
		positive(name, k.Seconds, k.GBPS, k.OfLimit)
		if strings.HasPrefix(k.Kernel, "matmul") {
			positive(name, k.GFLOPS)
		}
		chosen[name] += map[bool]int{true: 1}[k.Chosen]
	}
	for name, n := range chosen {
		if n != 1 {
			t.Errorf("%s: %d variants are chosen", name, n)
		}
	}
	for _, kernel := range []string{"matmul_nt", "matmul_nn", "matmul_tn", "attention_forward", "attention_backward_q", "rmsnorm_forward", "adamw"} {
		found := false
		for name := range chosen {
			found = found || strings.HasSuffix(name, " "+kernel)
		}
		if !found {
			t.Errorf("%s was not measured", kernel)
		}
	}

	if len(r.Training) != 2 || r.Training[0].Method != "full" || r.Training[1].Method != "lora" {
		t.Fatalf("training %+v", r.Training)
	}
	for _, s := range r.Training {
		positive(s.Method, s.TokensPerSecond, s.StepSeconds, s.GPUSeconds, s.FirstStep, s.Utilisation, float64(s.Dispatches), float64(s.Steps), float64(s.Trainable))
		if s.Idle < 0 || s.Idle >= 1 {
			t.Errorf("%s: %v of a step is not GPU work", s.Method, s.Idle)
		}
	}

	var table strings.Builder
	if err := printBench(&table, &r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"peak multiply-add", "matmul_nt", "of limit", "lora", "zstd"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is not in the tables:\n%s", want, table.String())
		}
	}
}
