package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
)

// BF16FromF32 rounds f to the nearest bfloat16, ties to even. A NaN keeps its sign and top payload and is made quiet.
func BF16FromF32(f float32) uint16 {
	u := math.Float32bits(f)
	if u&0x7fffffff > 0x7f800000 {
		return uint16(u>>16) | 0x0040
	}
	return uint16((u + 0x7fff + (u>>16)&1) >> 16)
}

// F32FromBF16 widens a bfloat16, exactly.
func F32FromBF16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// F32FromF16 widens an IEEE binary16, exactly, subnormals included.
func F32FromF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h & 0x3ff)
	switch {
	case exp == 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	case exp == 0:
		f := float32(frac) / (1 << 24)
		if sign != 0 {
			return -f
		}
		return f
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// F16FromF32 rounds f to the nearest binary16, ties to even: from 65520 on to infinity, below 2⁻¹⁴ to a multiple of
// 2⁻²⁴. A NaN is made quiet.
func F16FromF32(f float32) uint16 {
	u := math.Float32bits(f)
	sign, x := uint16(u>>16)&0x8000, u&0x7fffffff
	switch {
	case x > 0x7f800000:
		return sign | 0x7e00
	case x >= 0x477ff000:
		return sign | 0x7c00
	case x >= 0x38800000:
		return sign | uint16((x-0x38000000+0xfff+x>>13&1)>>13)
	case x < 0x33000000:
		return sign
	}
	drop, digits := 126-x>>23, x&0x7fffff|0x800000
	return sign | uint16((digits+1<<(drop-1)-1+digits>>drop&1)>>drop)
}

// DecodeF32 widens little-endian elements of type d from src into dst.
// src must hold exactly len(dst) elements.
func DecodeF32(dst []float32, src []byte, d DType) error {
	if len(src) != len(dst)*d.Size() {
		return fmt.Errorf("tensor: %d bytes for %d elements of %s", len(src), len(dst), d)
	}
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = F32FromBF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = F32FromF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	default:
		return fmt.Errorf("tensor: %s is not a floating type", d)
	}
	return nil
}

// EncodeF32 appends src to dst as little-endian elements of type F32, BF16 or F16 (rounded to nearest, ties to even).
func EncodeF32(dst []byte, src []float32, d DType) []byte {
	for _, f := range src {
		switch d {
		case BF16:
			dst = binary.LittleEndian.AppendUint16(dst, BF16FromF32(f))
		case F16:
			dst = binary.LittleEndian.AppendUint16(dst, F16FromF32(f))
		default:
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(f))
		}
	}
	return dst
}

// Round rounds x to what a floating type d holds.
func Round(x []float32, d DType) error {
	if d == F32 {
		return nil
	}
	return DecodeF32(x, EncodeF32(nil, x, d), d)
}

// FirstNonFinite returns the index of the first NaN or infinity among the little-endian floats of type d in src,
// or -1. It looks at exponent bits only, so it costs one pass over memory.
func FirstNonFinite(src []byte, d DType) int {
	switch d {
	case F32:
		for i := 0; i+4 <= len(src); i += 4 {
			if src[i+3]&0x7f == 0x7f && src[i+2]&0x80 != 0 {
				return i / 4
			}
		}
	case BF16:
		for i := 0; i+2 <= len(src); i += 2 {
			if src[i+1]&0x7f == 0x7f && src[i]&0x80 != 0 {
				return i / 2
			}
		}
	case F16:
		for i := 0; i+2 <= len(src); i += 2 {
			if src[i+1]&0x7c == 0x7c {
				return i / 2
			}
		}
	}
	return -1
}
