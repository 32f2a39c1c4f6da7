package quant

// Blocks of the K types hold 256 values in 8 groups of 32, or for Q6_K in 16 groups of 16. A group has a scale of few bits, which
// the binary16 scale of the block multiplies.
//
//	Q4_K: binary16 d and dmin; 12 bytes of 6-bit scales s and minima m; 4-bit codes q: x = (d·s)·q − dmin·m
//	Q5_K: the same with 32 bytes of fifth bits before the lower ones
//	Q6_K: 128 bytes of lower 4 bits, 64 of upper 2 bits, 16 signed bytes of scales s, binary16 d: x = d·s·(q − 32)

// groupScale is the scale and the minimum of group j of a Q4_K or Q5_K block. packed are the 12 bytes: the lower 6 bits of bytes 0 to 7
// are those of groups 0 to 3; bytes 8 to 11 hold the lower 4 bits of groups 4 to 7, whose upper 2 bits are the upper bits of bytes 0 to 7.
func groupScale(packed []byte, j int) (s, m byte) {
	if j < 4 {
		return packed[j] & 63, packed[j+4] & 63
	}
	return packed[j+4]&15 | packed[j-4]>>6<<4, packed[j+4]>>4 | packed[j]>>6<<4
}

func decodeQ4_K(dst []float32, src []byte) {
	d, least := scale(src), scale(src[2:])
	codes := src[16:]
	for j := 0; j < 8; j += 2 { // two groups share 32 bytes, one in the low halves and one in the high ones
		d1, m1 := groupFactors(d, least, src[4:16], j)
		d2, m2 := groupFactors(d, least, src[4:16], j+1)
		for i, b := range codes[16*j : 16*j+32] {
			dst[32*j+i] = float32(d1*float32(b&15)) - m1
			dst[32*j+32+i] = float32(d2*float32(b>>4)) - m2
		}
	}
}

func decodeQ5_K(dst []float32, src []byte) {
	d, least := scale(src), scale(src[2:])
	high, codes := src[16:48], src[48:]
	for j := 0; j < 8; j += 2 { // bit j of high[i] is the fifth bit of code i of group j
		d1, m1 := groupFactors(d, least, src[4:16], j)
		d2, m2 := groupFactors(d, least, src[4:16], j+1)
		for i, b := range codes[16*j : 16*j+32] {
			dst[32*j+i] = float32(d1*float32(b&15|high[i]>>j&1<<4)) - m1
			dst[32*j+32+i] = float32(d2*float32(b>>4|high[i]>>(j+1)&1<<4)) - m2
		}
	}
}

// groupFactors are the products d·s and dmin·m of a group.
func groupFactors(d, least float32, packed []byte, j int) (factor, minimum float32) {
	s, m := groupScale(packed, j)
	return d * float32(s), least * float32(m)
}

func decodeQ6_K(dst []float32, src []byte) {
	low, high, scales, d := src[:128], src[128:192], src[192:208], scale(src[208:])
	for half := range 2 { // 128 values: 64 bytes of lower bits, 32 of upper bits, 8 scales
		l, h, s, x := low[64*half:], high[32*half:], scales[8*half:], dst[128*half:]
		for i := range 32 {
			codes := [4]byte{l[i]&15 | h[i]&3<<4, l[i+32]&15 | h[i]>>2&3<<4, l[i]>>4 | h[i]>>4&3<<4, l[i+32]>>4 | h[i]>>6<<4}
			for quarter, q := range codes {
				factor := d * float32(int8(s[i/16+2*quarter]))
				x[32*quarter+i] = factor * float32(int(q)-32)
			}
		}
	}
}
