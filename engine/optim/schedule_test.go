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
			got, err := Schedule{Name: c.name, Warmup: c.warmup, Total: c.total, BaseLR: 1e-5}.Multiplier(step)
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
		if _, err := (Schedule{Name: c.name, Warmup: c.warmup, Total: c.total, BaseLR: c.lr}).Multiplier(c.step); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want one about %q", c, err, c.want)
		}
	}
	for _, name := range Schedules() {
		if _, err := (Schedule{Name: name, Warmup: 2, Total: 3, BaseLR: 1}).Multiplier(1); err != nil {
			t.Error(err)
		}
	}
}

// TestScheduleSettings compares schedules that have settings with transformers' formulas, written out here step by step in
// other terms: phases in degrees of the cosine.
func TestScheduleSettings(t *testing.T) {
	degrees := func(d float64) float64 { return math.Cos(d * math.Pi / 180) }
	at := func(x float64) *float64 { return &x }
	steps := func(n int) *int { return &n }
	kind := func(s string) *string { return &s }
	for _, c := range []struct {
		name          string
		warmup, total int
		settings      ScheduleSettings
		steps         []int
		want          []float64
	}{
		{"cosine", 2, 10, ScheduleSettings{NumCycles: at(1)}, []int{1, 2, 4, 6, 8, 10}, []float64{.5, 1, .5, 0, .5, 1}},
		{"cosine", 0, 8, ScheduleSettings{NumCycles: at(0.25)}, []int{0, 4, 8}, []float64{1, (1 + degrees(45)) / 2, .5}},
		{"cosine_with_restarts", 0, 8, ScheduleSettings{NumCycles: at(2)}, []int{0, 2, 4, 6, 7, 8, 9}, []float64{1, .5, 1, .5, (1 + degrees(135)) / 2, 0, 0}},
		{"polynomial", 2, 10, ScheduleSettings{Power: at(2), LREnd: at(1e-6)}, []int{1, 2, 6, 10, 11}, []float64{.5, 1, .9*.25 + .1, .1, .1}},
		{"inverse_sqrt", 4, 100, ScheduleSettings{Timescale: at(16)}, []int{2, 4, 52}, []float64{.5, 1, .5}},
		{"cosine_with_min_lr", 2, 10, ScheduleSettings{MinLRRate: at(.2)}, []int{1, 2, 4, 6, 10}, []float64{.5, 1, .8*(1+degrees(45))/2 + .2, .6, .2}},
		{"cosine_with_min_lr", 0, 4, ScheduleSettings{MinLR: at(1e-6), NumCycles: at(1)}, []int{0, 1, 2, 4}, []float64{1, .55, .1, 1}},
		{"cosine_warmup_with_min_lr", 4, 12, ScheduleSettings{MinLRRate: at(.5)}, []int{0, 3, 4, 7, 11}, []float64{.25, 1, .5*(1+degrees(22.5))/2 + .5, .75, .5}},
		{"cosine_warmup_with_min_lr", 5, 13, ScheduleSettings{MinLRRate: at(0), WarmupLRRate: at(.2)}, []int{0, 2, 4, 8}, []float64{.2, .6, 1, .5}},
		{"warmup_stable_decay", 2, 10, ScheduleSettings{DecaySteps: steps(4)}, []int{0, 1, 2, 5, 6, 7, 8, 10, 11}, []float64{0, .5, 1, 1, 1, (1 + degrees(45)) / 2, .5, 0, 0}},
		{"warmup_stable_decay", 2, 10, ScheduleSettings{DecaySteps: steps(4), StableSteps: steps(1), DecayType: kind("linear"), MinLRRatio: at(.2)},
			[]int{0, 1, 2, 3, 4, 6, 7, 9}, []float64{.2, .6, 1, 1, .8, .4, .2, .2}},
		{"warmup_stable_decay", 4, 20, ScheduleSettings{DecaySteps: steps(4), WarmupType: kind("cosine"), DecayType: kind("1-sqrt")},
			[]int{1, 2, 16, 17, 19}, []float64{(1 - degrees(45)) / 2, .5, 1, .5, 1 - math.Sqrt(.75)}},
		{"warmup_stable_decay", 4, 20, ScheduleSettings{DecaySteps: steps(4), WarmupType: kind("1-sqrt"), NumCycles: at(1)},
			[]int{1, 3, 17, 18}, []float64{1 - math.Sqrt(.75), .5, .5, 0}},
		{"warmup_stable_decay", 2, 6, ScheduleSettings{DecaySteps: steps(8), DecayType: kind("linear")}, []int{1, 2, 4, 6}, []float64{.5, .5, .25, 0}},
	} {
		for i, step := range c.steps {
			got, err := Schedule{Name: c.name, Warmup: c.warmup, Total: c.total, BaseLR: 1e-5, ScheduleSettings: c.settings}.Multiplier(step)
			if err != nil || math.Abs(got-c.want[i]) > 1e-12 {
				t.Errorf("%s, warm-up %d of %d, step %d: %v, %v, want %v", c.name, c.warmup, c.total, step, got, err, c.want[i])
			}
		}
	}
}
