package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
)

// Activation is an elementwise nonlinearity.
type Activation int

// The activations, as torch.nn.functional computes them.
const (
	SiLU Activation = iota // x·σ(x)
	ReLU                   // max(x, 0)
	GELU                   // x·Φ(x), Φ(x) = (1 + erf(x/√2))/2, not the approximation by tanh
	Tanh
)

type activationDims struct{ N uint32 }

// Activate applies an activation.
//
//	y = f(x),   dx = dy · f′(x)
//
//	SiLU: f′ = σ·(1 + x·(1−σ)),   ReLU: f′ = 1 where x > 0, else 0,   GELU: f′ = Φ + x·e^(−x²/2)/√(2π),   Tanh: f′ = 1 − y²
func Activate(t *graph.Tape, x graph.Var, a Activation) graph.Var {
	y, d, params := t.New(x.Shape), activationDims{uint32(x.Shape.Size())}, device.Params{"KIND": int(a)}
	t.LaunchWith(activation, params, d, x, y)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { t.LaunchWith(activationBackward, params, d, dy, x, dx) })
	})
	return y
}

func activationGrid(dims any, _ device.Params) [3]int { return perThread(int(dims.(activationDims).N)) }

// at is f(x) and f′(x).
func (a Activation) at(x float64) (y, slope float64) {
	switch a {
	case SiLU:
		s := sigmoid(x)
		return x * s, s * (1 + x*(1-s))
	case ReLU:
		if x > 0 {
			return x, 1
		}
		return 0, 0
	case GELU:
		phi := (1 + math.Erf(x/math.Sqrt2)) / 2
		return x * phi, phi + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	}
	y = math.Tanh(x)
	return y, 1 - y*y
}

var activation = &device.Kernel{
	Name: "activation", Shader: "activation", Entry: "forward",
	Bindings: in("x").out("y"),
	Grid:     activationGrid,
	Ref: func(c *device.Call) {
		a, x, y := Activation(c.Params.Int("KIND", 0)), c.F(0), c.F(1)
		for i := range y {
			y[i], _ = a.at(x[i])
		}
	},
}

var activationBackward = &device.Kernel{
	Name: "activation_backward", Shader: "activation_backward", Entry: "backward",
	Bindings: in("dy", "x").out("dx"),
	Grid:     activationGrid,
	Ref: func(c *device.Call) {
		a, dy, x, dx := Activation(c.Params.Int("KIND", 0)), c.F(0), c.F(1), c.F(2)
		for i := range dx {
			_, slope := a.at(x[i])
			c.Put(dx, i, dy[i]*slope)
		}
	},
}
