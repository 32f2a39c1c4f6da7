package optim

import (
	"fmt"
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

// TestAdamWVector has the values of torch.optim.AdamW at its defaults for one weight.
func TestAdamWVector(t *testing.T) {
	want := []float64{0.9989900001, 0.9993461137, 0.9994728109}
	var steps []step
	for i, g := range []float32{0.1, -0.2, 0.05} {
		steps = append(steps, step{Scalars{LR: 1e-3, Tokens: 1, Step: i + 1, Beta1: 0.9, Beta2: 0.999}, 1, [][]float32{{g}}})
	}
	c := updates(t, [][]float32{{1}}, steps, 0, torch)
	for _, dev := range enginetest.Devices(t) {
		tol := 2e-10
		if dev.Info().Backend != "cpu" {
			tol = 2e-7 // a few roundings of a weight near 1
		}
		outs := enginetest.Outputs(t, dev, c)
		for i, w := range want {
			if got := outs[4*i][0]; math.Abs(got-w) > tol {
				t.Errorf("%s: weight after step %d is %.10f, want %.10f", dev.Info().Backend, i+1, got, w)
			}
		}
	}
}

// TestUpdate compares whole updates with the formulas written out, over slices of all lengths, clipped or not.
func TestUpdate(t *testing.T) {
	for seed := range uint64(6) {
		r := enginetest.NewRand(seed)
		c := AdamWConfig{Beta1: 0.8, Beta2: 0.99, Eps: 1e-6, WeightDecay: 0.1 * r.Float64(), LRScale: 0.5}
		p0 := [][]float32{r.Floats(r.Dim(1, 300), 1), r.Floats(4096+r.Dim(1, 9000), 1)}
		maxNorm := []float64{0, 0.5, 1e6}[seed%3]
		const tokens, lr = 7, 0.01
		var steps []step
		var p, m, v, want [][]float64
		for _, x := range p0 {
			p, m, v = append(p, widen(x)), append(m, make([]float64, len(x))), append(v, make([]float64, len(x)))
		}
		for s := 1; s <= 3; s++ {
			grads := [][]float32{r.Floats(len(p0[0]), 2), r.Floats(len(p0[1]), 2)}
			steps = append(steps, step{Scalars{LR: lr, Tokens: tokens, Step: s, Beta1: c.Beta1, Beta2: c.Beta2}, 42, grads})
			norm := 0.0
			for _, g := range slices.Concat(grads...) {
				norm += float64(g) * float64(g) / (tokens * tokens)
			}
			norm = math.Sqrt(norm)
			clip := 1.0
			if maxNorm > 0 {
				clip = min(1, maxNorm/(norm+1e-6))
			}
			for k := range p0 {
				for i, g := range grads[k] {
					g := float64(g) * clip / tokens
					m[k][i] = c.Beta1*m[k][i] + (1-c.Beta1)*g
					v[k][i] = c.Beta2*v[k][i] + (1-c.Beta2)*g*g
					mean, dev := m[k][i]/(1-math.Pow(c.Beta1, float64(s))), math.Sqrt(v[k][i]/(1-math.Pow(c.Beta2, float64(s))))
					p[k][i] *= 1 - lr*c.LRScale*c.WeightDecay
					p[k][i] -= lr * c.LRScale * mean / (dev + c.Eps)
				}
				want = append(want, slices.Clone(p[k]), slices.Clone(m[k]), slices.Clone(v[k]))
			}
			want = append(want, []float64{norm, clip, 1, 0, 42, 0, clip / tokens, 0})
		}
		cs := updates(t, p0, steps, maxNorm, c)
		cs.Name = fmt.Sprintf("%s seed %d", t.Name(), seed)
		enginetest.Check(t, r, cs)
		for _, dev := range enginetest.Devices(t) {
			for i, got := range enginetest.Outputs(t, dev, cs) {
				if msg := cs.Tol.Compare(got, want[i]); msg != "" {
					t.Errorf("%s on %s: output %d: %s", cs.Name, dev.Info().Backend, i, msg)
				}
			}
		}
	}
}

// TestSkip has a second step that is not finite. It must leave every bit as it is, and the third step, for which the
// host still counts on three updates, must do what it would with the corrections of the second.
func TestSkip(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	r := enginetest.NewRand(1)
	const n = 70
	p0 := [][]float32{r.Floats(n, 1)}
	first, last := r.Floats(n, 1), r.Floats(n, 1)
	for name, bad := range map[string]struct {
		loss, value float32
	}{
		"gradient NaN": {3, nan}, "gradient ∞": {3, inf}, "gradient -∞": {3, -inf}, "square above f32": {3, 1e30},
		"loss NaN": {nan, 0}, "loss ∞": {inf, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "square above f32" && len(enginetest.Devices(t)) == 1 {
				t.Skip("the reference device computes in float64, where 1e60 is finite")
			}
			second := slices.Clone(first)
			second[n-1] = bad.value
			at := func(s, known int) Scalars {
				return Scalars{LR: 0.01, Tokens: 5, Step: s, KnownSkips: known, Beta1: torch.Beta1, Beta2: torch.Beta2}
			}
			for _, dev := range enginetest.Devices(t) {
				if name == "square above f32" && dev.Info().Backend == "cpu" {
					continue
				}
				run := func(steps ...step) [][]float64 {
					return enginetest.Outputs(t, dev, updates(t, p0, steps, 1, torch))
				}
				good := run(step{at(1, 0), 3, [][]float32{first}}, step{at(2, 0), 3, [][]float32{last}})
				got := run(step{at(1, 0), 3, [][]float32{first}}, step{at(2, 0), bad.loss, [][]float32{second}},
					step{at(3, 0), 3, [][]float32{last}}) // not read back yet
				told := run(step{at(1, 0), 3, [][]float32{first}}, step{at(2, 0), bad.loss, [][]float32{second}},
					step{at(2, 1), 3, [][]float32{last}})
				for k, what := range []string{"p", "m", "v"} {
					if !equalBits(got[k], got[4+k]) {
						t.Errorf("%s: the skipped step changed %s", dev.Info().Backend, what)
					}
					if !equalBits(got[8+k], good[4+k]) {
						t.Errorf("%s: %s after the skip differs from that of a run without the bad step", dev.Info().Backend, what)
					}
					if !equalBits(told[8+k], good[4+k]) {
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

func TestStateLength(t *testing.T) {
	if _, err := DecodeState(make([]byte, 4*NumState-4)); err == nil {
		t.Error("a short state was accepted")
	}
}

func TestScalarsFirstStep(t *testing.T) {
	x := Scalars{LR: 1, Step: 1, Beta1: 0.9, Beta2: 0.999}.input(t).Floats
	for i, v := range x {
		if math.IsInf(float64(v), 0) || math.IsNaN(float64(v)) {
			t.Errorf("scalar %d of the first step is %v", i, v)
		}
	}
	if x[2] != x[4] || x[3] != x[5] {
		t.Errorf("corrections %v: before the first update there is no other", x[2:6])
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

// TestStochasticRounding: weights of bfloat16 move, on average, by updates far smaller than their last digit; which way
// each goes depends on step, site and place alone, and one that need not be rounded never is.
func TestStochasticRounding(t *testing.T) {
	const n, lr = 40001, 1e-3
	c := AdamWConfig{Beta1: 0, Beta2: 0, Eps: 1e-30, LRScale: 1} // every step moves by lr against the gradient's sign
	run := func(number int, site uint32, first uint32, g float32) enginetest.Case {
		c := c
		c.Site, c.First = site, first
		p := floats(make([]float32, n)...)
		grads := make([]float32, n)
		for i := range p.Floats {
			p.Floats[i], grads[i] = 1, g
		}
		p.DType = tensor.BF16
		s := Scalars{LR: lr, Tokens: 1, Step: 1, Number: number}
		return enginetest.Case{
			Name: t.Name(), NoGradient: true, Tol: enginetest.Tolerance{Rel: 1e-5, Abs: 1e-9},
			In: []enginetest.Input{floats(make([]float32, NumState)...), p, floats(grads...), floats(make([]float32, n)...), floats(make([]float32, n)...), s.input(t), floats(1)},
			Fn: func(t *graph.Tape, in []graph.Var) []graph.Var {
				FinishNorm(t, SumSquares(t, in[2]), in[6], in[5], in[0], 0)
				AdamW(t, in[1], in[2], in[3], in[4], in[5], in[0], c)
				return []graph.Var{snapshot(t, in[1])}
			},
		}
	}
	for _, dev := range enginetest.Devices(t) {
		out := func(number int, site, first uint32, g float32) []float64 {
			return enginetest.Outputs(t, dev, run(number, site, first, g))[0]
		}
		p := out(3, 7, 0, -1)
		sum, up := 0.0, 0
		for i, v := range p {
			if v != 1 && v != 1+1.0/128 { // the neighbour above
				t.Fatalf("%s: weight %d is %v", dev.Info().Backend, i, v)
			}
			sum += v - 1
			if v != 1 {
				up++
			}
		}
		share := lr * 128.0
		if mean, deviation := sum/n, math.Sqrt(share*(1-share)/n)/128; math.Abs(mean-lr) > 5*deviation {
			t.Errorf("%s: the mean update is %v, want %v ± %v", dev.Info().Backend, mean, lr, deviation)
		}
		if !slices.Equal(out(3, 7, 0, -1), p) {
			t.Errorf("%s: the same step rounds otherwise", dev.Info().Backend)
		}
		for what, q := range map[string][]float64{"step": out(4, 7, 0, -1), "site": out(3, 8, 0, -1), "place": out(3, 7, 2, -1)} {
			both := 0
			for i := range p {
				if p[i] != 1 && q[i] != 1 {
					both++
				}
			}
			if want := float64(up) * share; math.Abs(float64(both)-want) > 5*math.Sqrt(want) {
				t.Errorf("%s: %d weights go up at one %s and at another, want %.0f", dev.Info().Backend, both, what, want)
			}
		}
		if p := out(3, 7, 0, 0); slices.ContainsFunc(p, func(v float64) bool { return v != 1 }) {
			t.Errorf("%s: weights move without a gradient", dev.Info().Backend)
		}
	}
}
