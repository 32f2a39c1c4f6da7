package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
)

type tanhDims struct{ N uint32 }

// Tanh is the hyperbolic tangent.
//
//	y = tanh x,   dx = dy · (1 − y²)
func Tanh(t *graph.Tape, x graph.Var) graph.Var {
	y, d := t.New(x.Shape), tanhDims{uint32(x.Shape.Size())}
	t.Launch(tanh, d, x, y)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { t.Launch(tanhBackward, d, dy, y, dx) })
	})
	return y
}

func tanhGrid(dims any, _ device.Params) [3]int { return perThread(int(dims.(tanhDims).N)) }

var tanh = &device.Kernel{
	Name: "tanh", Shader: "tanh", Entry: "forward",
	Bindings: in("x").out("y"),
	Grid:     tanhGrid,
	Ref: func(c *device.Call) {
		x, y := c.F(0), c.F(1)
		for i := range y {
			y[i] = math.Tanh(x[i])
		}
	},
}

var tanhBackward = &device.Kernel{
	Name: "tanh_backward", Shader: "tanh_backward", Entry: "backward",
	Bindings: in("dy", "y").out("dx"),
	Grid:     tanhGrid,
	Ref: func(c *device.Call) {
		dy, y, dx := c.F(0), c.F(1), c.F(2)
		for i := range dx {
			c.Put(dx, i, dy[i]*(1-y[i]*y[i]))
		}
	},
}
