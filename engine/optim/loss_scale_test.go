package optim

import (
	"math"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// TestLossScale follows a scale through steps that are well, that it makes overflow, and that are unsound without it.
func TestLossScale(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		name           string
		before, after  LossScale
		gradient, loss float32
		applied, lost  bool
	}{
		{"well", LossScale{64, 3, 1}, LossScale{64, 4, 1}, 32, 2, true, false},
		{"doubled", LossScale{64, scalePatience - 1, 1}, LossScale{128, 0, 1}, 32, 2, true, false},
		{"doubled no more", LossScale{mostScale, scalePatience - 1, 0}, LossScale{mostScale, 0, 0}, 32, 2, true, false},
		{"overflow", LossScale{64, 3, 1}, LossScale{32, 0, 2}, inf, 2, false, true},
		{"unsound loss", LossScale{64, 3, 1}, LossScale{64, 3, 1}, inf, inf, false, false},
		{"unsound gradient", LossScale{1, 3, 1}, LossScale{1, 3, 1}, inf, 2, false, false},
	} {
		scale := make([]float32, NumScale)
		if err := tensor.DecodeF32(scale, c.before.Bytes(), tensor.F32); err != nil {
			t.Fatal(err)
		}
		scalars := Scalars{LR: 1, Tokens: 4, Step: 1}
		e := enginetest.Case{
			Name: c.name, NoGradient: true, Tol: enginetest.Exact,
			In: []enginetest.Input{floats(c.gradient, 0), floats(c.loss), scalars.input(t), floats(make([]float32, NumState)...), floats(scale...)},
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				FinishScaledNorm(t, SumSquares(t, in[0]), in[1], in[2], in[3], in[4], 0)
				return []graph.Var{snapshot(t, in[3]), snapshot(t, in[4])}
			},
		}
		for _, dev := range enginetest.Devices(t) {
			out := enginetest.Outputs(t, dev, e)
			var bytes [2][]byte
			for i, x := range out {
				f := make([]float32, len(x))
				for j, v := range x {
					f[j] = float32(v)
				}
				bytes[i] = tensor.EncodeF32(nil, f, tensor.F32)
			}
			state, err := DecodeState(bytes[0])
			if err != nil {
				t.Fatal(err)
			}
			after, err := DecodeLossScale(bytes[1])
			if err != nil {
				t.Fatal(err)
			}
			if after != c.after || state.Applied != c.applied || state.Overflow != c.lost {
				t.Errorf("%s on %s: %+v and %+v", c.name, dev.Info().Backend, after, state)
			}
			if want := float64(c.gradient) / 4 / c.before.Scale; c.applied && (state.Norm != want || out[0][stateFactor] != 1/4./c.before.Scale) {
				t.Errorf("%s on %s: norm %v, want %v", c.name, dev.Info().Backend, state.Norm, want)
			}
		}
	}
}
