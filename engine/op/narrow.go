package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

func init() {
	for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
		p := device.Params{"F16": d == tensor.F16}
		graph.RegisterFormat(d, graph.Format{
			Round:  graph.Conversion{Kernel: roundInPlace, Params: p},
			Keep:   graph.Conversion{Kernel: roundAndKeep, Params: p.With(device.Params{"KEEP": true})},
			Unpack: graph.Conversion{Kernel: unpack, Params: p},
		})
	}
}

// Pack launches y = x rounded to y's type, BF16 or F16: to the nearest, ties to even, a NaN made quiet. x is F32 and has
// as many elements.
func Pack(t *graph.Tape, x, y graph.Var) { launchNarrow(t, pack, x, y, x, y) }

// Unpack launches y = x widened, which is exact. x is BF16 or F16 and y F32 with as many elements.
func Unpack(t *graph.Tape, x, y graph.Var) { launchNarrow(t, unpack, x, y, y, x) }

func launchNarrow(t *graph.Tape, k *device.Kernel, x, y, wide, narrow graph.Var) {
	if wide.DType != tensor.F32 || narrow.DType.Size() != 2 || x.Shape.Size() != y.Shape.Size() {
		graph.Fail("%s: %q %s %v into %q %s %v", k.Name, x.Name, x.DType, x.Shape, y.Name, y.DType, y.Shape)
	}
	t.LaunchWith(k, device.Params{"F16": narrow.DType == tensor.F16}, graph.Elements{N: uint32(x.Shape.Size())}, x, y)
}

// A thread handles the two elements of a word.
func narrowGrid(dims any, _ device.Params) [3]int {
	return perThread(device.CeilDiv(int(dims.(graph.Elements).N), 2))
}

// narrowed is the number of two bytes that is nearest to v, taken as float32.
func narrowed(p device.Params, v float64) float64 {
	f := float32(v)
	if p.Bool("F16") {
		return float64(tensor.F32FromF16(tensor.F16FromF32(f)))
	}
	return float64(tensor.F32FromBF16(tensor.BF16FromF32(f)))
}

var pack = &device.Kernel{
	Name: "pack", Shader: "narrow", Entry: "pack",
	Bindings: in("x").out("y").words("y"), Grid: narrowGrid,
	Ref: func(c *device.Call) {
		for i, v := range c.F(0) {
			c.F(1)[i] = narrowed(c.Params, v)
		}
	},
}

var unpack = &device.Kernel{
	Name: "unpack", Shader: "narrow", Entry: "unpack",
	Bindings: in("x").out("y").words("x"), Grid: narrowGrid,
	Ref: func(c *device.Call) { copy(c.F(1), c.F(0)) },
}

var roundInPlace = &device.Kernel{
	Name: "round", Shader: "narrow_round", Entry: "round_all",
	Bindings: in().inout("x"), Grid: narrowGrid,
	Ref: func(c *device.Call) {
		for i, v := range c.F(0) {
			c.F(0)[i] = narrowed(c.Params, v)
		}
	},
}

// roundAndKeep also writes what it rounds packed.
var roundAndKeep = &device.Kernel{
	Name: "round_keep", Shader: "narrow_round", Entry: "round_all",
	Bindings: in().inout("x").out("y").words("y"), Grid: narrowGrid,
	Ref: func(c *device.Call) {
		roundInPlace.Ref(c)
		copy(c.F(1), c.F(0))
	},
}
