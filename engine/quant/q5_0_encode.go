package quant

import "encoding/binary"

// encodeQ5_0 makes a block of Q5_0: a binary16 scale d, a word with the fifth bits of the 32 codes, and the codes' low halves as in
// Q4_0. x = d·(q − 16), and the value of largest magnitude gets code 0.
func encodeQ5_0(dst []byte, src []float32) {
	value, _ := extreme(src)
	d := value / -16
	by := inverse(d)
	putScale(dst, d)
	code := func(x float32) byte { return byte(min(31, int(float32(x*by)+16.5))) }
	var high uint32
	for i := range 16 {
		low, up := code(src[i]), code(src[i+16])
		dst[6+i] = low&15 | up<<4
		high |= uint32(low>>4)<<i | uint32(up>>4)<<(i+16)
	}
	binary.LittleEndian.PutUint32(dst[2:], high)
}
