package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type sumDims struct{ N uint32 }

// Sum launches out = Σ x, of all elements, by one workgroup in a fixed order. It has no gradient itself.
//
// Shapes: x any, out (1).
func Sum(t *graph.Tape, x, out graph.Var) {
	t.Want("Sum", out, tensor.Of(1))
	t.Launch(sum, sumDims{uint32(x.Shape.Size())}, x, out)
}

var sum = &device.Kernel{
	Name: "sum", Shader: "sum", Entry: "sum",
	Bindings: in("x").out("out"),
	Grid:     func(any, device.Params) [3]int { return [3]int{1, 1, 1} },
	Ref: func(c *device.Call) {
		total := 0.0
		for _, v := range c.F(0) {
			total += v
		}
		c.Put(c.F(1), 0, total)
	},
}
