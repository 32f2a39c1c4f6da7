package op

import (
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
)

func TestScatter(t *testing.T) {
	enginetest.Shapes(t, func(r *enginetest.Rand) enginetest.Case {
		B, cacheLen, C := r.Dim(1, 5), r.Dim(1, 20), r.Dim(1, 70)
		rows := 1 + r.IntN(cacheLen)
		position := make([]int32, B*rows)
		for n := range position {
			position[n] = int32(n%rows + cacheLen - rows)
		}
		position[0] = []int32{0, -1, int32(cacheLen)}[r.IntN(3)]
		return enginetest.Case{
			In:         []enginetest.Input{r.F(B*rows, C), r.F(B*cacheLen, C), enginetest.Ints(position, B*rows)},
			NoGradient: true,
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				cache := Scale(t, in[1], 1) // an input must not be changed in place
				Scatter(t, in[0], cache, in[2], cacheLen)
				return []graph.Var{cache}
			},
		}
	})
}
