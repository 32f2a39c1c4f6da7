package fsdp

import (
	"encoding/binary"
	"math"
	"unsafe"

	"llamatab/engine/tensor"
)

// TooLarge is the magnitude from which a gradient's element counts as an error, like infinities and NaNs. The square of a smaller
// number is finite in float32.
const TooLarge = 1 << 62

// littleEndian reports whether float32s lie in memory as they travel.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Finite reports whether all little-endian numbers in b are finite and smaller than TooLarge in magnitude. It reads only the
// exponents, 8 bytes at a time: adding a constant carries a large exponent into the place of the sign.
func Finite(b []byte, d tensor.DType) bool {
	// Biased exponent of 2^62 is 189. Sign bits are masked off first.
	lanes, field, carry := uint64(0x8000_8000_8000_8000), uint64(0x7f80_7f80_7f80_7f80), uint64(0x8000-189<<7)*0x0001_0001_0001_0001
	if d == tensor.F32 {
		lanes, field, carry = 0x8000_0000_8000_0000, 0x7f80_0000_7f80_0000, uint64(0x8000_0000-189<<23)*0x0000_0001_0000_0001
	}
	var bad uint64
	for ; len(b) >= 32; b = b[32:] {
		x0, x1 := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		x2, x3 := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		bad |= (x0&field + carry) | (x1&field + carry) | (x2&field + carry) | (x3&field + carry)
	}
	var rest [32]byte
	copy(rest[:], b)
	for i := 0; i < 32; i += 8 {
		bad |= binary.LittleEndian.Uint64(rest[i:])&field + carry
	}
	return bad&lanes == 0
}

// Fold adds the little-endian numbers in b to acc in float32. Both have the same number of elements. The sum depends only on the
// order of the calls.
func Fold(acc []float32, b []byte, d tensor.DType) {
	if d == tensor.F32 {
		b = b[:4*len(acc)]
		for ; len(acc) >= 4; acc, b = acc[4:], b[16:] {
			a, w := (*[4]float32)(acc), (*[16]byte)(b)
			a[0] += math.Float32frombits(binary.LittleEndian.Uint32(w[0:]))
			a[1] += math.Float32frombits(binary.LittleEndian.Uint32(w[4:]))
			a[2] += math.Float32frombits(binary.LittleEndian.Uint32(w[8:]))
			a[3] += math.Float32frombits(binary.LittleEndian.Uint32(w[12:]))
		}
		for i := range acc {
			acc[i] += math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		return
	}
	const high = 0xffff_0000
	b = b[:2*len(acc)]
	for ; len(acc) >= 8; acc, b = acc[8:], b[16:] { // two to a word: the low one shifts up, the high one lies right
		a, w := (*[8]float32)(acc), (*[16]byte)(b)
		x := binary.LittleEndian.Uint32(w[0:])
		a[0] += math.Float32frombits(x << 16)
		a[1] += math.Float32frombits(x & high)
		x = binary.LittleEndian.Uint32(w[4:])
		a[2] += math.Float32frombits(x << 16)
		a[3] += math.Float32frombits(x & high)
		x = binary.LittleEndian.Uint32(w[8:])
		a[4] += math.Float32frombits(x << 16)
		a[5] += math.Float32frombits(x & high)
		x = binary.LittleEndian.Uint32(w[12:])
		a[6] += math.Float32frombits(x << 16)
		a[7] += math.Float32frombits(x & high)
	}
	for i := range acc {
		acc[i] += tensor.F32FromBF16(binary.LittleEndian.Uint16(b[2*i:]))
	}
}

// SumSquares is the sum of squares in float64: four partial sums, then their sum, so the order is fixed.
func SumSquares(x []float32) float64 {
	var s [4]float64
	for ; len(x) >= 4; x = x[4:] {
		a, b, c, d := float64(x[0]), float64(x[1]), float64(x[2]), float64(x[3])
		s[0] += float64(a * a)
		s[1] += float64(b * b)
		s[2] += float64(c * c)
		s[3] += float64(d * d)
	}
	for i, v := range x {
		s[i] += float64(float64(v) * float64(v))
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

// Sample estimates the sum of squares of the little-endian numbers in b: 16 times that of every 16th.
func Sample(b []byte, d tensor.DType) float64 {
	sum := 0.0
	for n := d.Size(); len(b) >= n; b = b[min(16*n, len(b)):] {
		x := float32(0)
		if d == tensor.F32 {
			x = math.Float32frombits(binary.LittleEndian.Uint32(b))
		} else {
			x = tensor.F32FromBF16(binary.LittleEndian.Uint16(b))
		}
		sum += float64(x) * float64(x)
	}
	return 16 * sum
}

// Bytes are the little-endian float32s of x. On most machines they share the memory of x: do not write to them.
func Bytes(x []float32) []byte {
	if len(x) == 0 {
		return nil
	}
	if littleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x))
	}
	return tensor.EncodeF32(nil, x, tensor.F32)
}
