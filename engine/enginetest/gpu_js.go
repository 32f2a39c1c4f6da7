package enginetest

import (
	"context"
	"sync"
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/device/webgpu"
)

// One device serves all tests of a binary, because it caches its pipelines, which take long to compile.
var shared = sync.OnceValues(func() (*webgpu.Device, error) { return webgpu.Open(context.Background(), webgpu.Options{}) })

func openOne(t testing.TB) device.Device {
	d, err := webgpu.Open(context.Background(), webgpu.Options{})
	if err != nil {
		t.Fatalf("this test needs WebGPU: %v", err)
	}
	return d
}

func gpus(t testing.TB) []device.Device {
	d, err := shared()
	if err != nil {
		t.Fatalf("this test needs WebGPU: %v", err)
	}
	return []device.Device{d}
}
