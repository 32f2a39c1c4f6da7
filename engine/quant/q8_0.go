package quant

import "math"

// A block of Q8_0 is a binary16 scale d and 32 signed bytes q: x = d·q.

func decodeQ8_0(dst []float32, src []byte) {
	d := scale(src)
	for i := range dst {
		dst[i] = float32(int8(src[2+i])) * d
	}
}

// encodeQ8_0 makes d = max|x|/127 and rounds x/d half away from zero. The division uses d before it is rounded to binary16.
func encodeQ8_0(dst []byte, src []float32) {
	_, largest := extreme(src)
	d := largest / 127
	by := inverse(d)
	putScale(dst, d)
	for i, x := range src {
		dst[2+i] = byte(int8(math.Round(float64(float32(x * by)))))
	}
}
