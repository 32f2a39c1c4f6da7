package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type dropoutDims struct {
	N, Site, Threshold uint32
	Scale              float32
}

// Dropout zeroes each element with probability p and scales what remains, so that the mean stays.
//
//	y = x · mask / (1−p),   mask[i] = 1 where random(seed, site, i) ≥ p·2³², else 0;   dx = dy · mask / (1−p)
//
// seed is two U32: the run's seed mixed with the step, and the micro-batch. site is the number of the dropout in the model.
// The mask depends on nothing else, so the backward pass, a recomputed checkpoint and a resumed run get the same mask.
// p = 0 is x itself.
func Dropout(t *graph.Tape, x graph.Var, p float32, site uint32, seed graph.Var) graph.Var {
	if p == 0 {
		return x
	}
	if !(p > 0 && p < 1) {
		graph.Fail("Dropout: probability %v is not in [0, 1)", p)
	}
	t.Want("Dropout seed", seed, tensor.Of(2))
	d := dropoutDims{uint32(x.Shape.Size()), site, uint32(math.Round(float64(p) * (1 << 32))), float32(1 / (1 - float64(p)))}
	y := t.New(x.Shape)
	t.Launch(dropout, d, x, seed, y)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { t.Launch(dropout, d, dy, seed, dx) })
	})
	return y
}

var dropout = &device.Kernel{
	Name: "dropout", Shader: "dropout", Entry: "dropout",
	Bindings: in("x", "seed").out("y"),
	Grid:     func(dims any, _ device.Params) [3]int { return perThread(int(dims.(dropoutDims).N)) },
	Ref: func(c *device.Call) {
		d, x, seed, y := c.Dims.(dropoutDims), c.F(0), c.U(1), c.F(2)
		for i := range int(d.N) {
			v := 0.0
			if device.Random(seed[0], seed[1], d.Site, uint32(i)) >= d.Threshold {
				v = x[i] * float64(d.Scale)
			}
			c.Put(y, i, v)
		}
	},
}
