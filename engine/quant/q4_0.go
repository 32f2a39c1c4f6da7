package quant

// A block of Q4_0 is a binary16 scale d and 32 codes q of 4 bits: x = d·(q − 8). Byte i holds q[i] in its low half and q[i+16] in
// its high half.

func decodeQ4_0(dst []float32, src []byte) {
	d := scale(src)
	for i, b := range src[2:] {
		dst[i] = float32(int(b&15)-8) * d
		dst[i+16] = float32(int(b>>4)-8) * d
	}
}

// encodeQ4_0 makes d so that the value of largest magnitude gets code 0, which is −8·d.
func encodeQ4_0(dst []byte, src []float32) {
	value, _ := extreme(src)
	d := value / -8
	by := inverse(d)
	putScale(dst, d)
	code := func(x float32) byte { return byte(min(15, int(float32(x*by)+8.5))) }
	for i := range 16 {
		dst[2+i] = code(src[i]) | code(src[i+16])<<4
	}
}
