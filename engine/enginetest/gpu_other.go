//go:build !js

package enginetest

import (
	"testing"

	"llamatab/engine/device"
	"llamatab/engine/device/cpu"
)

func openOne(testing.TB) device.Device { return cpu.New() }

func gpus(testing.TB) []device.Device { return nil }
