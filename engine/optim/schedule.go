package optim

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Schedule is a learning-rate schedule with transformers' formulas (huggingface/transformers, src/transformers/optimization.py).
type Schedule struct {
	Name   string  // as transformers' lr_scheduler_type spells it
	Warmup int     // steps of warm-up
	Total  int     // steps of the run
	BaseLR float64 // the learning rate that the multiplier is for
	ScheduleSettings
}

// ScheduleSettings are the settings of single schedules, as lr_scheduler_kwargs names them. A nil setting has transformers'
// default. A schedule reads only its own settings.
type ScheduleSettings struct {
	NumCycles    *float64 // waves of a cosine: 0.5; of cosine_with_restarts: 1
	Power        *float64 // of polynomial: 1
	LREnd        *float64 // the learning rate that polynomial ends at: 1e-7
	Timescale    *float64 // of inverse_sqrt, in steps: the warm-up, or 10,000 without one
	MinLR        *float64 // the learning rate that a cosine ends at
	MinLRRate    *float64 // the same as a part of BaseLR
	WarmupLRRate *float64 // the multiplier that the warm-up of cosine_warmup_with_min_lr begins at: 1 / Warmup
	DecaySteps   *int     // of warmup_stable_decay
	StableSteps  *int     // of warmup_stable_decay: what is left of Total
	WarmupType   *string  // of warmup_stable_decay: "linear", "cosine" or "1-sqrt"
	DecayType    *string  // of warmup_stable_decay: the same, "cosine" by default
	MinLRRatio   *float64 // the multiplier that warmup_stable_decay begins and ends at: 0
}

// Schedules names the learning-rate schedules.
func Schedules() []string {
	names := make([]string, len(schedules))
	for i, s := range schedules {
		names[i] = s.name
	}
	return names
}

// Multiplier is the factor on the learning rate after step updates. The first update has step 0. Past Total, every formula
// just goes on.
func (s Schedule) Multiplier(step int) (float64, error) {
	if step < 0 || s.Warmup < 0 || s.Total < 0 {
		return 0, fmt.Errorf("optim: schedule %q: step %d, warm-up %d and total %d must not be negative", s.Name, step, s.Warmup, s.Total)
	}
	i := slices.IndexFunc(schedules, func(known schedule) bool { return known.name == s.Name })
	if i < 0 {
		return 0, fmt.Errorf("optim: no schedule %q: use one of %s", s.Name, strings.Join(Schedules(), ", "))
	}
	if end := or(s.LREnd, polynomialEnd); s.Name == "polynomial" && !(s.BaseLR > end) {
		return 0, fmt.Errorf("optim: schedule %q ends at learning rate %g, so it cannot start at %g", s.Name, end, s.BaseLR)
	}
	p := progress{float64(step), float64(s.Warmup), float64(s.Total), s.BaseLR, s.ScheduleSettings}
	if step < s.Warmup && schedules[i].before != nil {
		return schedules[i].before(p), nil
	}
	return schedules[i].after(p), nil
}

// polynomialEnd is the learning rate that polynomial comes down to by default.
const polynomialEnd = 1e-7

// or is what p points to, or a default.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// progress is a place in a run, with what the formulas read.
type progress struct {
	step, warmup, total, baseLR float64
	ScheduleSettings
}

// done is the fraction of the updates after the warm-up, above 1 beyond the end.
func (p progress) done() float64 { return (p.step - p.warmup) / max(1, p.total-p.warmup) }

// wave is a cosine from 1 to 0 over a part done of the decay; with more than half a cycle it comes up again.
func (p progress) wave(done float64) float64 {
	return max(0, 0.5*(1+math.Cos(math.Pi*or(p.NumCycles, 0.5)*2*done)))
}

// least is the multiplier that the cosines with a least learning rate end at.
func (p progress) least() float64 {
	if p.MinLR != nil {
		return *p.MinLR / p.baseLR
	}
	return or(p.MinLRRate, 0)
}

// above lifts a factor between 0 and 1 to between least and 1.
func above(factor, least float64) float64 { return max(0, factor*(1-least)+least) }

// schedule is a formula. before is its warm-up, nil for none, and after is what follows.
type schedule struct {
	name          string
	before, after func(p progress) float64
}

// rising is the linear warm-up from 0.
func rising(p progress) float64 { return p.step / p.warmup }

var schedules = []schedule{
	{"constant", nil, func(progress) float64 { return 1 }},
	{"constant_with_warmup", rising, func(progress) float64 { return 1 }},
	{"linear", rising, func(p progress) float64 { return max(0, (p.total-p.step)/max(1, p.total-p.warmup)) }},
	{"cosine", rising, func(p progress) float64 { return p.wave(p.done()) }},
	{"cosine_with_restarts", rising, func(p progress) float64 {
		if p.done() >= 1 {
			return 0
		}
		return (1 + math.Cos(math.Pi*math.Mod(or(p.NumCycles, 1)*p.done(), 1))) / 2
	}},
	{"polynomial", rising, func(p progress) float64 {
		end := or(p.LREnd, polynomialEnd)
		if p.step > p.total {
			return end / p.baseLR
		}
		return ((p.baseLR-end)*math.Pow(1-p.done(), or(p.Power, 1)) + end) / p.baseLR
	}},
	{"inverse_sqrt", rising, func(p progress) float64 {
		timescale := p.warmup
		if timescale == 0 {
			timescale = 10_000
		}
		timescale = or(p.Timescale, timescale)
		return 1 / math.Sqrt((p.step+timescale-p.warmup)/timescale)
	}},
	{"cosine_with_min_lr", rising, func(p progress) float64 { return above(p.wave(p.done()), p.least()) }},
	{"cosine_warmup_with_min_lr", func(p progress) float64 {
		if p.WarmupLRRate == nil {
			return (p.step + 1) / p.warmup
		}
		return *p.WarmupLRRate + (1-*p.WarmupLRRate)*p.step/max(1, p.warmup-1)
	}, func(p progress) float64 {
		p.step++ // the first update after the warm-up is already below the highest rate
		return above(p.wave(p.done()), p.least())
	}},
	{"warmup_stable_decay", func(p progress) float64 {
		part := p.step / p.warmup
		switch or(p.WarmupType, "linear") {
		case "cosine":
			part = (1 - math.Cos(math.Pi*part)) / 2
		case "1-sqrt":
			part = 1 - math.Sqrt(1-part)
		}
		return above(part, or(p.MinLRRatio, 0))
	}, func(p progress) float64 {
		decay := float64(or(p.DecaySteps, 0))
		stable := p.total - p.warmup - decay
		if p.StableSteps != nil {
			stable = float64(*p.StableSteps)
		}
		switch at := p.step - p.warmup - stable; {
		case at < 0:
			return 1
		case at >= decay:
			return or(p.MinLRRatio, 0)
		default:
			return above(p.decayed(at/max(1, decay)), or(p.MinLRRatio, 0))
		}
	}},
}

// decayed is the factor after a part of the decay of warmup_stable_decay.
func (p progress) decayed(part float64) float64 {
	switch or(p.DecayType, "cosine") {
	case "linear":
		return 1 - part
	case "1-sqrt":
		return 1 - math.Sqrt(part)
	}
	return 0.5 * (1 + math.Cos(math.Pi*or(p.NumCycles, 0.5)*2*part))
}
