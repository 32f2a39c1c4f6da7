package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
)

type scaleDims struct {
	N uint32
	S float32
}

// Scale multiplies x by a constant.
//
//	y = s · x,   dx = s · dy
func Scale(t *graph.Tape, x graph.Var, s float32) graph.Var {
	y := t.New(x.Shape)
	launchScale(t, nil, x, y, s)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { launchScale(t, nil, dy, dx, s) })
	})
	return y
}

// AddTo launches sum += s · x. It has no gradient: it is for sums that outlive a step, such as the loss over micro-batches.
func AddTo(t *graph.Tape, x, sum graph.Var, s float32) {
	launchScale(t, device.Params{"ACCUMULATE": true}, x, sum, s)
}

func launchScale(t *graph.Tape, params device.Params, x, y graph.Var, s float32) {
	if x.Shape.Size() != y.Shape.Size() {
		graph.Fail("Scale: %q %v into %q %v", x.Name, x.Shape, y.Name, y.Shape)
	}
	t.LaunchWith(scale, params, scaleDims{uint32(x.Shape.Size()), s}, x, y)
}

// giveGradient makes g the gradient of x without a copy where that is possible, and otherwise adds it.
func giveGradient(t *graph.Tape, x, g graph.Var) {
	if !t.Alias(x, g) {
		t.Accumulate(x, func(dx graph.Var) { launchScale(t, nil, g, dx, 1) })
	}
}

var scale = &device.Kernel{
	Name: "scale", Shader: "scale", Entry: "scale",
	Bindings: in("x").out("y"),
	Grid:     func(dims any, _ device.Params) [3]int { return perThread(int(dims.(scaleDims).N)) },
	Ref: func(c *device.Call) {
		d, x, y := c.Dims.(scaleDims), c.F(0), c.F(1)
		for i := range int(d.N) {
			c.Put(y, i, float64(d.S)*x[i])
		}
	},
}
