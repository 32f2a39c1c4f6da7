package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

type scaleColumnsDims struct{ N, C uint32 }

type columnDotsDims struct{ N, C, P uint32 }

// ScaleColumns scales each column of x by a factor of its own.
//
//	y[n,c] = x[n,c] · w[c],   dx[n,c] = dy[n,c] · w[c],   dw[c] = Σ_n dy[n,c] · x[n,c]
//
// Shapes: x (…,C), w of C elements → y like x.
func ScaleColumns(t *graph.Tape, x, w graph.Var) graph.Var {
	N, C := x.Dim2()
	if w.Shape.Size() != C {
		graph.Fail("ScaleColumns: %q %v by %q %v", x.Name, x.Shape, w.Name, w.Shape)
	}
	d := scaleColumnsDims{uint32(N), uint32(C)}
	y := t.New(x.Shape)
	t.Launch(scaleColumns, d, x, w, y)
	t.OnBackward(y, func(dy graph.Var) {
		t.Accumulate(x, func(dx graph.Var) { t.Launch(scaleColumns, d, dy, w, dx) })
		t.Accumulate(w, func(dw graph.Var) {
			P := min(N, 32) // shares of the rows that are summed side by side
			parts := t.New(tensor.Of(P, C))
			t.Launch(columnDots, columnDotsDims{d.N, d.C, uint32(P)}, dy, x, parts)
			t.Launch(sumRows, sumRowsDims{uint32(P), d.C}, parts, dw)
		})
	})
	return y
}

var scaleColumns = &device.Kernel{
	Name: "scale_columns", Shader: "scale_columns", Entry: "scale",
	Bindings: in("x", "w").out("y"),
	Grid: func(dims any, _ device.Params) [3]int {
		d := dims.(scaleColumnsDims)
		return perThread(int(d.N * d.C))
	},
	Ref: func(c *device.Call) {
		d, x, w, y := c.Dims.(scaleColumnsDims), c.F(0), c.F(1), c.F(2)
		for i := range int(d.N * d.C) {
			c.Put(y, i, x[i]*w[i%int(d.C)])
		}
	},
}

var columnDots = &device.Kernel{
	Name: "column_dots", Shader: "scale_columns_backward", Entry: "dots",
	Bindings: in("x", "y").out("parts"),
	Grid: func(dims any, _ device.Params) [3]int {
		d := dims.(columnDotsDims)
		return perThread(int(d.P * d.C))
	},
	Ref: func(c *device.Call) {
		d, x, y, parts := c.Dims.(columnDotsDims), c.F(0), c.F(1), c.F(2)
		C, P := int(d.C), int(d.P)
		clear(parts)
		for n := range int(d.N) {
			for i := range C {
				parts[n%P*C+i] += x[n*C+i] * y[n*C+i]
			}
		}
	},
}
