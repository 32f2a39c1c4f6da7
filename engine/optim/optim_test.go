package optim

import (
	"math"
	"slices"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	_ "llamatab/engine/op" // registers the formats of two bytes
	"llamatab/engine/tensor"
)

var torch = AdamWConfig{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, LRScale: 1}

// floats is a frozen input with the given values.
func floats(x ...float32) enginetest.Input {
	return enginetest.Input{Shape: tensor.Of(len(x)), Floats: x, Frozen: true}
}

func (s Scalars) input(t *testing.T) enginetest.Input {
	x := make([]float32, NumScalars)
	if err := tensor.DecodeF32(x, s.Bytes(), tensor.F32); err != nil {
		t.Fatal(err)
	}
	return floats(x...)
}

// snapshot keeps what x holds now.
func snapshot(t *graph.Tape, x graph.Var) graph.Var {
	y := t.New(x.Shape)
	t.Copy(y, x)
	return y
}

// step is the input of one update.
type step struct {
	scalars Scalars
	loss    float32
	grads   [][]float32 // of each slice
}

// updates records a run of updates over slices of weights that begin as p0 with moments of zero. Its outputs are p, m
// and v of each slice and then the state, after every step.
func updates(t *testing.T, p0 [][]float32, steps []step, maxNorm float64, c AdamWConfig) enginetest.Case {
	in := []enginetest.Input{floats(make([]float32, NumState)...)}
	for _, p := range p0 {
		in = append(in, floats(p...), floats(make([]float32, len(p))...), floats(make([]float32, len(p))...))
	}
	for _, s := range steps {
		in = append(in, s.scalars.input(t), floats(s.loss))
		for _, g := range s.grads {
			in = append(in, floats(g...))
		}
	}
	return enginetest.Case{
		Name: t.Name(), In: in, NoGradient: true, Tol: enginetest.Tolerance{Rel: 1e-5, Abs: 1e-9},
		Fn: func(t *graph.Tape, in []graph.Var) (outs []graph.Var) {
			state, slices := in[0], in[1:1+3*len(p0)]
			rest := in[1+len(slices):]
			for range steps {
				scalars, loss, grads := rest[0], rest[1], rest[2:2+len(p0)]
				rest = rest[2+len(p0):]
				FinishNorm(t, SumSquares(t, grads...), loss, scalars, state, maxNorm)
				for i, g := range grads {
					AdamW(t, slices[3*i], g, slices[3*i+1], slices[3*i+2], scalars, state, c)
				}
				for _, x := range append(slices[:len(slices):len(slices)], state) {
					outs = append(outs, snapshot(t, x))
				}
			}
			return outs
		},
	}
}

func stateOf(t *testing.T, x []float64) State {
	f := make([]float32, len(x))
	for i := range x {
		f[i] = float32(x[i])
	}
	s, err := DecodeState(tensor.EncodeF32(nil, f, tensor.F32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func equalBits(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return math.Float64bits(x) == math.Float64bits(y) })
}

func widen(x []float32) []float64 {
	y := make([]float64, len(x))
	for i := range x {
		y[i] = float64(x[i])
	}
	return y
}
