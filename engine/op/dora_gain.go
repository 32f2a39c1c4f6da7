package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

type doraDims struct {
	O, I, R uint32
	S       float32
}

// DoRAGain computes the factors by which DoRA scales the outputs of an adapted projection. The rows of the scaled weight
// have the norms m.
//
//	gain = m / ‖W + s·B·A‖,   dm = dgain / ‖W + s·B·A‖,   ‖·‖ the norm of each row
//
// The norm counts as a constant, so this op gives W, A and B no gradient (Liu et al. 2024, arXiv:2402.09353, §4.3). It is
// computed from W·Aᵀ and A·Aᵀ, which needs no further matrix of W's size:
//
//	‖w + s·b·A‖² = ‖w‖² + b·(2s·A·wᵀ + s²·A·Aᵀ·bᵀ)   for a row w of W and b of B
//
// Shapes: w (out,in), a (r,in), b (out,r), m of out elements → (out).
func DoRAGain(t *graph.Tape, w, a, b, m graph.Var, s float32) graph.Var {
	O, I := w.Dim2()
	R, _ := a.Dim2()
	wantRows("DoRAGain", a, R, I)
	wantRows("DoRAGain", b, O, R)
	if m.Shape.Size() != O {
		graph.Fail("DoRAGain: %q has shape %v, want %d elements", m.Name, m.Shape, O)
	}
	aw, aa := t.New(tensor.Of(R, O)), t.New(tensor.Of(R, R))
	matmulNT(t, a, w, aw, 1, false)
	matmulNT(t, a, a, aa, 1, false)
	inv, gain := t.New(tensor.Of(O)), t.New(tensor.Of(O))
	t.Launch(doraGain, doraDims{uint32(O), uint32(I), uint32(R), s}, w, b, aw, aa, m, inv, gain)
	t.OnBackward(gain, func(dgain graph.Var) {
		t.Accumulate(m, func(dm graph.Var) { t.Launch(scaleColumns, scaleColumnsDims{1, uint32(O)}, dgain, inv, dm) })
	})
	return gain
}

var doraGain = &device.Kernel{
	Name: "dora_gain", Shader: "dora_gain", Entry: "forward",
	Bindings: in("w", "b", "aw", "aa", "m").out("inv", "gain").either("w"),
	Grid:     func(dims any, _ device.Params) [3]int { return device.Groups(int(dims.(doraDims).O)) },
	Variants: rowVariants,
	Sample: func(any) (any, []int) {
		return doraDims{5, 97, 3, 0.5}, []int{5 * 97, 5 * 3, 3 * 5, 3 * 3, 5, 5, 5}
	},
	SamplePacked: func(small any, lengths []int, p device.Params, random func() float32) (any, []int, map[int][]byte) {
		format := quantization(p, "W")
		if format == quant.Plain {
			return small, lengths, nil
		}
		data := packedRandom(format, 6, 96, random)
		return doraDims{6, 96, 3, 0.5}, []int{len(data) / 4, 6 * 3, 3 * 6, 3 * 3, 6, 6, 6}, map[int][]byte{0: data}
	},
	Ref: func(c *device.Call) {
		d, b, aw, aa, m, inv, gain := c.Dims.(doraDims), c.F(1), c.F(2), c.F(3), c.F(4), c.F(5), c.F(6)
		O, I, R, s := int(d.O), int(d.I), int(d.R), float64(d.S)
		w := unpacked(c, 0, "W", O, I)
		for o := range O {
			row := w[o*I : (o+1)*I]
			sum := dot(row, row)
			for j := range R {
				sum += b[o*R+j] * s * (2*aw[j*O+o] + s*dot(aa[j*R:(j+1)*R], b[o*R:(o+1)*R]))
			}
			inv[o] = 1 / math.Sqrt(sum)
			gain[o] = m[o] * inv[o]
		}
	},
}
