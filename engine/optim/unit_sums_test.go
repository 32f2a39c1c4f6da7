package optim

import (
	"fmt"
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// The norms of each unit, of a step that is applied and of one that is not.
func TestUnits(t *testing.T) {
	for seed := range uint64(6) {
		r := enginetest.NewRand(seed)
		applied := seed%3 != 0
		lens := []int{r.Dim(1, 300), 4096 + r.Dim(1, 9000), r.Dim(1, 5000), r.Dim(1, 20)}
		starts := []int32{0, int32(Parts(lens[0])), int32(Parts(lens[0]) + Parts(lens[1]) + Parts(lens[2])), 0} // the middle two are one unit
		starts[3] = starts[2] + int32(Parts(lens[3]))
		scalars := Scalars{LR: 0.01, Tokens: 3, Step: 1, Beta1: torch.Beta1, Beta2: torch.Beta2}
		loss := float32(1)
		if !applied {
			loss = float32(math.Inf(1))
		}
		in := []enginetest.Input{floats(make([]float32, NumState)...), scalars.input(t), floats(loss), enginetest.Ints(starts, len(starts))}
		var grads, before [][]float64
		for _, n := range lens {
			g, p := r.Floats(n, 2), r.Floats(n, 1)
			in = append(in, floats(g...), floats(p...), floats(make([]float32, n)...), floats(make([]float32, n)...))
			grads, before = append(grads, widen(g)), append(before, widen(p))
		}
		cs := enginetest.Case{
			Name: fmt.Sprintf("seed %d", seed), In: in, NoGradient: true, Tol: enginetest.Tolerance{Rel: 1e-4, Abs: 1e-9},
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				state, scalars, loss, starts, rest := in[0], in[1], in[2], in[3], in[4:]
				var g, p []graph.Var
				for i := 0; i < len(rest); i += 4 {
					g, p = append(g, rest[i]), append(p, rest[i+1])
				}
				sums := t.New(tensor.Of(3, 3))
				gradients := SumSquares(t, g...)
				FinishNorm(t, gradients, loss, scalars, state, 1)
				for i := 0; i < len(rest); i += 4 {
					AdamW(t, rest[i+1], rest[i], rest[i+2], rest[i+3], scalars, state, torch)
				}
				UnitSums(t, gradients, SumSquares(t, g...), SumSquares(t, p...), starts, sums)
				return append([]graph.Var{state, sums}, p...)
			},
		}
		enginetest.Check(t, r, cs)
		for _, dev := range enginetest.Devices(t) {
			outs := enginetest.Outputs(t, dev, cs)
			raw := make([]float32, len(outs[1]))
			for i, v := range outs[1] {
				raw[i] = float32(v)
			}
			units, err := Units(tensor.EncodeF32(nil, raw, tensor.F32), stateOf(t, outs[0]), scalars.Tokens)
			if err != nil || len(units) != 3 {
				t.Fatal(len(units), err)
			}
			for u, slices := range [][]int{{0}, {1, 2}, {3}} {
				var want Unit
				for _, k := range slices {
					for i, p := range outs[2+k] {
						d := p - before[k][i]
						want.Grad, want.Weight, want.Update = want.Grad+grads[k][i]*grads[k][i]/9, want.Weight+p*p, want.Update+d*d
					}
				}
				for _, v := range [][2]float64{{units[u].Grad, want.Grad}, {units[u].Weight, want.Weight}, {units[u].Update, want.Update}} {
					if w := math.Sqrt(v[1]); math.Abs(v[0]-w) > 1e-4*w {
						t.Errorf("%s on %s: unit %d has a norm of %v, want %v", cs.Name, dev.Info().Backend, u, v[0], w)
					}
				}
				if applied == (want.Update == 0) {
					t.Errorf("applied %v, updates %v", applied, want.Update)
				}
			}
		}
	}
	if _, err := Units(make([]byte, 16), State{}, 1); err == nil {
		t.Error("sums that are not three a unit were accepted")
	}
}
