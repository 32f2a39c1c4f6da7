package quant

// A block of Q4_1 is two binary16 numbers, a scale d and a minimum m, and 32 codes q of 4 bits: x = d·q + m. Byte i holds q[i] in its
// low half and q[i+16] in its high half.

func decodeQ4_1(dst []float32, src []byte) {
	d, m := scale(src), scale(src[2:])
	for i, b := range src[4:] {
		dst[i] = float32(float32(b&15)*d) + m
		dst[i+16] = float32(float32(b>>4)*d) + m
	}
}
