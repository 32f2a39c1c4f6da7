package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
)

type swigluDims struct{ N uint32 }

// SwiGLU gates one projection by another.
//
//	y = silu(gate) · up,   silu(g) = g·σ(g),   σ(g) = 1/(1+e⁻ᵍ)
//	dgate = dy · up · σ(gate) · (1 + gate·(1−σ(gate))),   dup = dy · silu(gate)
//
// Shapes: gate, up, y (…,F). Shazeer 2020, arXiv:2002.05202.
func SwiGLU(t *graph.Tape, gate, up graph.Var) graph.Var {
	t.Want("SwiGLU", up, gate.Shape)
	y := t.New(gate.Shape)
	d := swigluDims{uint32(gate.Shape.Size())}
	t.Launch(swigluForward, d, gate, up, y)
	t.OnBackward(y, func(dy graph.Var) {
		backward := func(dgate, dup graph.Var) { t.Launch(swigluBackward, d, dy, gate, up, dgate, dup) }
		// One launch computes both. An unwanted one is written to a temporary, as for a frozen projection.
		switch both := gate != up && gate.WantsGrad() && up.WantsGrad(); {
		case both:
			t.Accumulate(gate, func(dgate graph.Var) {
				t.Accumulate(up, func(dup graph.Var) { backward(dgate, dup) })
			})
		default:
			t.Accumulate(gate, func(dgate graph.Var) { backward(dgate, t.New(up.Shape)) })
			t.Accumulate(up, func(dup graph.Var) { backward(t.New(gate.Shape), dup) })
		}
	})
	return y
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

var swigluForward = &device.Kernel{
	Name: "swiglu_forward", Shader: "swiglu", Entry: "forward",
	Bindings: in("gate", "up").out("y"),
	Grid:     func(dims any, _ device.Params) [3]int { return perThread(int(dims.(swigluDims).N)) },
	Ref: func(c *device.Call) {
		d, gate, up, y := c.Dims.(swigluDims), c.F(0), c.F(1), c.F(2)
		for i := range int(d.N) {
			y[i] = gate[i] * sigmoid(gate[i]) * up[i]
		}
	},
}

var swigluBackward = &device.Kernel{
	Name: "swiglu_backward", Shader: "swiglu_backward", Entry: "backward",
	Bindings: in("dy", "gate", "up").out("dgate", "dup"),
	Grid:     func(dims any, _ device.Params) [3]int { return perThread(int(dims.(swigluDims).N)) },
	Ref: func(c *device.Call) {
		d, dy, gate, up, dgate, dup := c.Dims.(swigluDims), c.F(0), c.F(1), c.F(2), c.F(3), c.F(4)
		for i := range int(d.N) {
			g, s := gate[i], sigmoid(gate[i])
			c.Put(dgate, i, dy[i]*up[i]*s*(1+g*(1-s)))
			c.Put(dup, i, dy[i]*g*s)
		}
	},
}
