package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type noiseDims struct{ N, Site uint32 }

// Noise adds uniform noise to x.
//
//	y = x + magnitude · u,   u[i] uniform in [−1, 1);   dx = dy
//
// magnitude (1) is I32: the bits of a float32, which the host writes with the batch. seed and site are those of Dropout: the
// noise depends on them alone, so a resumed run has the same noise.
func Noise(t *graph.Tape, x graph.Var, site uint32, seed, magnitude graph.Var) graph.Var {
	t.Want("Noise seed", seed, tensor.Of(2))
	t.Want("Noise magnitude", magnitude, tensor.Of(1))
	y := t.New(x.Shape)
	t.Launch(noise, noiseDims{uint32(x.Shape.Size()), site}, x, seed, magnitude, y)
	t.OnBackward(y, func(dy graph.Var) { giveGradient(t, x, dy) })
	return y
}

var noise = &device.Kernel{
	Name: "noise", Shader: "noise", Entry: "noise",
	Bindings: in("x", "seed", "magnitude").out("y"),
	Grid:     func(dims any, _ device.Params) [3]int { return perThread(int(dims.(noiseDims).N)) },
	Ref: func(c *device.Call) {
		d, x, seed, y := c.Dims.(noiseDims), c.F(0), c.U(1), c.F(3)
		magnitude := float64(math.Float32frombits(c.U(2)[0]))
		for i := range int(d.N) {
			u := float64(device.Random(seed[0], seed[1], d.Site, uint32(i))>>8)/(1<<23) - 1
			y[i] = x[i] + magnitude*u
		}
	},
}
