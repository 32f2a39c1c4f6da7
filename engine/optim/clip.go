package optim

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

const (
	wg       = 64   // threads of a workgroup
	maxParts = 1024 // partial sums of a gradient, enough to fill a large adapter
	perPart  = 4096 // elements that are worth a workgroup
)

// Parts is how many partial sums SumSquares makes of n elements.
func Parts(n int) int { return min(device.CeilDiv(n, perPart), maxParts) }

// SumSquares launches the sums of squares of gradients, each in as many parts as its length asks for, and returns all
// parts: the norm of all gradients together is the root of their sum. The order of adding is fixed by the lengths.
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

// FinishNorm launches what comes between gradients and update.
//
//	norm = √(Σ partials) · scale,   clip = min(1, maxNorm/(norm + 1e-6)), or 1 where maxNorm is 0
//
// It writes state (NumState) as State reads it. A step whose norm or loss sum is not finite is not applied: AdamW
// then leaves everything as it is.
//
// Shapes: partials any, loss (1), scalars (NumScalars). torch.nn.utils.clip_grad_norm_ has the same 1e-6.
func FinishNorm(t *graph.Tape, partials, loss, scalars, state graph.Var, maxNorm float64) {
	t.Want("FinishNorm loss", loss, tensor.Of(1))
	wantBuffers(t, "FinishNorm", scalars, state)
	t.Launch(finishNorm, finishNormDims{N: uint32(partials.Shape.Size()), MaxNorm: float32(maxNorm)}, partials, loss, scalars, state)
}

func wantBuffers(t *graph.Tape, op string, scalars, state graph.Var) {
	t.Want(op+" scalars", scalars, tensor.Of(NumScalars))
	t.Want(op+" state", state, tensor.Of(NumState))
}

type sumSquaresDims struct{ N, P, First uint32 }

var sumSquares = &device.Kernel{
	Name: "sum_squares", Shader: "sumsquares", Entry: "sum_squares",
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

type finishNormDims struct {
	N        uint32
	MaxNorm  float32
	Patience float32 // steps after which the loss scale is doubled
	Most     float32 // loss scale
}

var finishNorm = &device.Kernel{
	Name: "finish_norm", Shader: "finish_norm", Entry: "finish_norm",
	Bindings: []device.Binding{{Name: "partials"}, {Name: "loss"}, {Name: "scalars"}, {Name: "state", Access: device.Update}},
	Grid:     func(any, device.Params) [3]int { return [3]int{1, 1, 1} },
	Ref:      func(c *device.Call) { finishNormRef(c, 1) },
}

// finishNormRef is for gradients that are scale times those of the loss.
func finishNormRef(c *device.Call, scale float64) {
	d, partials, loss, scalars, state := c.Dims.(finishNormDims), c.F(0), c.F(1)[0], c.F(2), c.F(3)
	total := 0.0
	for _, v := range partials {
		total += v
	}
	toMean := scalars[scalarScale] / scale
	norm, clip, applied, skipped := math.Sqrt(total)*toMean, 1.0, 1.0, 0.0
	if d.MaxNorm > 0 {
		clip = min(1, float64(d.MaxNorm)/(norm+1e-6))
	}
	if math.IsNaN(norm-norm) || math.IsNaN(loss-loss) { // ∞−∞ and NaN−NaN
		clip, applied, skipped = 0, 0, 1
	}
	state[stateNorm], state[stateClip], state[stateApplied] = norm, clip, applied
	state[statePair] = min(max(state[stateSkipped]-scalars[scalarKnownSkips], 0), 1)
	state[stateSkipped] += skipped
	state[stateLoss], state[stateFactor] = loss, clip*toMean
}
