package rank

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"llamatab/engine/config"
	"llamatab/engine/data/sampling"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// NewRun describes the run of a config for a room, and counts the tokens of its slots.
func NewRun(id string, cfg *config.Config, files report.Files) (*fsdp.Run, SlotTokens, error) {
	s, err := replay.Prepare(cfg, files, device.UnboundedLimits())
	if err != nil {
		return nil, nil, err
	}
	defer s.Model.Close()
	f := cfg.FSDP
	run := &fsdp.Run{
		ID: id, Strategy: fsdp.Strategy(f.ShardingStrategy), Wrap: f.AutoWrapPolicy, Slots: f.Slots, Shards: f.Shards(), SumFirst: !f.Reproducible,
		ReduceDType: cfg.Precision.ReduceDType, ParamDType: cfg.Precision.ParamDType, MaxGradNorm: cfg.Training.MaxGradNorm,
	}
	for _, seg := range s.Layout.Segments {
		for _, p := range seg.Params {
			run.Params = append(run.Params, fsdp.Param{Name: p.Name, Shape: p.Shape, Unit: p.Unit})
		}
	}
	sampler, err := sampling.New(s.DataPlan(cfg))
	if err != nil {
		return nil, nil, err
	}
	run.Steps = sampler.TotalSteps()
	if run.Eval, err = evaluation(s); err != nil {
		return nil, nil, err
	}
	tokens, err := slotTokens(s, cfg)
	if err != nil {
		return nil, nil, err
	}
	_, err = run.Table()
	return run, tokens, err
}

// parseRun reads the run of a room's welcome and checks that it is the run of this tab, which has so many steps.
func parseRun(raw json.RawMessage, s *replay.Setup, steps int) (*fsdp.Run, *fsdp.Table, error) {
	run := new(fsdp.Run)
	if err := json.Unmarshal(raw, run); err != nil {
		return nil, nil, fmt.Errorf("the run of the room cannot be read: %w", err)
	}
	table, err := run.Table()
	if err != nil {
		return nil, nil, err
	}
	n := 0
	for _, seg := range s.Layout.Segments {
		for _, p := range seg.Params {
			if n >= len(run.Params) || run.Params[n].Name != p.Name || !run.Params[n].Shape.Equal(p.Shape) {
				return nil, nil, fmt.Errorf("the room trains other parameters: number %d is not %s of shape %v", n, p.Name, p.Shape)
			}
			n++
		}
	}
	f := s.Config.FSDP
	if n != len(run.Params) || run.Steps != steps || run.Slots != f.Slots || run.SumFirst == f.Reproducible {
		return nil, nil, fmt.Errorf("the room's run of %d steps, %d slots and %d parameters is not this one of %d, %d and %d",
			run.Steps, run.Slots, len(run.Params), steps, f.Slots, n)
	}
	if run.Strategy != fsdp.Strategy(f.ShardingStrategy) || run.Wrap != f.AutoWrapPolicy || run.Strategy.Sharded() && run.Shards != f.Shards() {
		return nil, nil, fmt.Errorf("the room shares the run by %s in %d shards, wrapped by %s, and this tab by %s in %d, wrapped by %s",
			run.Strategy, run.Shards, run.Wrap, f.ShardingStrategy, f.Shards(), f.AutoWrapPolicy)
	}
	eval, err := evaluation(s)
	if err != nil {
		return nil, nil, err
	}
	if !reflect.DeepEqual(run.Eval, eval) {
		return nil, nil, errors.New("the room evaluates at other steps, or on other rows, than this tab")
	}
	return run, table, nil
}
