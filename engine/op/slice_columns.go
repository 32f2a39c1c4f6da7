package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type sliceColumnsDims struct{ N, W, C, From uint32 }

// SliceColumns takes neighbouring columns of a matrix.
//
//	y[n,c] = x[n, from+c],   dx[n, from+c] = dy[n,c]
//
// Shapes: x (N,W) → y (N,C).
func SliceColumns(t *graph.Tape, x graph.Var, from, C int) graph.Var {
	N, W := x.Dim2()
	if from < 0 || C < 1 || from+C > W {
		graph.Fail("SliceColumns: columns %d to %d of %q %v", from, from+C, x.Name, x.Shape)
	}
	d := sliceColumnsDims{uint32(N), uint32(W), uint32(C), uint32(from)}
	y := t.New(tensor.Of(N, C))
	t.Launch(sliceColumns, d, x, y)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { t.Launch(sliceColumnsBackward, d, dy, dx) })
	})
	return y
}

func sliceColumnsGrid(dims any, _ device.Params) [3]int {
	d := dims.(sliceColumnsDims)
	return perThread(int(d.N * d.C))
}

// each calls f with every element's index in the part and in the whole.
func (d sliceColumnsDims) each(f func(part, whole int)) {
	for n := range int(d.N) {
		for c := range int(d.C) {
			f(n*int(d.C)+c, n*int(d.W)+int(d.From)+c)
		}
	}
}

var sliceColumns = &device.Kernel{
	Name: "slice_columns", Shader: "slice_columns", Entry: "forward",
	Bindings: in("x").out("y"),
	Grid:     sliceColumnsGrid,
	Ref: func(c *device.Call) {
		x, y := c.F(0), c.F(1)
		c.Dims.(sliceColumnsDims).each(func(part, whole int) { y[part] = x[whole] })
	},
}

// sliceColumnsBackward changes the gradient in place, since the other columns get nothing.
var sliceColumnsBackward = &device.Kernel{
	Name: "slice_columns_backward", Shader: "slice_columns", Entry: "backward",
	Bindings: in("dy").inout("dx"),
	Grid:     sliceColumnsGrid,
	Ref: func(c *device.Call) {
		dy, dx := c.F(0), c.F(1)
		c.Dims.(sliceColumnsDims).each(func(part, whole int) { dx[whole] += dy[part] })
	},
}
