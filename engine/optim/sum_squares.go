package optim

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

const (
	wg       = 64   // threads of a workgroup
	maxParts = 1024 // partial sums of a gradient, enough to fill a large adapter
	perPart  = 4096 // elements for each partial sum, at least
)

// Parts is how many partial sums SumSquares makes of n elements.
func Parts(n int) int { return min(device.CeilDiv(n, perPart), maxParts) }

// SumSquares launches the sums of squares of gradients and returns the partial sums, Parts(n) for a gradient of n elements.
// The norm of all gradients together is the root of their sum. The lengths alone determine the order of addition.
func SumSquares(t *graph.Tape, grads ...graph.Var) graph.Var {
	parts := make([]int, len(grads))
	all := 0
	for i, g := range grads {
		parts[i] = Parts(g.Shape.Size())
		all += parts[i]
	}
	if all == 0 {
		graph.Fail("SumSquares: no gradients")
	}
	partials := t.New(tensor.Of(all))
	first := 0
	for i, g := range grads {
		t.Launch(sumSquares, sumSquaresDims{uint32(g.Shape.Size()), uint32(parts[i]), uint32(first)}, g, partials)
		first += parts[i]
	}
	return partials
}

type sumSquaresDims struct{ N, P, First uint32 }

var sumSquares = &device.Kernel{
	Name: "sum_squares", Shader: "sum_squares", Entry: "sum_squares",
	Bindings: []device.Binding{{Name: "x", Packed: device.Either}, {Name: "partials", Access: device.Write}},
	Grid:     func(dims any, _ device.Params) [3]int { return device.Groups(int(dims.(sumSquaresDims).P)) },
	Ref: func(c *device.Call) {
		d, x, partials := c.Dims.(sumSquaresDims), c.F(0), c.F(1)
		mine := partials[d.First : d.First+d.P]
		clear(mine)
		for i, v := range x {
			mine[i/wg%len(mine)] += v * v
		}
	},
}
