package optim

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"llamatab/engine/enginetest"
	"llamatab/engine/graph"
	"llamatab/engine/tensor"
)

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
