package quant

import "encoding/binary"

// Blocks of Q5_0 and Q5_1 hold 32 codes q of 5 bits. Four bytes hold the fifth bits, that of q[i] in bit i of a little-endian number.
// Behind them byte i holds the lower bits of q[i] in its low half and those of q[i+16] in its high half.
//
//	Q5_0: a binary16 scale d before the codes, x = d·(q − 16)
//	Q5_1: a binary16 scale d and minimum m before the codes, x = d·q + m

func decodeQ5_0(dst []float32, src []byte) {
	d := scale(src)
	fiveBits(src[2:], func(i int, q byte) { dst[i] = float32(int(q)-16) * d })
}

func decodeQ5_1(dst []float32, src []byte) {
	d, m := scale(src), scale(src[2:])
	fiveBits(src[4:], func(i int, q byte) { dst[i] = float32(float32(q)*d) + m })
}

// fiveBits calls code for the 32 codes of a block.
func fiveBits(src []byte, code func(i int, q byte)) {
	high := binary.LittleEndian.Uint32(src)
	for i, b := range src[4:20] {
		code(i, b&15|byte(high>>i&1)<<4)
		code(i+16, b>>4|byte(high>>(i+16)&1)<<4)
	}
}
