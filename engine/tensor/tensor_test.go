package tensor

import (
	"math"
	"testing"
)

func TestBF16(t *testing.T) {
	for _, c := range []struct {
		in   float32
		want uint16
	}{
		{1, 0x3f80}, {1.00390625, 0x3f80}, {1.01171875, 0x3f82}, {math.Pi, 0x4049}, {65504, 0x4780}, {1e-40, 0x0001},
		{float32(math.Inf(1)), 0x7f80}, {math.MaxFloat32, 0x7f80}, {float32(math.Copysign(0, -1)), 0x8000},
	} {
		if got := BF16FromF32(c.in); got != c.want {
			t.Errorf("BF16FromF32(%v) = %04x, want %04x", c.in, got, c.want)
		}
	}
	nan := BF16FromF32(math.Float32frombits(0x7f800001))
	if f := F32FromBF16(nan); f == f {
		t.Errorf("a NaN became %v", f)
	}
	for u := 0; u < 1<<16; u++ { // widening and rounding again is the identity on everything but signalling NaNs
		f := F32FromBF16(uint16(u))
		if f == f && BF16FromF32(f) != uint16(u) {
			t.Fatalf("%04x → %v → %04x", u, f, BF16FromF32(f))
		}
	}
}

func TestF16(t *testing.T) {
	for _, c := range []struct {
		in   uint16
		want float32
	}{
		{0x3c00, 1}, {0xc000, -2}, {0x7bff, 65504}, {0x0001, 5.9604645e-08}, {0x83ff, -6.097555e-05}, {0x0400, 6.1035156e-05},
		{0x7c00, float32(math.Inf(1))}, {0x3555, 0.33325195},
	} {
		if got := F32FromF16(c.in); got != c.want {
			t.Errorf("F32FromF16(%04x) = %v, want %v", c.in, got, c.want)
		}
	}
	for _, c := range []struct {
		in   float32
		want uint16
	}{
		{1, 0x3c00}, {65504, 0x7bff}, {65519.996, 0x7bff}, {65520, 0x7c00}, {-1e38, 0xfc00}, {1.00048828125, 0x3c00}, {1.00146484375, 0x3c02},
		{6.0975552e-05, 0x03ff}, {6.1005354e-05, 0x0400}, {2.9802322e-08, 0}, {2.9802326e-08, 1}, {8.940697e-08, 2}, {-1e-30, 0x8000},
	} {
		if got := F16FromF32(c.in); got != c.want {
			t.Errorf("F16FromF32(%v) = %04x, want %04x", c.in, got, c.want)
		}
	}
	if f := F32FromF16(F16FromF32(float32(math.NaN()))); f == f {
		t.Errorf("a NaN became %v", f)
	}
	for u := 0; u < 1<<16; u++ { // widening and rounding again is the identity, and halfway goes to the even neighbour
		f := F32FromF16(uint16(u))
		if f != f || math.IsInf(float64(f), 0) {
			continue
		}
		if got := F16FromF32(f); got != uint16(u) {
			t.Fatalf("%04x → %v → %04x", u, f, got)
		}
		if next := F32FromF16(uint16(u + 1)); u&0x7fff < 0x7bff {
			if got, even := F16FromF32((f+next)/2), uint16(u+u&1); got != even {
				t.Fatalf("halfway from %04x: %04x, want %04x", u, got, even)
			}
		}
	}
}

func TestFirstNonFinite(t *testing.T) {
	in := []float32{1, -3e38, 0, float32(math.NaN()), 2}
	if got := FirstNonFinite(EncodeF32(nil, in, F32), F32); got != 3 {
		t.Errorf("F32: %d", got)
	}
	in[3] = float32(math.Inf(-1))
	if got := FirstNonFinite(EncodeF32(nil, in, BF16), BF16); got != 3 { // -3e38 stays finite
		t.Errorf("BF16: %d", got)
	}
	if got := FirstNonFinite(EncodeF32(nil, in[:3], F32), F32); got != -1 {
		t.Errorf("finite: %d", got)
	}
}

func TestCheckedSize(t *testing.T) {
	if _, err := Of(1<<40, 1<<40).CheckedSize(); err == nil {
		t.Error("overflow passed")
	}
	if _, err := Of(-1).CheckedSize(); err == nil {
		t.Error("negative passed")
	}
	if n, err := Of(0, 5).CheckedSize(); n != 0 || err != nil {
		t.Error(n, err)
	}
}
