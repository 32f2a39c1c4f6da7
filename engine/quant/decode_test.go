package quant

import (
	"math/rand/v2"
	"testing"

	"llamatab/engine/tensor"
)

// half is the binary16 number at offset i of a block.
func half(b []byte, i int) float32 { return tensor.F32FromF16(uint16(b[i]) | uint16(b[i+1])<<8) }

// nibble is the 4-bit code of value v, where byte i of codes holds those of values i and i+apart.
func nibble(codes []byte, v, apart int) float32 {
	b := codes[v/(2*apart)*apart+v%apart]
	return float32(b >> (v / apart % 2 * 4) & 15)
}

// bit is bit n of a byte string, as a number.
func bit(b []byte, n int) float32 { return float32(b[n/8] >> (n % 8) & 1) }

// sixBits unpacks the 6-bit scales and minima of Q4_K and Q5_K into one number each.
func sixBits(p []byte) (s, m [8]float32) {
	for j := range 4 {
		s[j], m[j] = float32(p[j]%64), float32(p[j+4]%64)
		s[j+4], m[j+4] = float32(p[j+8]%16+p[j]/64*16), float32(p[j+8]/16+p[j+4]/64*16)
	}
	return s, m
}

// The blocks of each type mean what the format says of a single value.
func TestDecodeValueByValue(t *testing.T) {
	formulas := map[Type]func(b []byte, v int) float32{
		Q4_0: func(b []byte, v int) float32 { return half(b, 0) * (nibble(b[2:], v, 16) - 8) },
		Q4_1: func(b []byte, v int) float32 { return float32(half(b, 0)*nibble(b[4:], v, 16)) + half(b, 2) },
		Q5_0: func(b []byte, v int) float32 { return half(b, 0) * (nibble(b[6:], v, 16) + 16*bit(b[2:], v) - 16) },
		Q5_1: func(b []byte, v int) float32 {
			return float32(half(b, 0)*(nibble(b[8:], v, 16)+16*bit(b[4:], v))) + half(b, 2)
		},
		Q8_0: func(b []byte, v int) float32 { return half(b, 0) * float32(int8(b[2+v])) },
		Q4_K: func(b []byte, v int) float32 {
			s, m := sixBits(b[4:16])
			return float32(float32(half(b, 0)*s[v/32])*nibble(b[16:], v, 32)) - float32(half(b, 2)*m[v/32])
		},
		Q5_K: func(b []byte, v int) float32 {
			s, m := sixBits(b[4:16])
			q := nibble(b[48:], v, 32) + 16*bit(b[16:], v%32*8+v/32)
			return float32(float32(half(b, 0)*s[v/32])*q) - float32(half(b, 2)*m[v/32])
		},
		Q6_K: func(b []byte, v int) float32 {
			h, in := v/128, v%128
			q := nibble(b[64*h:64*h+64], in, 64) + float32(b[128+32*h+in%32]>>(in/32*2)&3)*16
			return float32(half(b, 208)*float32(int8(b[192+v/16]))) * (q - 32)
		},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for kind, formula := range formulas {
		values, size := kind.Block()
		block, got := make([]byte, size), make([]float32, values)
		for range 200 {
			for i := range block {
				block[i] = byte(random.Uint32())
			}
			for _, at := range map[Type][]int{Q4_1: {0, 2}, Q5_1: {0, 2}, Q4_K: {0, 2}, Q5_K: {0, 2}, Q6_K: {208}, Q4_0: {0}, Q5_0: {0}, Q8_0: {0}}[kind] {
				block[at+1] &^= 0x40 // no infinity, no NaN
			}
			if err := Decode(got, block, kind); err != nil {
				t.Fatal(err)
			}
			for v, x := range got {
				if want := formula(block, v); x != want {
					t.Fatalf("%v %x: value %d is %v, want %v", kind, block, v, x, want)
				}
			}
		}
	}
}
