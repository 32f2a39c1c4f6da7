package forecast

import (
	"maps"
	"slices"

	"llamatab/engine/config"
	"llamatab/engine/data/sampling"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/op"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// Conditions are what a forecast takes for granted about the machines.
type Conditions struct {
	Limits device.Limits // of one device
	Budget int64         // bytes of it that may be planned, 0 for no bound
	Tabs   int           // ranks of the comparison of strategies; 0: those of the config; 1: no comparison
	Link   plan.Link     // between the ranks
	FLOPS  float64       // floating-point operations of one device a second, 0 for unknown
	// Early gets the forecast of what does not fit while choices are still being looked for. It may be nil.
	Early func(*Forecast)
}

// What a forecast says, in the structs that it travels in.
type (
	Forecast = message.Forecast
	Unit     = message.PlanUnit
	Shard    = message.ShardPlan
)

// Plan prepares a run as training would and reports what it needs under c, and what would fit where it does not.
func Plan(cfg *config.Config, files report.Files, c Conditions) (*Forecast, error) {
	s, err := planned(cfg, files, c)
	if err != nil {
		return nil, err
	}
	defer s.Model.Close()
	f, err := describe(s, c)
	if err != nil || f.Fits {
		return f, err
	}
	if c.Early != nil {
		c.Early(f)
	}
	f.Choices = choices(s, c.Limits, c.Budget)
	return f, nil
}

// planned is a run prepared and planned for c.
func planned(cfg *config.Config, files report.Files, c Conditions) (*replay.Setup, error) {
	m, err := pretrained.Open(files, cfg.Model.Random, cfg.Training.Seed)
	if err != nil {
		return nil, err
	}
	s := replay.NewSetup(cfg, m, c.Limits)
	if err = s.Prepare(cfg); err == nil {
		err = s.PlanFor(c.Limits, c.Budget)
	}
	if err != nil {
		s.Model.Close()
		return nil, err
	}
	return s, nil
}

// describe tells what has been planned.
func describe(s *replay.Setup, c Conditions) (*Forecast, error) {
	cfg := s.Config
	sampler, err := sampling.New(sampling.Plan{
		Rows: s.Train.Len(), Batch: cfg.Training.BatchSize, Micro: cfg.Training.Accumulation,
		Epochs: cfg.Training.Epochs, MaxSteps: cfg.Training.MaxSteps,
	})
	if err != nil {
		return nil, err
	}
	rows := s.BatchRows * s.Longest()
	f := &Forecast{
		Bytes: s.Memory.Usage.Map(), Units: units(s), Recomputed: s.Recompute, Unshared: s.Memory.Temporaries, Steps: sampler.TotalSteps(),
		Logits:   4 * int64(min(op.ChunkRows(rows, s.Model.Decoder.Vocab), rows)) * int64(s.Model.Decoder.Vocab),
		Launches: s.Launches, Flops: s.Flops * float64(cfg.Training.Accumulation),
		RowLengths: s.Lengths, Dataset: s.Train.Stats, Remarks: s.Model.Remarks,
	}
	if c.FLOPS > 0 {
		f.Seconds = f.Flops / c.FLOPS
	}
	if f.Result, err = s.Model.ResultBytes(); err != nil {
		return nil, err
	}
	f.Trainable, f.Total = s.Layout.Counts()
	for _, spec := range s.Memory.Specs {
		f.Largest = max(f.Largest, spec.Bytes())
	}
	if cfg.FSDP != nil && c.Tabs == 0 {
		c.Tabs = cfg.FSDP.WorldSize
	}
	if c.Tabs > 0 {
		f.Sharding = shards(s, f, c)
	}
	if misfit := s.Memory.Check(c.Limits, c.Budget); misfit != nil {
		f.Misfit = &misfit.Remark
	}
	f.Fits = f.Misfit == nil
	return f, nil
}

// Names of the units that are not the model's.
const (
	sharedUnit = "shared"
	runUnit    = "run"
)

// units splits the plan by unit.
func units(s *replay.Setup) []Unit {
	var order []string
	usage := map[string]*device.Usage{}
	counts := map[string]*[2]int64{}
	at := func(unit string) *device.Usage {
		if usage[unit] == nil {
			order = append(order, unit)
			usage[unit], counts[unit] = new(device.Usage), new([2]int64)
		}
		return usage[unit]
	}
	for _, p := range s.Model.Params() { // in the order of use
		at(p.Unit)
		n := int64(p.Shape.Size())
		counts[p.Unit][1] += n
		if p.Trainable {
			counts[p.Unit][0] += n
		}
	}
	for _, p := range s.Layout.Frozen {
		usage[p.Unit][device.Weights] += plan.FrozenSpec(p).Bytes()
	}
	segments := s.Layout.Segments
	if lanes := s.Layout.Lanes; lanes != nil {
		segments = lanes.Owned
		for _, spec := range slices.Concat(lanes.Weights, lanes.Gradients) {
			at(sharedUnit)[spec.Kind] += spec.Bytes()
		}
	}
	for i := range segments {
		seg := &segments[i]
		for _, spec := range seg.Specs() {
			usage[seg.Unit][spec.Kind] += spec.Bytes()
		}
	}
	for _, unit := range slices.Sorted(maps.Keys(s.Activations.Units)) {
		if n := s.Activations.Units[unit]; unit != "" && usage[unit] != nil {
			at(unit)[device.Activations] += n
		} else {
			at(sharedUnit)[device.Activations] += n
		}
	}
	at(runUnit)[device.Staging] = s.Memory.Usage[device.Staging]
	units := make([]Unit, len(order))
	for i, name := range order {
		units[i] = Unit{Name: name, Trainable: counts[name][0], Total: counts[name][1], Bytes: usage[name].Map()}
	}
	return units
}

// shards compares the strategies for a run of several tabs.
func shards(s *replay.Setup, f *Forecast, c Conditions) []Shard {
	cfg := s.Config
	run := plan.Sharding{Ranks: c.Tabs, Group: max(c.Tabs/2, 1), Slots: c.Tabs, Trained: f.Trainable, Param: 4, Reduce: 2}
	if d := cfg.FSDP; d != nil {
		run.Slots, run.SumFirst = max(d.Slots, 1), !d.Reproducible
		if d.ShardGroupSize > 0 {
			run.Group = d.ShardGroupSize
		}
	} else {
		run.Slots *= cfg.Training.Accumulation
	}
	if cfg.Precision.ParamDType != "float32" {
		run.Param = 2
	}
	if cfg.Precision.ReduceDType == "float32" {
		run.Reduce = 4
	}
	P := float64(max(f.Trainable, 1))
	whole := plan.NewLayout(s.Model.Params(), s.Limits) // whatever the run itself shards
	for i := range whole.Segments {
		specs := whole.Segments[i].Specs()
		part := map[int]*float64{
			plan.Weight: &run.Weight, plan.Gradient: &run.Gradient, plan.Moment1: &run.Moments, plan.Moment2: &run.Moments, plan.Compute: &run.Weight,
		}
		if specs[plan.Compute].Len > 0 {
			part[plan.Weight] = &run.Master
		}
		for c, spec := range specs {
			*part[c] += float64(spec.Bytes()) / P
		}
	}
	for _, u := range f.Units {
		run.Unit = max(run.Unit, u.Trainable)
		if u.Trainable > 0 {
			run.Units++
		}
	}
	run.Local = s.Memory.Usage
	trained := s.Layout
	trained.Frozen = nil
	for _, spec := range trained.Specs(true) {
		run.Local[spec.Kind] -= spec.Bytes()
	}
	var all []Shard
	for _, by := range plan.Strategies {
		if by == fsdp.HybridShard && (run.Group == run.Ranks || run.Group == 1 || run.Ranks%run.Group != 0) {
			continue // it is one of the others, or impossible
		}
		u := run.Memory(by)
		up, down := run.Traffic(by)
		row := Shard{
			Strategy: string(by), Ranks: run.Ranks, Group: run.Shards(by), Bytes: u.Map(), Up: up, Down: down,
			Fits: c.Budget == 0 || u.Total() <= c.Budget,
		}
		if c.Link.Rate > 0 {
			row.Wire = run.Seconds(by, c.Link)
			if c.FLOPS > 0 {
				perSlot := f.Flops / float64(cfg.Training.Accumulation) / c.FLOPS
				row.Seconds = row.Wire + perSlot*float64(device.CeilDiv(run.Slots, run.Ranks))
			}
		}
		all = append(all, row)
	}
	return all
}
