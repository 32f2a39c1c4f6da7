package quant

import "math"

// nearest rounds to the nearest whole number, halves to the even one, as ggml's nearest_int does.
func nearest(x float32) int { return int(math.RoundToEven(float64(x))) }

// encodeQ4_K makes a block of Q4_K: 256 values in 8 groups of 32, x = d·s·q − m·t with codes q of 4 bits and, for each group, a
// scale s and a minimum t of 6 bits; d and m are binary16 numbers of the whole block.
//
// Each group first finds its best scale and minimum as float32 (bestRange). Those are rounded to 6 bits, and the codes are made
// again with what the rounding left. The source is ggml's quantize_row_q4_K_ref.
func encodeQ4_K(dst []byte, src []float32) {
	const groups, size = 8, 32
	var scales, mins [groups]float32
	var codes [groups * size]byte
	var largestScale, largestMin float32
	for g := range groups {
		x := src[g*size : (g+1)*size]
		var squares float32
		for _, v := range x {
			squares += float32(v * v)
		}
		spread := float32(math.Sqrt(float64(squares / size)))
		var weights [size]float32
		for i, v := range x {
			weights[i] = spread + float32(math.Abs(float64(v)))
		}
		scales[g], mins[g] = bestRange(x, weights[:], codes[g*size:(g+1)*size])
		largestScale, largestMin = max(largestScale, scales[g]), max(largestMin, mins[g])
	}
	putScale(dst, largestScale/63)
	putScale(dst[2:], largestMin/63)
	packed := dst[4:16]
	clear(packed)
	for g := range groups {
		s, t := inSixBits(scales[g], largestScale), inSixBits(mins[g], largestMin)
		if g < 4 {
			packed[g], packed[g+4] = packed[g]|s, packed[g+4]|t
		} else {
			packed[g+4] = s&15 | t<<4
			packed[g-4] |= s >> 4 << 6
			packed[g] |= t >> 4 << 6
		}
		d, m := scale(dst)*float32(s), scale(dst[2:])*float32(t)
		if d == 0 {
			continue
		}
		for i, v := range src[g*size : (g+1)*size] {
			codes[g*size+i] = byte(min(max(nearest((v+m)/d), 0), 15))
		}
	}
	for g := 0; g < groups; g += 2 {
		for i := range size {
			dst[16+g*size/2+i] = codes[g*size+i] | codes[(g+1)*size+i]<<4
		}
	}
}

// inSixBits is x as a multiple of largest/63.
func inSixBits(x, largest float32) byte {
	if largest <= 0 {
		return 0
	}
	return byte(min(63, nearest(63/largest*x)))
}

// bestRange finds the scale s and the minimum −m for which codes of 0 to 15 give the least weighted squared error of x ≈ s·q − m. It
// starts with the range of x, then tries 21 other widths and solves the least-squares problem for the codes of each. The source is
// ggml's make_qkx2_quants.
func bestRange(x, weights []float32, codes []byte) (s, m float32) {
	const most = 15
	low, high := x[0], x[0]
	var sumW, sumX float32
	for i, v := range x {
		low, high = min(low, v), max(high, v)
		sumW += weights[i]
		sumX += float32(weights[i] * v)
	}
	low = min(low, 0)
	if low == high {
		clear(codes)
		return 0, -low
	}
	code := func(by, v float32) int { return min(max(nearest(by*(v-low)), 0), most) }
	by := most / (high - low)
	s = 1 / by
	var best float32
	for i, v := range x {
		q := code(by, v)
		codes[i] = byte(q)
		off := float32(s*float32(q)) + low - v
		best += float32(weights[i] * float32(off*off))
	}
	tried := make([]byte, len(x))
	for step := range 21 {
		by := (-1 + float32(0.1*float32(step)) + most) / (high - low) // low is that of the best try so far, as in ggml
		var sumQ, sumQ2, sumXQ float32
		for i, v := range x {
			q := code(by, v)
			tried[i] = byte(q)
			wq := float32(weights[i] * float32(q))
			sumQ += wq
			sumQ2 += float32(wq * float32(q))
			sumXQ += float32(wq * v)
		}
		det := float32(sumW*sumQ2) - float32(sumQ*sumQ)
		if det <= 0 {
			continue
		}
		newS := (float32(sumW*sumXQ) - float32(sumX*sumQ)) / det
		newLow := (float32(sumQ2*sumX) - float32(sumQ*sumXQ)) / det
		if newLow > 0 {
			newLow, newS = 0, sumXQ/sumQ2
		}
		var wrong float32
		for i, v := range x {
			off := float32(newS*float32(tried[i])) + newLow - v
			wrong += float32(weights[i] * float32(off*off))
		}
		if wrong < best {
			copy(codes, tried)
			best, s, low = wrong, newS, newLow
		}
	}
	return s, -low
}
