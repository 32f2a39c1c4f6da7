package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestSwiGLU(t *testing.T) {
	for _, c := range []struct {
		name              string
		gateTrains, train bool
	}{{"both", true, true}, {"gate only", true, false}, {"up only", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
				N, F := r.Dim(1, 20), r.Dim(1, 130)
				gate, up := r.F(N, F), r.F(N, F)
				gate.Frozen, up.Frozen = !c.gateTrains, !c.train
				return enginetest.Case{
					In:  []enginetest.Input{gate, up},
					Tol: enginetest.Elementwise,
					Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
						return []graph.Var{SwiGLU(t, in[0], in[1])}
					},
				}
			})
		})
	}
}

// TestSwiGLUSelf gates a tensor by itself. Its gradients are added to others that exist already or are new.
func TestSwiGLUSelf(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		N := r.Dim(1, 200)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(N), r.F(N)},
			Tol: enginetest.Elementwise,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				g, u := Scale(t, in[0], 2), Scale(t, in[1], 2)
				y := Scale(t, g, 3) // walked first or last: g holds a gradient when the other does not, or the reverse
				return []graph.Var{Add(t, SwiGLU(t, g, u), y), SwiGLU(t, u, u), Scale(t, u, -1)}
			},
		}
	})
}

// TestSwiGLUExtremes has inputs for which e⁻ˣ leaves the range of f32.
func TestSwiGLUExtremes(t *testing.T) {
	r := enginetest.NewRand(1)
	gate, up := r.F(8), r.F(8)
	copy(gate.Floats, []float32{-1e30, -1000, -100, -88, 0, 88, 1000, 1e6})
	enginetest.Check(t, r, enginetest.Case{
		Name: t.Name(), In: []enginetest.Input{gate, up}, Tol: enginetest.Elementwise, NoGradient: true,
		Fn: func(t *graph.Tape, in []graph.Var) []graph.Var { return []graph.Var{SwiGLU(t, in[0], in[1])} },
	})
}
