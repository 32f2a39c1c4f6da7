package optim

import (
	"math"
	"strings"
	"testing"
)

// TestMultiplier has the values of transformers' schedulers, at the steps from 0 on where none are named.
func TestMultiplier(t *testing.T) {
	for _, c := range []struct {
		name          string
		warmup, total int
		steps         []int
		want          []float64
	}{
		{"constant", 2, 10, nil, []float64{1, 1, 1}},
		{"constant_with_warmup", 4, 10, nil, []float64{0, .25, .5, .75, 1, 1}},
		{"constant_with_warmup", 0, 10, nil, []float64{1, 1}},
		{"linear", 2, 10, nil, []float64{0, .5, 1, .875, .75, .625, .5, .375, .25, .125, 0, 0}},
		{"linear", 0, 4, nil, []float64{1, .75, .5, .25, 0}},
		{"linear", 5, 5, []int{4, 5, 6}, []float64{.8, 0, 0}},
		{"cosine", 2, 10, nil, []float64{0, .5, 1, .9619, .8536, .6913, .5, .3087, .1464, .0381, 0}},
		{"cosine", 0, 4, []int{0, 2, 4, 6, 8}, []float64{1, .5, 0, .5, 1}},
		{"cosine_with_restarts", 2, 10, nil, []float64{0, .5, 1, .9619, .8536, .6913, .5, .3087, .1464, .0381, 0, 0}},
		{"polynomial", 2, 10, nil, []float64{0, .5, 1, .87625, .7525, .62875, .505, .38125, .2575, .13375, .01, .01}},
		{"inverse_sqrt", 4, 100, []int{0, 2, 4, 16, 64}, []float64{0, .5, 1, .5, .25}},
		{"inverse_sqrt", 0, 100, []int{0, 30_000}, []float64{1, .5}},
	} {
		for i, want := range c.want {
			step := i
			if c.steps != nil {
				step = c.steps[i]
			}
			got, err := Multiplier(c.name, step, c.warmup, c.total, 1e-5)
			if err != nil || math.Abs(got-want) > 5e-5 {
				t.Errorf("%s, warm-up %d of %d, step %d: %v, %v, want %v", c.name, c.warmup, c.total, step, got, err, want)
			}
		}
	}
}

func TestMultiplierErrors(t *testing.T) {
	for _, c := range []struct {
		name                string
		step, warmup, total int
		lr                  float64
		want                string
	}{
		{"cosin", 0, 0, 1, 1, "cosine"},
		{"linear", -1, 0, 1, 1, "negative"},
		{"linear", 0, 0, -1, 1, "negative"},
		{"polynomial", 0, 0, 1, 1e-7, "1e-07"},
		{"polynomial", 0, 0, 1, math.NaN(), "NaN"},
	} {
		if _, err := Multiplier(c.name, c.step, c.warmup, c.total, c.lr); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want one about %q", c, err, c.want)
		}
	}
	for _, name := range Schedules() {
		if _, err := Multiplier(name, 1, 2, 3, 1); err != nil {
			t.Error(err)
		}
	}
}
