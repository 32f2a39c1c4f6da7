package train

import (
	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
)

// Forecast is what a run will take, known before a device is opened.
type Forecast struct {
	Trainable  int64            `json:"trainable_parameters"`
	Total      int64            `json:"total_parameters"`
	Bytes      map[string]int64 `json:"planned_bytes"`
	Unshared   int64            `json:"activations_without_sharing_bytes"`
	Recomputed int              `json:"recomputed_blocks"` // whose activations are not kept
	Largest    int64            `json:"largest_buffer_bytes"`
	Steps      int              `json:"steps"`
	Launches   int              `json:"launches_per_micro_batch"` // of the longest rows
	RowLengths []int            `json:"row_lengths"`              // that programs are made for
	Dataset    data.Stats       `json:"dataset"`
	Fits       bool             `json:"fits"`             // in the budget, or where there is none in WebGPU's default limits
	Reason     string           `json:"reason,omitempty"` // why not
	Advice     string           `json:"advice,omitempty"`
	Warnings   []string         `json:"warnings,omitempty"`
	Table      string           `json:"-"`
}

// Plan prepares a run as training would and reports what it needs. limits are those that it must fit in, budget a
// number of bytes or 0.
func Plan(cfg *config.Config, files Files, limits device.Limits, budget int64) (*Forecast, error) {
	s, err := Prepare(cfg, files, unbounded)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.planFor(unbounded, budget); err != nil {
		return nil, err
	}
	t, err := s.record(s.longest(), true)
	if err != nil {
		return nil, err
	}
	sampler, err := data.NewSampler(data.Plan{
		Rows: len(s.Train.Samples), Batch: cfg.Training.BatchSize, Micro: cfg.Training.Accumulation,
		Epochs: cfg.Training.Epochs, MaxSteps: cfg.Training.MaxSteps,
	})
	if err != nil {
		return nil, err
	}
	f := &Forecast{
		Bytes: s.Memory.Usage.Map(), Recomputed: s.recompute, Unshared: s.Memory.Temporaries, Steps: sampler.TotalSteps(), Launches: t.Launches(),
		RowLengths: s.lengths, Dataset: s.Train.Stats, Warnings: s.Warnings, Table: s.Memory.Table(),
	}
	f.Trainable, f.Total = s.Layout.Counts()
	for _, spec := range s.Memory.Specs {
		f.Largest = max(f.Largest, spec.Bytes())
	}
	if err := s.Memory.Check(limits, budget); err != nil {
		f.Reason, f.Advice = err.Error(), s.advice(limits, budget)
	}
	f.Fits = f.Reason == ""
	return f, nil
}
