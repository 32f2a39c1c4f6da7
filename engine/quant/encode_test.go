package quant

import (
	"math"
	"math/rand/v2"
	"testing"
)

// roundTrip packs and unpacks values, and returns the root of the mean squared error in parts of the values' own.
func roundTrip(t *testing.T, x []float32, kind Type) float64 {
	t.Helper()
	size, err := kind.Bytes(len(x))
	if err != nil {
		t.Fatal(err)
	}
	packed, y := make([]byte, size), make([]float32, len(x))
	if err := Encode(packed, x, kind); err != nil {
		t.Fatal(err)
	}
	if err := Decode(y, packed, kind); err != nil {
		t.Fatal(err)
	}
	var wrong, all float64
	for i := range x {
		wrong += math.Pow(float64(x[i]-y[i]), 2)
		all += math.Pow(float64(x[i]), 2)
	}
	return math.Sqrt(wrong / all)
}

// Weights of a normal distribution lose as much as the number of bits says, and not more.
func TestErrorOfNormalWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, 256*64)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 0.02)
	}
	for kind, most := range map[Type]float64{Q8_0: 0.006, Q6_K: 0.02, Q5_0: 0.05, Q4_K: 0.08, Q4_0: 0.1} {
		got := roundTrip(t, x, kind)
		t.Logf("%v: %.4f", kind, got)
		if got > most || got < most/4 {
			t.Errorf("%v: relative error %.4f, want %.4f to %.4f", kind, got, most/4, most)
		}
	}
}

// Blocks of zeros, of one sign, with a single value and with an outlier come back as far as the type allows.
func TestUnusualBlocks(t *testing.T) {
	fill := func(f func(i int) float32) []float32 {
		x := make([]float32, 256)
		for i := range x {
			x[i] = f(i)
		}
		return x
	}
	for _, kind := range []Type{Q4_0, Q5_0, Q8_0, Q4_K, Q6_K} {
		zeros, size := fill(func(int) float32 { return 0 }), 0
		size, _ = kind.Bytes(256)
		packed, y := make([]byte, size), make([]float32, 256)
		for i := range packed {
			packed[i] = 0xff // what was in the memory before must not show
		}
		if err := Encode(packed, zeros, kind); err != nil {
			t.Fatal(err)
		}
		if err := Decode(y, packed, kind); err != nil {
			t.Fatal(err)
		}
		for i := range y {
			if y[i] != 0 {
				t.Fatalf("%v: a zero comes back as %v", kind, y[i])
			}
		}
		for name, x := range map[string][]float32{
			"positive": fill(func(i int) float32 { return 1 + float32(i)/256 }),
			"negative": fill(func(i int) float32 { return -1 - float32(i)/256 }),
			"outlier":  fill(func(i int) float32 { return float32(i%3-1) + 100*float32(max(0, i-254)) }),
		} {
			if got := roundTrip(t, x, kind); got > 0.08 {
				t.Errorf("%v, %s: relative error %.4f", kind, name, got)
			}
		}
	}
}
