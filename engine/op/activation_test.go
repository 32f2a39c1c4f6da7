package op

import (
	"fmt"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestActivate(t *testing.T) {
	for _, a := range []Activation{SiLU, ReLU, GELU, Tanh} {
		t.Run(fmt.Sprint(int(a)), func(t *testing.T) {
			enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
				x := r.F(r.Dim(1, 20), r.Dim(1, 130))
				for i, v := range x.Floats { // a central difference is wrong across the bend of ReLU
					if v > -0.01 && v < 0.01 {
						x.Floats[i] = 0.5
					}
				}
				return enginetest.Case{
					In: []enginetest.Input{x}, Tol: enginetest.Elementwise,
					Fn: func(t *graph.Tape, in []graph.Var) []graph.Var { // once into the gradient of an input, once into a new one
						return []graph.Var{Activate(t, in[0], a), Activate(t, Scale(t, in[0], 3), a)}
					},
				}
			})
			r := enginetest.NewRand(1)
			extremes := r.F(8)
			copy(extremes.Floats, []float32{-1e30, -1000, -88, -6, 0, 6, 88, 1e30})
			enginetest.Check(t, r, enginetest.Case{
				Name: t.Name(), In: []enginetest.Input{extremes}, Tol: enginetest.Elementwise, NoGradient: true,
				Fn: func(t *graph.Tape, in []graph.Var) []graph.Var { return []graph.Var{Activate(t, in[0], a)} },
			})
		})
	}
}
