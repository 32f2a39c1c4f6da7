package quant

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// bitPatterns are float32 numbers by their bits.
type bitPatterns []uint32

func (b bitPatterns) floats() []float32 {
	x := make([]float32, len(b))
	for i, u := range b {
		x[i] = math.Float32frombits(u)
	}
	return x
}

func (b bitPatterns) check(t *testing.T, what string, got []float32) {
	t.Helper()
	if len(got) != len(b) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(b))
	}
	for i, x := range got {
		if math.Float32bits(x) != b[i] {
			t.Fatalf("%s: value %d is %v (%08x), want %v (%08x)", what, i, x, math.Float32bits(x), math.Float32frombits(b[i]), b[i])
		}
	}
}

// NF4, double quantisation and int8 are those of bitsandbytes, bit for bit.
func TestBitsAndBytes(t *testing.T) {
	raw, err := os.ReadFile("testdata/bitsandbytes.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Map, X bitPatterns
		NF4    struct {
			Codes          []byteNumber
			Scales, Values bitPatterns
		}
		Double struct {
			Codes                         []byteNumber
			Scales, Seconds, Mean, Values bitPatterns
		}
		Int8 struct {
			Codes             []int8
			X, Scales, Values bitPatterns
		}
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	v.Map.check(t, "dynamic map", dynamicMap())

	x := v.X.floats()
	packed, err := NF4.Pack(x, len(x)/64, 64)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range v.NF4.Codes {
		if got := packed[i/2] >> (4 * (i % 2)) & 15; got != byte(want) {
			t.Fatalf("nf4: code %d of %v is %d, want %d", i, x[i], got, want)
		}
	}
	y := make([]float32, len(x))
	NF4.UnpackBytes(y, packed, len(x)/64, 64)
	v.NF4.Values.check(t, "nf4", y)

	scales := v.Double.Scales.floats()
	codes, seconds, mean := encodeScales(scales)
	for i, want := range v.Double.Codes {
		if codes[i] != byte(want) {
			t.Fatalf("double quantisation: code %d of %v is %d, want %d", i, scales[i], codes[i], want)
		}
	}
	v.Double.Seconds.check(t, "scales of scales", seconds)
	v.Double.Mean.check(t, "mean", []float32{mean})
	// A matrix with these scales and the values ±scale gives them back after double quantisation.
	ones := make([]float32, 64*len(scales))
	for i := range ones {
		ones[i] = scales[i/64]
	}
	if packed, err = NF4Double.Pack(ones, len(scales), 64); err != nil {
		t.Fatal(err)
	}
	back := make([]float32, len(ones))
	NF4Double.UnpackBytes(back, packed, len(scales), 64)
	firsts := make([]float32, len(scales))
	for i := range firsts {
		firsts[i] = back[64*i]
	}
	v.Double.Values.check(t, "double quantisation", firsts)

	rows := v.Int8.X.floats()
	if packed, err = Int8.Pack(rows, len(rows)/64, 64); err != nil {
		t.Fatal(err)
	}
	for i, want := range v.Int8.Codes {
		if int8(packed[i]) != want {
			t.Fatalf("int8: code %d is %d, want %d", i, int8(packed[i]), want)
		}
	}
	Int8.UnpackBytes(y, packed, len(rows)/64, 64)
	v.Int8.Values.check(t, "int8", y)
}

// byteNumber is a byte that JSON spells as a number also in a list.
type byteNumber byte

// A matrix that comes in parts of any size is packed as one that comes whole, and every value comes back within half a step.
func TestPackInParts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for f := Int8; f < formats; f++ {
		rows, cols := 21, 96
		if f == NF4 || f == NF4Double {
			rows = 22
		}
		if !f.Fits(rows, cols) || f.Fits(3, 7) {
			t.Fatalf("%v: the wrong shapes fit", f)
		}
		x := make([]float32, rows*cols)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		whole, err := f.Pack(x, rows, cols)
		if err != nil {
			t.Fatal(err)
		}
		parts := make([]byte, len(whole))
		p := NewPacker(f, rows, cols, func(word int, data []byte) error { copy(parts[4*word:], data); return nil })
		for left := x; len(left) > 0; {
			n := min(len(left), r.IntN(200))
			if err := p.Add(left[:n]); err != nil {
				t.Fatal(err)
			}
			left = left[n:]
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(parts, whole) {
			t.Errorf("%v: a matrix in parts is packed in another way", f)
		}
		y := make([]float32, len(x))
		f.UnpackBytes(y, whole, rows, cols)
		// The widest gap between levels of a 4-bit format is 0.31 of the largest value, that of an 8-bit one 1/127.
		limit := map[bool]float64{false: 0.16 * 4.5, true: 0.0042 * 4.5}[f.bits() == 8]
		for i := range x {
			if d := math.Abs(float64(x[i] - y[i])); d > limit {
				t.Fatalf("%v: value %d was %v and is %v", f, i, x[i], y[i])
			}
		}
	}
}

// Q4_0 and Q8_0 hold on a device the values that their blocks in a file hold.
func TestPackedBlocksHoldTheirValues(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x := make([]float32, 5*64)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for f, typ := range map[Format]Type{PackedQ4_0: Q4_0, PackedQ8_0: Q8_0} {
		n, err := typ.Bytes(len(x))
		if err != nil {
			t.Fatal(err)
		}
		blocks, want, got := make([]byte, n), make([]float32, len(x)), make([]float32, len(x))
		if err := Encode(blocks, x, typ); err != nil {
			t.Fatal(err)
		}
		if err := Decode(want, blocks, typ); err != nil {
			t.Fatal(err)
		}
		packed, err := f.Pack(x, 5, 64)
		if err != nil {
			t.Fatal(err)
		}
		if f.UnpackBytes(got, packed, 5, 64); !slices.Equal(got, want) {
			t.Errorf("%v: other values than in blocks", f)
		}
	}
}
