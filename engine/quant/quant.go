// Package quant packs numbers into blocks of few bits and unpacks them, bit for bit as the programs do that the formats come from:
// ggml for the types of GGUF files, bitsandbytes for NF4.
//
// A block holds the values of neighbours in one row of a matrix and the scales that they share. It never crosses the end of a row.
// A type is a table entry: its size, and the functions that read and write one block.
package quant

import (
	"fmt"
	"math"

	"llamatab/engine/tensor"
)

// Type is a way to store numbers in blocks.
type Type uint8

// The types of blocks in GGUF files, by ggml's names.
const (
	None Type = iota // not in blocks
	Q4_0
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q4_K
	Q5_K
	Q6_K
)

// layout is how a type lies in memory, and how one block of it is read and written.
type layout struct {
	name          string
	values, bytes int                             // of a block
	decode        func(dst []float32, src []byte) // nil where the type cannot be read
	encode        func(dst []byte, src []float32) // nil where the type cannot be written
}

var layouts = [...]layout{
	None: {name: "none"},
	Q4_0: {"Q4_0", 32, 18, decodeQ4_0, encodeQ4_0},
	Q4_1: {"Q4_1", 32, 20, decodeQ4_1, nil},
	Q5_0: {"Q5_0", 32, 22, decodeQ5_0, encodeQ5_0},
	Q5_1: {"Q5_1", 32, 24, decodeQ5_1, nil},
	Q8_0: {"Q8_0", 32, 34, decodeQ8_0, encodeQ8_0},
	Q4_K: {"Q4_K", 256, 144, decodeQ4_K, encodeQ4_K},
	Q5_K: {"Q5_K", 256, 176, decodeQ5_K, nil},
	Q6_K: {"Q6_K", 256, 210, decodeQ6_K, encodeQ6_K},
}

// String is ggml's name of the type.
func (t Type) String() string {
	if int(t) < len(layouts) {
		return layouts[t].name
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// Block is the number of values in a block and of bytes that they take.
func (t Type) Block() (values, bytes int) { return layouts[t].values, layouts[t].bytes }

// Bytes is the size of n values. It is an error if they are not whole blocks.
func (t Type) Bytes(n int) (int, error) {
	values, bytes := t.Block()
	if values == 0 || n < 0 || n%values != 0 {
		return 0, fmt.Errorf("%d values are not whole blocks of %s, which hold %d", n, t, values)
	}
	return n / values * bytes, nil
}

// Decode unpacks the blocks in src into dst, which has room for exactly their values. The results are the float32 numbers that
// ggml's dequantize_row functions give, to the bit.
func Decode(dst []float32, src []byte, t Type) error {
	l, err := t.check(len(dst), len(src))
	if err != nil {
		return err
	}
	if l.decode == nil {
		return fmt.Errorf("blocks of %s cannot be read", t)
	}
	for ; len(dst) > 0; dst, src = dst[l.values:], src[l.bytes:] {
		l.decode(dst[:l.values], src[:l.bytes])
	}
	return nil
}

// Encode packs src into dst, which has room for exactly its blocks. The results are those of ggml's quantize_row_…_ref functions.
// Values that are not finite give blocks without meaning: the caller checks before.
func Encode(dst []byte, src []float32, t Type) error {
	l, err := t.check(len(src), len(dst))
	if err != nil {
		return err
	}
	if l.encode == nil {
		return fmt.Errorf("blocks of %s cannot be written", t)
	}
	for ; len(src) > 0; dst, src = dst[l.bytes:], src[l.values:] {
		l.encode(dst[:l.bytes], src[:l.values])
	}
	return nil
}

func (t Type) check(values, bytes int) (*layout, error) {
	want, err := t.Bytes(values)
	if err == nil && want != bytes {
		err = fmt.Errorf("%d bytes for %d values of %s, want %d", bytes, values, t, want)
	}
	return &layouts[t], err
}

// extreme is the value of largest magnitude, the first of several, and its magnitude. Both are 0 for zeros.
func extreme(x []float32) (value, magnitude float32) {
	for _, v := range x {
		if a := float32(math.Abs(float64(v))); a > magnitude {
			value, magnitude = v, a
		}
	}
	return value, magnitude
}

// inverse is 1/d, and 0 for 0.
func inverse(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// scale reads the binary16 number that begins most blocks.
func scale(src []byte) float32 { return tensor.F32FromF16(uint16(src[0]) | uint16(src[1])<<8) }

func putScale(dst []byte, d float32) {
	h := tensor.F16FromF32(d)
	dst[0], dst[1] = byte(h), byte(h>>8)
}
