package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type addBiasDims struct{ N, C uint32 }

// AddBias adds the same row to each row of y, in place. No op before it may read y in its backward pass.
//
//	y[n,c] += b[c],   db[c] = Σ_n dy[n,c]
//
// Shapes: y (…,C), b (C).
func AddBias(t *graph.Tape, y, b graph.Var) {
	N, C := y.Dim2()
	t.Want("AddBias", b, tensor.Of(C))
	t.Launch(addBias, addBiasDims{uint32(N), uint32(C)}, b, y)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(b, func(db graph.Var) { SumRows(t, dy, db) })
	})
}

var addBias = &device.Kernel{
	Name: "add_bias", Shader: "add_bias", Entry: "add",
	Bindings: in("b").inout("y"),
	Grid: func(dims any, _ device.Params) [3]int {
		d := dims.(addBiasDims)
		return perThread(int(d.N * d.C))
	},
	Ref: func(c *device.Call) {
		b, y := c.F(0), c.F(1)
		for i := range y {
			y[i] += b[i%len(b)]
		}
	},
}
