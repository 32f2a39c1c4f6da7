package quant

import "math"

// Int8 is bitsandbytes' type of 8 bits, row by row and symmetric (Dettmers et al. 2022, "LLM.int8()", arXiv:2208.07339, without its
// outlier columns). A row has a scale a = max|x| and signed bytes q = x·127/a, rounded half to even: x = q·a·inverse127.

// inverse127 is the float32 that bitsandbytes multiplies by to undo the 127.
const inverse127 float32 = 0.007874015718698502

// encodeInt8 packs a row.
func encodeInt8(codes []byte, x []float32) (scale float32) {
	if _, scale = extreme(x); scale == 0 {
		clear(codes)
		return 0
	}
	factor := 127 / scale
	for i, v := range x {
		codes[i] = byte(int8(math.RoundToEven(float64(float32(v * factor)))))
	}
	return scale
}
