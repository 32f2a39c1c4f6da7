package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type bf16Dims struct{ N uint32 }

// PackBF16 launches y = x rounded to bfloat16: to the nearest, ties to even, a NaN kept and made quiet. x is F32 and
// y BF16 with as many elements, two in a word.
func PackBF16(t *graph.Tape, x, y graph.Var) { launchBF16(t, packBF16, x, y, tensor.F32, tensor.BF16) }

// UnpackBF16 launches y = x widened, which is exact. x is BF16 and y F32 with as many elements.
func UnpackBF16(t *graph.Tape, x, y graph.Var) {
	launchBF16(t, unpackBF16, x, y, tensor.BF16, tensor.F32)
}

func launchBF16(t *graph.Tape, k *device.Kernel, x, y graph.Var, from, to tensor.DType) {
	if x.DType != from || y.DType != to || x.Shape.Size() != y.Shape.Size() {
		graph.Fail("%s: %q %s %v into %q %s %v", k.Name, x.Name, x.DType, x.Shape, y.Name, y.DType, y.Shape)
	}
	t.Launch(k, bf16Dims{uint32(x.Shape.Size())}, x, y)
}

func bf16Grid(dims any, _ device.Params) [3]int {
	return perThread(device.CeilDiv(int(dims.(bf16Dims).N), 2))
}

var packBF16 = &device.Kernel{
	Name: "bf16_pack", Shader: "bf16", Entry: "pack",
	Bindings: in("x").out("y"),
	Grid:     bf16Grid,
	Ref: func(c *device.Call) {
		x, y := c.F(0), c.F(1)
		for i, v := range x {
			y[i] = float64(tensor.F32FromBF16(tensor.BF16FromF32(float32(v))))
		}
	},
}

var unpackBF16 = &device.Kernel{
	Name: "bf16_unpack", Shader: "bf16", Entry: "unpack",
	Bindings: in("x").out("y"),
	Grid:     bf16Grid,
	Ref:      func(c *device.Call) { copy(c.F(1), c.F(0)) },
}
