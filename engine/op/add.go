package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
)

type addDims struct{ N uint32 }

// Add adds two tensors of the same shape, as a residual connection does.
//
//	z = x + y,   dx = dz,   dy = dz
//
// The gradients are dz itself wherever nothing else flows into x or y.
func Add(t *graph.Tape, x, y graph.Var) graph.Var {
	t.Want("Add", y, x.Shape)
	z := t.New(x.Shape)
	t.Launch(add, addDims{uint32(x.Shape.Size())}, x, y, z)
	t.OnBackward(z, func(dz graph.Var) {
		giveGradient(t, x, dz)
		giveGradient(t, y, dz)
	})
	return z
}

var add = &device.Kernel{
	Name: "add", Shader: "add", Entry: "add",
	Bindings: in("x", "y").out("z"),
	Grid:     func(dims any, _ device.Params) [3]int { return perThread(int(dims.(addDims).N)) },
	Ref: func(c *device.Call) {
		d, x, y, z := c.Dims.(addDims), c.F(0), c.F(1), c.F(2)
		for i := range int(d.N) {
			z[i] = x[i] + y[i]
		}
	},
}
