package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type ropeDims struct {
	N, Heads, Half, P uint32
	Sign              float32 // 1 rotates forward, −1 back
}

// RoPE rotates the heads of each row of x, in place, by angles that grow with the row's position. Element j of a
// head is paired with element j + headDim/2, as in Hugging Face's rotate_half:
//
//	x[j]    ← x[j]·cos − x[j+h]·sin
//	x[j+h]  ← x[j+h]·cos + x[j]·sin     h = headDim/2,  (cos, sin) = table[positions[n], j]
//
// Shapes: x (…,heads·headDim) with N rows in all, table (P,h,2) as RopeTable makes it, positions (N) of type I32.
// The gradient is rotated back by the same angles, also in place. Su et al. 2021, arXiv:2104.09864.
func RoPE(t *graph.Tape, x, table, positions graph.Var, heads, headDim int) {
	N, C := x.Dim2()
	if headDim < 2 || headDim%2 != 0 || C != heads*headDim {
		graph.Fail("RoPE: %d heads of %d in rows of %d", heads, headDim, C)
	}
	if t.Grad(x) != nil {
		graph.Fail("RoPE: %q trains and cannot be changed in place", x.Name)
	}
	P := table.Shape[0]
	t.Want("RoPE", table, tensor.Of(P, headDim/2, 2))
	if positions.Shape.Size() != N {
		graph.Fail("RoPE: positions %v for %d rows", positions.Shape, N)
	}
	rotate := func(x graph.Var, sign float32) {
		t.Launch(ropeRotate, ropeDims{uint32(N), uint32(heads), uint32(headDim / 2), uint32(P), sign}, table, positions, x)
	}
	rotate(x, 1)
	t.OnBackward(x, func(graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { rotate(dx, -1) })
	})
}

// RopeTable is RoPE's table for the positions from, from+1, …: cosine and sine of position·invFreq[j], both times
// attentionScale (1 but for some long-context scalings). The angle is rounded to float32 first, as the models'
// reference implementation does, because at far positions that rounding is larger than the error of cos and sin.
func RopeTable(invFreq []float64, attentionScale float32, from, positions int) []float32 {
	table := make([]float32, 0, positions*len(invFreq)*2)
	for p := from; p < from+positions; p++ {
		for _, f := range invFreq {
			sin, cos := math.Sincos(float64(float32(p) * float32(f)))
			table = append(table, float32(cos)*attentionScale, float32(sin)*attentionScale)
		}
	}
	return table
}

var ropeRotate = &device.Kernel{
	Name: "rope", Shader: "rope", Entry: "rotate",
	Bindings: in("table", "positions").inout("x"),
	Grid: func(dims any, _ device.Params) [3]int {
		d := dims.(ropeDims)
		return perThread(int(d.N) * int(d.Heads*d.Half))
	},
	Ref: func(c *device.Call) {
		d, table, positions, x := c.Dims.(ropeDims), c.F(0), c.U(1), c.F(2)
		half := int(d.Half)
		for n := range int(d.N) {
			angles := table[min(max(int(int32(positions[n])), 0), int(d.P)-1)*half*2:]
			for h := range int(d.Heads) {
				head := x[(n*int(d.Heads)+h)*half*2:][:half*2]
				for j := range half {
					cos, sin := angles[2*j], angles[2*j+1]*float64(d.Sign)
					a, b := head[j], head[j+half]
					head[j], head[j+half] = a*cos-b*sin, b*cos+a*sin
				}
			}
		}
	},
}
