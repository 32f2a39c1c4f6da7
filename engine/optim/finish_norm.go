package optim

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// FinishNorm launches the computation of the gradient norm and the clipping factor.
//
//	norm = √(Σ partials) · scale,   clip = min(1, maxNorm/(norm + 1e-6)), or 1 where maxNorm is 0
//
// It writes state (NumState), which State decodes. A step whose norm or loss sum is not finite is not applied: AdamW then
// changes nothing.
//
// Shapes: partials any, loss (1), scalars (NumScalars). torch.nn.utils.clip_grad_norm_ has the same 1e-6.
func FinishNorm(t *graph.Tape, partials, loss, scalars, state graph.Var, maxNorm float64) {
	t.Want("FinishNorm loss", loss, tensor.Of(1))
	wantBuffers(t, "FinishNorm", scalars, state)
	t.Launch(finishNorm, finishNormDims{N: uint32(partials.Shape.Size()), MaxNorm: float32(maxNorm)}, partials, loss, scalars, state)
}

// FinishScaledNorm is FinishNorm for gradients that are scale[0] times those of the loss. It also updates the loss scale.
//
// Shapes: scale (NumScale).
func FinishScaledNorm(t *graph.Tape, partials, loss, scalars, state, scale graph.Var, maxNorm float64) {
	t.Want("FinishScaledNorm loss", loss, tensor.Of(1))
	t.Want("FinishScaledNorm scale", scale, tensor.Of(NumScale))
	wantBuffers(t, "FinishScaledNorm", scalars, state)
	t.LaunchWith(finishScaledNorm, device.Params{"SCALED": true}, finishNormDims{uint32(partials.Shape.Size()), float32(maxNorm), scalePatience, mostScale},
		partials, loss, scalars, state, scale)
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

// finishNormRef computes FinishNorm for gradients that are scale times those of the loss.
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

var finishScaledNorm = &device.Kernel{
	Name: "finish_scaled_norm", Shader: "finish_norm", Entry: "finish_norm",
	Bindings: append(finishNorm.Bindings[:4:4], device.Binding{Name: "scale", Access: device.Update}),
	Grid:     finishNorm.Grid,
	Ref: func(c *device.Call) {
		d, loss, state, scale := c.Dims.(finishNormDims), c.F(1)[0], c.F(3), c.F(4)
		finishNormRef(c, scale[0])
		state[stateOverflow] = 0
		switch applied := state[stateApplied] != 0; {
		case applied:
			scale[1]++
		case !math.IsNaN(loss-loss) && scale[0] > 1:
			state[stateOverflow] = 1
			scale[0], scale[1] = scale[0]/2, 0
			scale[2]++
		}
		if scale[1] >= float64(d.Patience) {
			scale[0], scale[1] = min(2*scale[0], float64(d.Most)), 0
		}
	},
}
