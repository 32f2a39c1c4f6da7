package optim

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Schedules names the learning-rate schedules that Multiplier knows, as transformers' lr_scheduler_type spells them.
func Schedules() []string {
	names := make([]string, len(schedules))
	for i, s := range schedules {
		names[i] = s.name
	}
	return names
}

// Multiplier is the factor on the learning rate after step updates, of total in all, with transformers' formulas and
// their default settings (huggingface/transformers, src/transformers/optimization.py). The first update has step 0.
// baseLR matters to polynomial only, which ends at a fixed rate. Past total, every formula just goes on.
func Multiplier(name string, step, warmup, total int, baseLR float64) (float64, error) {
	if step < 0 || warmup < 0 || total < 0 {
		return 0, fmt.Errorf("optim: schedule %q: step %d, warm-up %d and total %d must not be negative", name, step, warmup, total)
	}
	i := slices.IndexFunc(schedules, func(s schedule) bool { return s.name == name })
	if i < 0 {
		return 0, fmt.Errorf("optim: no schedule %q: use one of %s", name, strings.Join(Schedules(), ", "))
	}
	if name == "polynomial" && !(baseLR > polynomialEnd) {
		return 0, fmt.Errorf("optim: schedule %q ends at learning rate %g, so it cannot start at %g", name, polynomialEnd, baseLR)
	}
	s := schedules[i]
	if step < warmup && s.warmsUp {
		return float64(step) / float64(warmup), nil
	}
	return s.after(progress{float64(step), float64(warmup), float64(total), baseLR}), nil
}

// polynomialEnd is the learning rate that polynomial comes down to, in a straight line.
const polynomialEnd = 1e-7

type progress struct{ step, warmup, total, baseLR float64 }

// done is the fraction of the updates after the warm-up, above 1 beyond the end.
func (p progress) done() float64 { return (p.step - p.warmup) / max(1, p.total-p.warmup) }

type schedule struct {
	name    string
	warmsUp bool
	after   func(p progress) float64 // the multiplier once warm-up is over
}

var schedules = []schedule{
	{"constant", false, func(progress) float64 { return 1 }},
	{"constant_with_warmup", true, func(progress) float64 { return 1 }},
	{"linear", true, func(p progress) float64 { return max(0, (p.total-p.step)/max(1, p.total-p.warmup)) }},
	{"cosine", true, func(p progress) float64 { return (1 + math.Cos(math.Pi*p.done())) / 2 }},
	{"cosine_with_restarts", true, func(p progress) float64 { // of one cycle, so that it never restarts
		if p.done() >= 1 {
			return 0
		}
		return (1 + math.Cos(math.Pi*p.done())) / 2
	}},
	{"polynomial", true, func(p progress) float64 {
		if p.step > p.total {
			return polynomialEnd / p.baseLR
		}
		return ((p.baseLR-polynomialEnd)*(1-p.done()) + polynomialEnd) / p.baseLR
	}},
	{"inverse_sqrt", true, func(p progress) float64 {
		timescale := p.warmup
		if timescale == 0 {
			timescale = 10_000
		}
		return 1 / math.Sqrt((p.step+timescale-p.warmup)/timescale)
	}},
}
