package quant

// tiny is ggml's bound below which all values of a group count as zero.
const tiny = 1e-15

// encodeQ6_K makes a block of Q6_K: 256 values in 16 groups of 16, x = d·s·(q − 32) with codes q of 6 bits and a signed byte s for
// each group; d is a binary16 number of the whole block. The bytes are the low halves of the codes, their two high bits, the scales
// of the groups, and d. The source is ggml's quantize_row_q6_K_ref.
func encodeQ6_K(dst []byte, src []float32) {
	const groups, size = 16, 16
	var scales [groups]float32
	var codes [groups * size]byte
	for g := range groups {
		scales[g] = bestScale(src[g*size:(g+1)*size], codes[g*size:(g+1)*size])
	}
	low, high, groupScales, d := dst[:128], dst[128:192], dst[192:208], dst[208:]
	value, widest := extreme(scales[:])
	if widest < tiny {
		clear(dst)
		return
	}
	inverse := -128 / value
	putScale(d, 1/inverse)
	for g := range groups {
		s := int8(min(127, nearest(inverse*scales[g])))
		groupScales[g] = byte(s)
		step := scale(d) * float32(s)
		if step == 0 {
			continue
		}
		for i, v := range src[g*size : (g+1)*size] {
			codes[g*size+i] = byte(min(max(nearest(v/step), -32), 31) + 32)
		}
	}
	for half := range 2 {
		q, l, h := codes[half*128:], low[half*64:], high[half*32:]
		for i := range 32 {
			l[i] = q[i]&15 | q[i+64]<<4
			l[i+32] = q[i+32]&15 | q[i+96]<<4
			h[i] = q[i]>>4 | q[i+32]>>4<<2 | q[i+64]>>4<<4 | q[i+96]>>4<<6
		}
	}
}

// bestScale finds the scale s for which codes of −32 to 31 give the least squared error of x ≈ s·q, each value weighted by its own
// square. It tries 19 widths and solves the least-squares problem for the codes of each. The codes are stored from 0 to 63. The
// source is ggml's make_qx_quants.
func bestScale(x []float32, codes []byte) float32 {
	const half = 32
	value, largest := extreme(x)
	if largest < tiny {
		clear(codes)
		return 0
	}
	code := func(inverse, v float32) int { return min(max(nearest(inverse*v), -half), half-1) }
	sums := func(inverse float32) (sumXQ, sumQ2 float32) {
		for _, v := range x {
			q, w := float32(code(inverse, v)), float32(v*v)
			sumXQ += float32(float32(w*v) * q)
			sumQ2 += float32(float32(w*q) * q)
		}
		return sumXQ, sumQ2
	}
	take := func(inverse float32) {
		for i, v := range x {
			codes[i] = byte(code(inverse, v) + half)
		}
	}
	inverse := -half / value
	take(inverse)
	var s float32
	sumXQ, sumQ2 := sums(inverse)
	if sumQ2 != 0 {
		s = sumXQ / sumQ2
	}
	best := s * sumXQ
	for step := -9; step <= 9; step++ {
		if step == 0 {
			continue
		}
		inverse := -(half + float32(0.1*float32(step))) / value
		sumXQ, sumQ2 := sums(inverse)
		if sumQ2 > 0 && float32(sumXQ*sumXQ) > float32(best*sumQ2) {
			take(inverse)
			s = sumXQ / sumQ2
			best = s * sumXQ
		}
	}
	return s
}
