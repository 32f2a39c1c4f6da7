package optim

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// AdamWConfig is the settings of a run. torch's defaults are 0.9, 0.999, 1e-8 and 0.01.
type AdamWConfig struct {
	Beta1, Beta2 float64
	Eps          float64
	WeightDecay  float64 // per unit of learning rate, decoupled from the gradient
	LRScale      float64 // on the learning rate of these weights; 1 changes nothing
	// First and Site enter the random numbers of stochastic rounding. First is the index of the first weight in its site.
	First, Site uint32
}

// AdamW launches one update of p and its moments m and v from the gradient g, once FinishNorm has filled the state.
//
//	g ← g · factor,   m ← β1·m + (1−β1)·g,   v ← β2·v + (1−β2)·g²
//	p ← p − lr·decay·p − lr/(1−β1ᵗ) · m / (√v/√(1−β2ᵗ) + eps)
//
// Afterwards g holds the change of p. Shapes: p, g, m, v equal, scalars (NumScalars), state (NumState). A step that is not
// applied changes none of them. Loshchilov & Hutter 2019, arXiv:1711.05101, with eps where torch.optim.AdamW adds it.
//
// A BF16 p is rounded stochastically: up with the probability (p − below)/(above − below). The random number depends only
// on Scalars.Number, First, Site and the element.
func AdamW(t *graph.Tape, p, g, m, v, scalars, state graph.Var, c AdamWConfig) {
	for _, x := range []graph.Var{g, m, v} {
		t.Want("AdamW", x, p.Shape)
	}
	wantBuffers(t, "AdamW", scalars, state)
	d := adamwDims{
		N: uint32(p.Shape.Size()), Beta1: float32(c.Beta1), Rest1: float32(1 - c.Beta1), Beta2: float32(c.Beta2), Rest2: float32(1 - c.Beta2),
		Eps: float32(c.Eps), Decay: float32(c.WeightDecay), LRScale: float32(c.LRScale), First: c.First, Site: c.Site,
	}
	kernel := adamw
	switch p.DType {
	case tensor.F32:
	case tensor.BF16:
		kernel = adamwPacked
	default:
		graph.Fail("AdamW: %q is %s", p.Name, p.DType)
	}
	t.Launch(kernel, d, scalars, state, g, p, m, v)
}

type adamwDims struct {
	N                          uint32
	Beta1, Rest1, Beta2, Rest2 float32 // Rest is 1−β, rounded only once
	Eps, Decay, LRScale        float32
	First, Site                uint32
}

var adamw = &device.Kernel{
	Name: "adamw", Shader: "adamw", Entry: "adamw",
	Bindings: []device.Binding{
		{Name: "scalars"}, {Name: "state"},
		{Name: "g", Access: device.Update}, {Name: "p", Access: device.Update}, {Name: "m", Access: device.Update}, {Name: "v", Access: device.Update},
	},
	Grid: func(dims any, _ device.Params) [3]int {
		return device.Groups(device.CeilDiv(int(dims.(adamwDims).N), wg))
	},
	Ref: func(c *device.Call) { adamwRef(c, func(_ int, p float64) float64 { return p }) },
}

var adamwPacked = &device.Kernel{
	Name: "adamw_packed", Shader: "adamw_packed", Entry: "adamw",
	Bindings: []device.Binding{
		{Name: "scalars"}, {Name: "state"}, {Name: "g", Access: device.Update},
		{Name: "p", Access: device.Update, Packed: device.Words}, {Name: "m", Access: device.Update}, {Name: "v", Access: device.Update},
	},
	Grid: func(dims any, _ device.Params) [3]int {
		return device.Groups(device.CeilDiv(device.CeilDiv(int(dims.(adamwDims).N), 2), wg))
	},
	Ref: func(c *device.Call) {
		d, number := c.Dims.(adamwDims), math.Float32bits(float32(c.F(0)[scalarNumber]))
		adamwRef(c, func(i int, p float64) float64 {
			chance := device.Random(number, d.Site, d.First+uint32(i), 0) & 0xffff
			return float64(tensor.F32FromBF16(uint16((math.Float32bits(float32(p)) + chance) >> 16)))
		})
	},
}

// adamwRef updates all elements. store rounds the new value of weight i to the stored type.
func adamwRef(c *device.Call, store func(i int, p float64) float64) {
	d, scalars, state, g, p, m, v := c.Dims.(adamwDims), c.F(0), c.F(1), c.F(2), c.F(3), c.F(4), c.F(5)
	if state[stateApplied] == 0 {
		return
	}
	pair := scalars[scalarCorrections+2*int(state[statePair]):]
	lr := scalars[scalarLR] * float64(d.LRScale)
	for i := range p {
		dp := g[i] * state[stateFactor]
		m[i] = float64(d.Beta1)*m[i] + float64(d.Rest1)*dp
		v[i] = float64(d.Beta2)*v[i] + float64(d.Rest2)*dp*dp
		next := store(i, p[i]-lr*(float64(d.Decay)*p[i]+pair[0]*m[i]/(math.Sqrt(v[i])*pair[1]+float64(d.Eps))))
		g[i], p[i] = next-p[i], next
	}
}
