package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// Schedulers are the accepted lr_scheduler_type.
var Schedulers = []string{"constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt",
	"cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay"}

// SchedulerKwargs is lr_scheduler_kwargs: the settings of single schedules, under the names of transformers' functions in
// optimization.py. An absent key has the default there.
type SchedulerKwargs struct {
	NumCycles    *float64 `json:"num_cycles,omitempty"`       // waves of a cosine
	Power        *float64 `json:"power,omitempty"`            // of polynomial
	LREnd        *float64 `json:"lr_end,omitempty"`           // the learning rate that polynomial ends at
	Timescale    *float64 `json:"timescale,omitempty"`        // of inverse_sqrt, in steps
	MinLR        *float64 `json:"min_lr,omitempty"`           // the learning rate that a cosine ends at
	MinLRRate    *float64 `json:"min_lr_rate,omitempty"`      // the same as a part of learning_rate
	WarmupLRRate *float64 `json:"warmup_lr_rate,omitempty"`   // where a warm-up begins, as a part of learning_rate
	DecaySteps   *int     `json:"num_decay_steps,omitempty"`  // of warmup_stable_decay
	StableSteps  *int     `json:"num_stable_steps,omitempty"` // of warmup_stable_decay
	WarmupType   *string  `json:"warmup_type,omitempty"`      // "linear", "cosine" or "1-sqrt"
	DecayType    *string  `json:"decay_type,omitempty"`       // the same
	MinLRRatio   *float64 `json:"min_lr_ratio,omitempty"`     // where warmup_stable_decay begins and ends, as a part of learning_rate
}

// schedulerKeys are the keys of lr_scheduler_kwargs that a schedule reads.
var schedulerKeys = map[string][]string{
	"cosine":                    {"num_cycles"},
	"cosine_with_restarts":      {"num_cycles"},
	"polynomial":                {"lr_end", "power"},
	"inverse_sqrt":              {"timescale"},
	"cosine_with_min_lr":        {"min_lr", "min_lr_rate", "num_cycles"},
	"cosine_warmup_with_min_lr": {"min_lr", "min_lr_rate", "num_cycles", "warmup_lr_rate"},
	"warmup_stable_decay":       {"num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"},
}

// neededKwargs are lr_scheduler_kwargs for the schedules that cannot do without.
var neededKwargs = map[string]string{
	"cosine_with_min_lr":        `{"min_lr_rate": 0.1}`,
	"cosine_warmup_with_min_lr": `{"min_lr_rate": 0.1}`,
	"warmup_stable_decay":       `{"num_decay_steps": 1}`,
}

const kwargsPath = "training.lr_scheduler_kwargs"

// schedulerRules is what must hold of lr_scheduler_type and lr_scheduler_kwargs.
func (t *Training) schedulerRules() []Rule {
	k := t.SchedulerKwargs
	if k == nil {
		k = &SchedulerKwargs{}
	}
	at := func(key string) string { return join(kwargsPath, key) }
	known := schedulerKeys[t.Scheduler]
	next := "its settings are " + strings.Join(known, ", ")
	if len(known) == 0 {
		next = "leave lr_scheduler_kwargs out"
	}
	rules := []Rule{OneOf("training.lr_scheduler_type", t.Scheduler, Schedulers)}
	fields := reflect.ValueOf(k).Elem()
	for i, key := range keysOf(fields.Type()) {
		rules = append(rules, Must(fields.Field(i).IsNil() || slices.Contains(known, key), at(key), "is no setting of the schedule "+t.Scheduler, next).As("other_schedule", "schedule", t.Scheduler, "known", known))
	}
	rules = append(rules,
		optional(at("num_cycles"), k.NumCycles, 0, 1e6), optional(at("power"), k.Power, 0, 1e3), optional(at("timescale"), k.Timescale, 1, maxSteps),
		optional(at("min_lr"), k.MinLR, 0, math.MaxFloat32), optional(at("min_lr_rate"), k.MinLRRate, 0, 1), optional(at("warmup_lr_rate"), k.WarmupLRRate, 0, 1),
		optional(at("min_lr_ratio"), k.MinLRRatio, 0, 1), optional(at("num_decay_steps"), k.DecaySteps, 0, maxSteps), optional(at("num_stable_steps"), k.StableSteps, 0, maxSteps))
	curves := []string{"linear", "cosine", "1-sqrt"}
	if k.WarmupType != nil {
		rules = append(rules, OneOf(at("warmup_type"), *k.WarmupType, curves))
	}
	if k.DecayType != nil {
		rules = append(rules, OneOf(at("decay_type"), *k.DecayType, curves))
	}
	switch t.Scheduler {
	case "polynomial":
		end := 1e-7 // transformers' default
		if k.LREnd != nil {
			end = *k.LREnd
		}
		rules = append(rules, Must(end >= 0 && end < t.LearningRate, at("lr_end"), fmt.Sprintf("is %v, wants 0 or more and less than training.learning_rate %v", end, t.LearningRate), "").As("below_rate", "value", end, "rate", t.LearningRate))
	case "cosine_with_min_lr", "cosine_warmup_with_min_lr":
		rules = append(rules,
			Must((k.MinLR == nil) != (k.MinLRRate == nil), kwargsPath, "wants one of min_lr and min_lr_rate for the schedule "+t.Scheduler, `set it, such as {"min_lr_rate": 0.1}`).As("least_rate"),
			Must(k.MinLR == nil || t.LearningRate > 0, at("min_lr"), "is a part of training.learning_rate, which is 0", "raise training.learning_rate").As("rate_is_0"))
	case "warmup_stable_decay":
		rules = append(rules, Must(k.DecaySteps != nil, at("num_decay_steps"), "is missing for the schedule warmup_stable_decay", "set the number of steps in which the learning rate falls").As("decay_steps"))
	}
	return rules
}

// optional is the rule least ≤ *v ≤ most, or that v is not given.
func optional[T int | float64](path string, v *T, least, most T) Rule {
	if v == nil {
		return Rule{ok: true}
	}
	return Within(path, *v, least, most)
}
