package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestPrepend(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		B, P, T, C := r.Dim(1, 5), r.Dim(1, 9), r.Dim(1, 17), r.Dim(1, 40)
		return enginetest.Case{
			In:  []enginetest.Input{r.F(P, C), r.F(B*T, C)},
			Tol: enginetest.Reduce(B),
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				y := Prepend(t, in[0], in[1], B)
				return []graph.Var{y, WithoutFirst(t, y, B, P), Prepend(t, in[0], in[1], B)}
			},
		}
	})
}

// WithoutFirst is the inverse of Prepend.
func TestPrependIsUndone(t *testing.T) {
	const B, P, T, C = 3, 2, 5, 7
	r := enginetest.NewRand(1)
	rows, x := r.Frozen(P, C), r.Frozen(B*T, C)
	for _, dev := range enginetest.Devices(t) {
		y := enginetest.Outputs(t, dev, enginetest.Case{
			In: []enginetest.Input{rows, x}, NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				return []graph.Var{WithoutFirst(t, Prepend(t, in[0], in[1], B), B, P)}
			},
		})[0]
		if msg := enginetest.Exact.Compare(y, wide(x.Floats)); msg != "" {
			t.Errorf("%s: %s", dev.Info().Backend, msg)
		}
	}
}
