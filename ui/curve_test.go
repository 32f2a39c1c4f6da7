package ui

import (
	"math"
	"testing"
)

func TestCurve(t *testing.T) {
	var c Curve
	c.Add(1, 2)
	c.Add(2, math.NaN())
	c.Add(3, 4)
	if len(c.Step) != 3 || c.Loss[0] != 2 || !math.IsNaN(c.Loss[1]) || c.Loss[2] != 4 {
		t.Errorf("points %v %v", c.Step, c.Loss)
	}
	// (0.9·0.1·2 + 0.1·4) / (0.9·0.1 + 0.1)
	if want := 0.58 / 0.19; c.Smooth[0] != 2 || c.Smooth[1] != 2 || math.Abs(c.Smooth[2]-want) > 1e-12 {
		t.Errorf("smoothed %v, want 2, 2, %g", c.Smooth, want)
	}
}

// A curve of any length is small, ends near its last step, and a constant stays one.
func TestCurveThins(t *testing.T) {
	var c Curve
	const steps = 1_000_000
	for step := 1; step <= steps; step++ {
		c.Add(step, 3)
	}
	n := len(c.Step)
	if n >= curveLimit || n < curveLimit/2-1 || len(c.Loss) != n || len(c.Smooth) != n {
		t.Fatalf("%d points", n)
	}
	if last := c.Step[n-1]; steps-last > 1024 {
		t.Errorf("ends at step %g", last)
	}
	for i := range n {
		if c.Loss[i] != 3 || math.Abs(c.Smooth[i]-3) > 1e-9 || i > 0 && c.Step[i] <= c.Step[i-1] {
			t.Fatalf("point %d: step %g, loss %g, smoothed %g", i, c.Step[i], c.Loss[i], c.Smooth[i])
		}
	}
}
