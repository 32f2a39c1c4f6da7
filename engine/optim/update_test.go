package optim

import (
	"math"
	"testing"
)

func TestStateLength(t *testing.T) {
	if _, err := DecodeState(make([]byte, 4*NumState-4)); err == nil {
		t.Error("a short state was accepted")
	}
}

func TestScalarsFirstStep(t *testing.T) {
	x := Scalars{LR: 1, Step: 1, Beta1: 0.9, Beta2: 0.999}.input(t).Floats
	for i, v := range x {
		if math.IsInf(float64(v), 0) || math.IsNaN(float64(v)) {
			t.Errorf("scalar %d of the first step is %v", i, v)
		}
	}
	if x[2] != x[4] || x[3] != x[5] {
		t.Errorf("corrections %v: before the first update there is no other", x[2:6])
	}
}
