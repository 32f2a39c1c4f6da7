package optim

import (
	"math"
	"slices"
	"testing"

	"llamatab/engine/enginetest"
)

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
