package quant

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The values (i−16)/8 give the block that ggml's own functions make of them.
func TestQ4_0OfARamp(t *testing.T) {
	x := make([]float32, 32)
	for i := range x {
		x[i] = float32(i-16) / 8
	}
	got := make([]byte, 18)
	if err := Encode(got, x, Q4_0); err != nil {
		t.Fatal(err)
	}
	want, _ := hex.DecodeString("0034" + "809191a2a2b3b3c4c4d5d5e6e6f7f7f8")
	if !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// Values that a type holds exactly come back as they were.
func TestValuesOnTheGridComeBack(t *testing.T) {
	for _, c := range []struct {
		t    Type
		grid func(i int) float32
	}{
		{Q8_0, func(i int) float32 { return float32(i%32*8-127) / 64 }},
		{Q4_0, func(i int) float32 { return float32(i%16-8) / 4 }},
	} {
		values, size := c.t.Block()
		x, y := make([]float32, 3*values), make([]float32, 3*values)
		for i := range x {
			x[i] = c.grid(i)
		}
		block := make([]byte, 3*size)
		if err := Encode(block, x, c.t); err != nil {
			t.Fatal(err)
		}
		if err := Decode(y, block, c.t); err != nil {
			t.Fatal(err)
		}
		for i := range x {
			if x[i] != y[i] {
				t.Fatalf("%v: value %d was %v and is %v", c.t, i, x[i], y[i])
			}
		}
	}
}

func TestBlocksMustBeWhole(t *testing.T) {
	for _, c := range []struct{ values, bytes int }{{31, 18}, {32, 17}, {64, 18}, {32, 36}} {
		if Decode(make([]float32, c.values), make([]byte, c.bytes), Q4_0) == nil {
			t.Errorf("%d values from %d bytes were accepted", c.values, c.bytes)
		}
	}
}
