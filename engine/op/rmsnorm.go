package op

import (
	"math"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type rmsnormDims struct {
	N, C uint32
	Eps  float32
	P    uint32 // parts that the weight's gradient is summed in
}

// RMSNorm scales each row of x to unit root mean square, then by w.
//
//	y[n,c] = w[c] · x[n,c] · rstd[n],   rstd[n] = 1/√(mean_c x[n,c]² + eps)
//
// Shapes: x (…,C), w (C) → y like x, with N rows in all. Saves rstd (N) for the backward pass.
// Zhang & Sennrich 2019, arXiv:1910.07467.
func RMSNorm(t *graph.Tape, x, w graph.Var, eps float32) graph.Var {
	N, C := x.Dim2()
	return rmsNorm(t, x, w, eps, N, C)
}

// RMSNormHeads is RMSNorm of each head by itself, all with one weight, as Qwen3 norms queries and keys.
//
// Shapes: x (…,heads·D), w (D) → y like x. Qwen3 Technical Report 2025, arXiv:2505.09388.
func RMSNormHeads(t *graph.Tape, x, w graph.Var, heads int, eps float32) graph.Var {
	N, C := x.Dim2()
	if heads < 1 || C%heads != 0 {
		graph.Fail("RMSNormHeads: %d heads in rows of %d", heads, C)
	}
	return rmsNorm(t, x, w, eps, N*heads, C/heads)
}

// rmsNorm norms N rows of C numbers, however x's shape spells them.
func rmsNorm(t *graph.Tape, x, w graph.Var, eps float32, N, C int) graph.Var {
	t.Want("RMSNorm", w, tensor.Of(C))
	y, rstd := t.New(x.Shape), t.New(tensor.Of(N))
	d := rmsnormDims{uint32(N), uint32(C), eps, uint32(min(N, 32))}
	t.Launch(rmsnormForward, d, x, w, y, rstd)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { t.Launch(rmsnormBackwardX, d, dy, x, w, rstd, dx) })
		t.Accumulate(w, func(dw graph.Var) {
			parts := t.New(tensor.Of(int(d.P), C))
			t.Launch(rmsnormBackwardW, d, dy, x, w, rstd, parts)
			SumRows(t, parts, dw)
		})
	})
	return y
}

var rmsnormForward = &device.Kernel{
	Name: "rmsnorm_forward", Shader: "rmsnorm", Entry: "forward",
	Bindings: in("x", "w").out("y", "rstd"),
	Grid:     func(dims any, _ device.Params) [3]int { return device.Groups(int(dims.(rmsnormDims).N)) },
	Variants: rowVariants,
	Sample:   func(any) (any, []int) { return rmsnormDims{5, 97, 1e-5, 1}, []int{5 * 97, 97, 5 * 97, 5} },
	Ref: func(c *device.Call) {
		d, x, w, y, rstd := c.Dims.(rmsnormDims), c.F(0), c.F(1), c.F(2), c.F(3)
		for n := range int(d.N) {
			row, sum := x[n*int(d.C):(n+1)*int(d.C)], 0.0
			for _, v := range row {
				sum += v * v
			}
			rstd[n] = 1 / math.Sqrt(sum/float64(d.C)+float64(d.Eps))
			for i, v := range row {
				y[n*int(d.C)+i] = w[i] * v * rstd[n]
			}
		}
	},
}

var rmsnormBackwardX = &device.Kernel{
	Name: "rmsnorm_backward_x", Shader: "rmsnorm_backward", Entry: "backward_x",
	Bindings: in("dy", "x", "w", "rstd").out("dx"),
	Grid:     func(dims any, _ device.Params) [3]int { return device.Groups(int(dims.(rmsnormDims).N)) },
	Variants: rowVariants,
	Sample:   func(any) (any, []int) { return rmsnormDims{5, 97, 1e-5, 1}, []int{5 * 97, 5 * 97, 97, 5, 5 * 97} },
	Ref: func(c *device.Call) {
		d, dy, x, w, rstd, dx := c.Dims.(rmsnormDims), c.F(0), c.F(1), c.F(2), c.F(3), c.F(4)
		C := int(d.C)
		for n := range int(d.N) {
			dot := 0.0
			for i := range C {
				dot += w[i] * dy[n*C+i] * x[n*C+i]
			}
			mean := dot / float64(C) * rstd[n] * rstd[n]
			for i := range C {
				c.Put(dx, n*C+i, rstd[n]*(w[i]*dy[n*C+i]-x[n*C+i]*mean))
			}
		}
	},
}

var rmsnormBackwardW = &device.Kernel{
	Name: "rmsnorm_backward_w", Shader: "rmsnorm_backward", Entry: "backward_w",
	Bindings: in("dy", "x", "w", "rstd").out("parts"),
	Grid: func(dims any, _ device.Params) [3]int {
		return perThread(int(dims.(rmsnormDims).P * dims.(rmsnormDims).C))
	},
	Ref: func(c *device.Call) {
		d, dy, x, rstd, parts := c.Dims.(rmsnormDims), c.F(0), c.F(1), c.F(3), c.F(4)
		C, P := int(d.C), int(d.P)
		clear(parts)
		for n := range int(d.N) {
			for i := range C {
				parts[n%P*C+i] += dy[n*C+i] * x[n*C+i] * rstd[n]
			}
		}
	},
}
