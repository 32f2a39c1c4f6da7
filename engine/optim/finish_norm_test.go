package optim

import (
	"math"
	"slices"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

// The norm over several gradients of any length, and the factor that clips it.
func TestFinishNorm(t *testing.T) {
	const tokens = 7
	for seed := range uint64(6) {
		r := enginetest.NewRand(seed)
		maxNorm := []float64{0, 0.5, 1e6}[seed%3]
		grads := [][]float32{r.Floats(r.Dim(1, 300), 2), r.Floats(perPart+r.Dim(1, 9000), 2)}
		norm := 0.0
		for _, g := range slices.Concat(grads...) {
			norm += float64(g) * float64(g) / (tokens * tokens)
		}
		norm = math.Sqrt(norm)
		clip := 1.0
		if maxNorm > 0 {
			clip = min(1, maxNorm/(norm+1e-6))
		}
		c := enginetest.Case{
			Name: t.Name(), NoGradient: true, Tol: enginetest.Tolerance{Rel: 1e-5},
			In: []enginetest.Input{floats(grads[0]...), floats(grads[1]...), floats(3), Scalars{LR: 1, Tokens: tokens, Step: 1}.input(t), floats(make([]float32, NumState)...)},
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				FinishNorm(t, SumSquares(t, in[0], in[1]), in[2], in[3], in[4], maxNorm)
				return []graph.Var{snapshot(t, in[4])}
			},
		}
		for _, dev := range enginetest.Devices(t) {
			s := stateOf(t, enginetest.Outputs(t, dev, c)[0])
			if msg := c.Tol.Compare([]float64{s.Norm}, []float64{norm}); msg != "" {
				t.Errorf("seed %d on %s: norm: %s", seed, dev.Info().Backend, msg)
			}
			if msg := c.Tol.Compare([]float64{s.Clip}, []float64{clip}); msg != "" {
				t.Errorf("seed %d on %s: clip: %s", seed, dev.Info().Backend, msg)
			}
			if !s.Applied || s.Skipped != 0 || s.LossSum != 3 {
				t.Errorf("seed %d on %s: %+v", seed, dev.Info().Backend, s)
			}
		}
	}
}

// The second of three steps is not finite. It must leave every bit as it is. The host still numbers the third step 3, and
// the device must use the bias corrections of step 2 for it.
func TestNonFiniteStepIsSkipped(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	r := enginetest.NewRand(1)
	const n = 70
	p0 := [][]float32{r.Floats(n, 1)}
	first, last := r.Floats(n, 1), r.Floats(n, 1)
	type bad struct{ loss, value float32 }
	cases := map[string]bad{
		"gradient NaN": {3, nan}, "gradient ∞": {3, inf}, "gradient -∞": {3, -inf}, "loss NaN": {nan, 0}, "loss ∞": {inf, 0},
	}
	const overflow = "square above f32" // for WebGPU alone: the reference device computes in float64, where 1e60 is finite
	if len(enginetest.Devices(t)) > 1 {
		cases[overflow] = bad{3, 1e30}
	}
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			second := slices.Clone(first)
			second[n-1] = bad.value
			at := func(s, known int) Scalars {
				return Scalars{LR: 0.01, Tokens: 5, Step: s, KnownSkips: known, Beta1: torch.Beta1, Beta2: torch.Beta2}
			}
			for _, dev := range enginetest.Devices(t) {
				if name == overflow && dev.Info().Backend == "cpu" {
					continue
				}
				run := func(steps ...step) [][]float64 {
					return enginetest.Outputs(t, dev, updates(t, p0, steps, 1, torch))
				}
				good := run(step{at(1, 0), 3, [][]float32{first}}, step{at(2, 0), 3, [][]float32{last}})
				got := run(step{at(1, 0), 3, [][]float32{first}}, step{at(2, 0), bad.loss, [][]float32{second}},
					step{at(3, 0), 3, [][]float32{last}}) // not read back yet
				known := run(step{at(1, 0), 3, [][]float32{first}}, step{at(2, 0), bad.loss, [][]float32{second}},
					step{at(2, 1), 3, [][]float32{last}})
				for k, what := range []string{"p", "m", "v"} {
					if !equalBits(got[k], got[4+k]) {
						t.Errorf("%s: the skipped step changed %s", dev.Info().Backend, what)
					}
					if !equalBits(got[8+k], good[4+k]) {
						t.Errorf("%s: %s after the skip differs from that of a run without the bad step", dev.Info().Backend, what)
					}
					if !equalBits(known[8+k], good[4+k]) {
						t.Errorf("%s: %s differs when the host knows of the skip", dev.Info().Backend, what)
					}
				}
				states := make([]State, 3)
				for i := range states {
					states[i] = stateOf(t, got[4*i+3])
				}
				if !states[0].Applied || states[1].Applied || !states[2].Applied {
					t.Errorf("%s: applied: %v, want the second not to be", dev.Info().Backend, states)
				}
				if states[0].Skipped != 0 || states[1].Skipped != 1 || states[2].Skipped != 1 || states[1].Clip != 0 {
					t.Errorf("%s: states %+v, want one skip in the second step", dev.Info().Backend, states)
				}
			}
		})
	}
}

// A loss scale after a sound step, after one that it makes overflow, and after one that is not finite without it.
func TestFinishScaledNorm(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		name           string
		before, after  LossScale
		gradient, loss float32
		applied, lost  bool
	}{
		{"sound", LossScale{64, 3, 1}, LossScale{64, 4, 1}, 32, 2, true, false},
		{"doubled", LossScale{64, scalePatience - 1, 1}, LossScale{128, 0, 1}, 32, 2, true, false},
		{"already at its largest", LossScale{mostScale, scalePatience - 1, 0}, LossScale{mostScale, 0, 0}, 32, 2, true, false},
		{"overflow", LossScale{64, 3, 1}, LossScale{32, 0, 2}, inf, 2, false, true},
		{"loss not finite", LossScale{64, 3, 1}, LossScale{64, 3, 1}, inf, inf, false, false},
		{"gradient not finite at scale 1", LossScale{1, 3, 1}, LossScale{1, 3, 1}, inf, 2, false, false},
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
