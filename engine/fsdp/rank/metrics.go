package rank

import (
	"llamatab/engine/config"
	"llamatab/engine/data/sampling"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// Metrics returns the lines of metrics.jsonl for steps that a room has committed, from the first step on, with its
// evaluations. The room needs them if no tab is left to report them. Times and memory are zero, because only a tab knows
// them.
func Metrics(cfg *config.Config, files report.Files, commits []fsdp.Commit, evals []fsdp.Evaluated) ([]message.Step, error) {
	s, err := replay.Prepare(cfg, files, device.UnboundedLimits())
	if err != nil {
		return nil, err
	}
	defer s.Model.Close()
	sampler, err := sampling.New(s.DataPlan(cfg))
	if err != nil {
		return nil, err
	}
	var steps []message.Step
	seen := int64(0)
	for i, c := range commits {
		for _, rows := range sampler.Step(i) {
			for _, row := range rows {
				seen += int64(s.Train.RowLen(row))
			}
		}
		step := message.Step{Step: i + 1, Epoch: sampler.Epoch(i + 1), Loss: message.Float(c.Loss), GradNorm: message.Float(c.Norm), Tokens: c.Tokens, NumInputTokensSeen: seen}
		if c.Applied {
			if step.LearningRate, err = learningRate(cfg.Training, uint64(i), sampler.TotalSteps()); err != nil {
				return nil, err
			}
		}
		steps = append(steps, step)
	}
	for _, e := range evals {
		if e.Version > 0 {
			measuredOf(e).AddTo(&steps[e.Version-1])
		}
	}
	return steps, nil
}
