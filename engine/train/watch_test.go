package train

import (
	"encoding/json"
	"math"
	"testing"
)

func TestSpike(t *testing.T) {
	var b band
	for i := range 300 {
		loss := 3 - 0.005*float64(i) + 0.1*math.Sin(float64(i))
		want := false
		switch {
		case i == 60 || i == 61: // two in a row are no spike
			loss *= 1.6
		case i >= 120 && i < 125: // the first two must not widen the band for the others
			loss *= 1.6
			want = i >= 122
		case i == 200: // far above
			loss, want = 9, true
		}
		if got := b.Spike(loss); got != want {
			t.Errorf("step %d, loss %v: spike is %v", i, loss, got)
		}
	}
	if b.Spike(math.NaN()) || b.Spike(math.Inf(1)) || math.IsNaN(b.Mean) {
		t.Error("a loss that is not finite is counted")
	}
	// A learning rate that is far too high shows at the second step.
	if b = (band{}); b.Spike(2) || !b.Spike(1000) {
		t.Error("the first loss is a spike, or the second is not")
	}
}

func TestPlateau(t *testing.T) {
	var p plateau
	reported := []int{}
	for step := 1; step <= 600; step++ {
		mean := 1.0 // falls for 100 steps, stays for 200, falls for 100, stays
		switch {
		case step <= 100:
			mean = 3 - 0.01*float64(step)
		case step <= 300:
			mean = 2
		case step <= 400:
			mean = 2 - 0.01*float64(step-300)
		}
		if p.take(step, mean) {
			reported = append(reported, step)
		}
	}
	if len(reported) != 2 || reported[0] < 195 || reported[0] > 200 || reported[1] < 495 || reported[1] > 500 {
		t.Errorf("reported at %v", reported)
	}
}

func TestHeldOut(t *testing.T) {
	var h heldOut
	for i, c := range []struct {
		loss, train    float64
		best, overfits bool
		stale          int
	}{
		{2, 2, true, false, 0}, {1.5, 1.5, true, false, 0},
		{1.6, 1.2, false, false, 1}, {1.7, 1, false, false, 2}, {1.8, 0.8, false, true, 3}, {1.9, 0.7, false, false, 4},
		{math.NaN(), 0.7, false, false, 5}, {1.4, 0.6, true, false, 0},
		{1.5, 0.7, false, false, 1}, {1.6, 0.8, false, false, 2}, {1.7, 0.9, false, false, 3}, // both losses rise, which is no overfitting
	} {
		best, overfits := h.take(i+1, c.loss, c.train)
		if best != c.best || overfits != c.overfits || h.Stale != c.stale {
			t.Errorf("evaluation %d: best %v, overfits %v, stale %d", i, best, overfits, h.Stale)
		}
		if _, err := json.Marshal(h); err != nil {
			t.Error(err)
		}
	}
	if h.Best != 1.4 || h.BestStep != 8 {
		t.Errorf("best %v at %d", h.Best, h.BestStep)
	}
}
