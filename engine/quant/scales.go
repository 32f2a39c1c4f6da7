package quant

import (
	"math"
	"slices"
	"sync"
)

// Double quantisation keeps the scales a of NF4 in 8 bits. Their mean is subtracted. What is left is cut into blocks of 256 with a
// float32 scale s = max|a − mean| and codes: a = dynamicMap[code]·s + mean. The mean is summed in float64.

// scaleValues is the number of scales in a block.
const scaleValues = 256

// dynamicMap are the 256 values of bitsandbytes' signed dynamic type in ascending order (Dettmers et al. 2022, arXiv:2110.02861):
// for i = 0 … 6 the middles of 2^i equal parts of [0.1, 1], times 10^(i−6), with both signs, and 0 and 1. All steps are rounded to
// float32. The parts are cut as by the scalar code of torch.linspace; its vector code differs in the last bit of some values.
var dynamicMap = sync.OnceValue(func() []float32 {
	values := []float32{0, 1}
	for i, power := range []float32{1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1} {
		parts := 1 << i
		const from, to float32 = 0.1, 1
		step := (to - from) / float32(parts)
		cut := func(k int) float32 {
			if k < (parts+1)/2 {
				return from + float32(step*float32(k))
			}
			return to - float32(step*float32(parts-k))
		}
		for k := range parts {
			middle := float32(cut(k)+cut(k+1)) / 2
			values = append(values, power*middle, -power*middle)
		}
	}
	slices.Sort(values)
	return values
})

// encodeScales returns the code of each scale, the scale of each block of scales, and the mean.
func encodeScales(scales []float32) (codes []byte, seconds []float32, mean float32) {
	sum := 0.0
	for _, a := range scales {
		sum += float64(a)
	}
	mean = float32(sum / float64(len(scales)))
	codes = make([]byte, 0, len(scales))
	for block := range slices.Chunk(scales, scaleValues) {
		var largest float32
		for _, a := range block {
			largest = max(largest, float32(math.Abs(float64(a-mean))))
		}
		seconds = append(seconds, largest)
		by := inverse(largest)
		for _, a := range block {
			codes = append(codes, dynamicCode(float32(a-mean)*by))
		}
	}
	return codes, seconds, mean
}

// dynamicCode is the index of the value of dynamicMap that is nearest to x, the lower one of two that are equally near.
func dynamicCode(x float32) byte {
	table := dynamicMap()
	i, _ := slices.BinarySearch(table, x)
	i = min(i, len(table)-1)
	if i > 0 && x-table[i-1] <= table[i]-x {
		i--
	}
	return byte(i)
}
