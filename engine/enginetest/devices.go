// Package enginetest proves ops and models: the same case runs on every device, gradients are checked against
// central differences in float64 on the reference device, and every other device against the reference.
package enginetest

import (
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
)

// Devices returns the reference device and, in a browser, the WebGPU one. A browser without an adapter fails the test.
func Devices(t testing.TB) []device.Device {
	return append([]device.Device{cpu.New()}, gpus(t)...)
}

// Open opens a device that the test may close: WebGPU in a browser, else the reference device.
func Open(t testing.TB) device.Device { return openOne(t) }
