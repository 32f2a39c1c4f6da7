package op

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
)

// ScaleRows launches w[i,:] *= factor[i], in place. It has no gradient: it is for merging.
//
// Shapes: w (M,N), factor of M elements.
func ScaleRows(t *graph.Tape, w, factor graph.Var) { scaleInPlace(t, w, factor, 1) }

// ScaleColumnsInPlace launches w[:,j] *= factor[j], in place. It has no gradient: it is for merging.
//
// Shapes: w (M,N), factor of N elements.
func ScaleColumnsInPlace(t *graph.Tape, w, factor graph.Var) { scaleInPlace(t, w, factor, 0) }

type scaleMatrixDims struct{ M, N, Rows uint32 }

func scaleInPlace(t *graph.Tape, w, factor graph.Var, rows int) {
	M, N := w.Dim2()
	if factor.Shape.Size() != []int{N, M}[rows] {
		graph.Fail("scaling %q %v by %q %v", w.Name, w.Shape, factor.Name, factor.Shape)
	}
	t.Launch(scaleMatrix, scaleMatrixDims{uint32(M), uint32(N), uint32(rows)}, factor, w)
}

var scaleMatrix = &device.Kernel{
	Name: "scale_matrix", Shader: "scale_matrix", Entry: "scale",
	Bindings: in("factor").inout("w"),
	Grid: func(dims any, _ device.Params) [3]int {
		d := dims.(scaleMatrixDims)
		return perThread(int(d.M * d.N))
	},
	Ref: func(c *device.Call) {
		d, factor, w := c.Dims.(scaleMatrixDims), c.F(0), c.F(1)
		for i := range w {
			if d.Rows == 1 {
				w[i] *= factor[i/int(d.N)]
			} else {
				w[i] *= factor[i%int(d.N)]
			}
		}
	},
}
