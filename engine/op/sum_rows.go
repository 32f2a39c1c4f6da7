package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type sumRowsDims struct{ N, C uint32 }

// SumRows launches out[c] = Σ_n x[n,c], which is the gradient of a row that was added to all rows. It has no gradient
// itself.
//
// Shapes: x (…,C), out (C).
func SumRows(t *graph.Tape, x, out graph.Var) {
	N, C := x.Dim2()
	t.Want("SumRows", out, tensor.Of(C))
	t.Launch(sumRows, sumRowsDims{uint32(N), uint32(C)}, x, out)
}

var sumRows = &device.Kernel{
	Name: "sum_rows", Shader: "sum_rows", Entry: "sum_rows",
	Bindings: in("x").out("out"),
	Grid:     func(dims any, _ device.Params) [3]int { return perThread(int(dims.(sumRowsDims).C)) },
	Ref: func(c *device.Call) {
		d, x, out := c.Dims.(sumRowsDims), c.F(0), c.F(1)
		for i := range int(d.C) {
			sum := 0.0
			for n := range int(d.N) {
				sum += x[n*int(d.C)+i]
			}
			c.Put(out, i, sum)
		}
	},
}
