package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
)

type scatterDims struct{ N, C, Rows, Len uint32 }

// Scatter writes rows of x into a cache that holds cacheLen rows for each batch row, in place:
//
//	cache[b·cacheLen + position[n]] = x[n],   b = n / (N/B)
//
// N/B is the number of new rows of each batch row: 1 when a token was generated, more when a prompt is read.
// Positions outside the cache are not written. It has no gradient.
//
// Shapes: x (N,C), cache (B·cacheLen,C), position (N) of type I32.
func Scatter(t *graph.Tape, x, cache, position graph.Var, cacheLen int) {
	N, C := x.Dim2()
	rows, cols := cache.Dim2()
	if cacheLen < 1 || rows%cacheLen != 0 || cols != C || N%(rows/cacheLen) != 0 || position.Shape.Size() != N {
		graph.Fail("Scatter: %v at positions %v into %v of %d rows each", x.Shape, position.Shape, cache.Shape, cacheLen)
	}
	perBatch := N / (rows / cacheLen)
	t.Launch(scatter, scatterDims{uint32(N), uint32(C), uint32(perBatch), uint32(cacheLen)}, x, position, cache)
}

var scatter = &device.Kernel{
	Name: "scatter", Shader: "scatter", Entry: "scatter",
	Bindings: in("x", "position").inout("cache"),
	Grid: func(dims any, _ device.Params) [3]int {
		d := dims.(scatterDims)
		return perThread(int(d.N) * int(d.C))
	},
	Ref: func(c *device.Call) {
		d, x, position, cache := c.Dims.(scatterDims), c.F(0), c.U(1), c.F(2)
		C := int(d.C)
		for n := range int(d.N) {
			if position[n] < d.Len {
				copy(cache[(n/int(d.Rows)*int(d.Len)+int(position[n]))*C:][:C], x[n*C:])
			}
		}
	},
}
