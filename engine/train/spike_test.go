package train

import (
	"math"
	"testing"
)

func TestSpike(t *testing.T) {
	var b band
	for i := range 200 {
		loss := 3 - 0.005*float64(i) + 0.1*math.Sin(float64(i))
		if i == 120 || i == 121 {
			loss *= 3 // two in a row: the first must not widen the band for the second
		}
		if got, want := b.spike(loss), i == 120 || i == 121; got != want {
			t.Errorf("step %d, loss %v: spike is %v", i, loss, got)
		}
	}
	if b.spike(math.NaN()) || b.spike(math.Inf(1)) || math.IsNaN(b.mean) {
		t.Error("what is not finite counts")
	}
	if (&band{}).spike(1e9) {
		t.Error("the first loss is a spike")
	}
}
