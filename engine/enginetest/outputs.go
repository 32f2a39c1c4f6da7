package enginetest

import (
	"testing"

	"llamatab/engine/device"
)

// Outputs runs the case once on dev, forward and backward, and returns its outputs.
func Outputs(t testing.TB, dev device.Device, c Case) [][]float64 {
	t.Helper()
	rn, _, err := c.compile(dev, 0)
	if err != nil {
		t.Fatalf("%s on %s: %v", c.Name, dev.Info().Backend, err)
	}
	defer rn.free()
	all, err := rn.results(c)
	if err != nil {
		t.Fatalf("%s on %s: %v", c.Name, dev.Info().Backend, err)
	}
	return all[:len(rn.outs)]
}
