package quant

import "slices"

// NF4 is bitsandbytes' type of 4 bits (Dettmers et al. 2023, "QLoRA", arXiv:2305.14314). A matrix is flattened row by row and cut
// into blocks of 64 values. A block has a scale a = max|x| and codes of 4 bits: x = nf4Levels[code]·a. The scales are float32, or
// with double quantisation they are codes of 8 bits themselves (scales.go).

// nf4Values is the number of values in a block of NF4.
const nf4Values = 64

// nf4Levels are the quantiles of the normal distribution that the codes 0 to 15 stand for.
var nf4Levels = [16]float32{
	-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
}

// nf4Bounds lie half-way between neighbouring levels. A value above bound i has a code above i.
var nf4Bounds = [15]float32{
	-0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984, -0.13791173323988914, -0.045525018125772476,
	0.03979014977812767, 0.1202552504837513, 0.2035212516784668, 0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011,
}

// encodeNF4 packs a block, two codes in a byte, the first in the low half. (bitsandbytes' files have the first in the high half.)
// A block of zeros gets the code 0, as there.
func encodeNF4(codes []byte, x []float32) (scale float32) {
	if _, scale = extreme(x); scale == 0 {
		clear(codes)
		return 0
	}
	by := 1 / scale
	code := func(v float32) byte {
		i, _ := slices.BinarySearch(nf4Bounds[:], v*by) // the number of bounds below it
		return byte(i)
	}
	for i := range codes {
		codes[i] = code(x[2*i]) | code(x[2*i+1])<<4
	}
	return scale
}
