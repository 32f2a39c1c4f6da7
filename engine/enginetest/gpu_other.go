//go:build !js

package enginetest

import (
	"testing"

	"llamatab/engine/device"
)

func gpus(testing.TB) []device.Device { return nil }
