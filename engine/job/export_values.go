package job

import (
	"fmt"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/tune"
)

// finalValues reads the parameters of a model with its adapter folded in.
type finalValues struct {
	s        *replay.Setup
	merges   map[*nn.Param]peft.Merge
	tensors  map[*nn.Param]peft.Tensor // the adapter's, by what holds them
	dev      device.Device             // nil where nothing is folded
	tuner    *tune.Tuner
	progress *report.Progress
	done     int // merged matrices
}

// finalValues opens the device that adapters are folded in on. Where an adapter changes the head or the embedding of a model that
// shares them, they part: the two no longer agree.
func (j *Job) finalValues(s *replay.Setup) (*finalValues, error) {
	f := &finalValues{s: s, merges: map[*nn.Param]peft.Merge{}, tensors: map[*nn.Param]peft.Tensor{}}
	if s.Model.Adapter == nil {
		return f, nil
	}
	all, err := s.Model.Method.Merges()
	if err != nil {
		return nil, notMergeable(j.Job.Export.Format, s.Model, err)
	}
	for _, m := range all {
		if m.W == s.Model.Decoder.Embedding {
			if head := s.Model.Decoder.Untie(); m.Head {
				m.W = head
			}
		}
		f.merges[m.W] = m
	}
	for _, t := range s.Model.AdapterTensors() {
		f.tensors[t.Param] = t
	}
	if f.dev, err = j.Open(plan.Sum(plan.NewLayout(s.Model.Params(), device.UnboundedLimits()), false, graph.Plan{}).Want()); err != nil {
		return nil, report.Fail("no_adapter", report.ExitBrowser, "Run llamatab doctor: it says what is missing.", err)
	}
	f.tuner = replay.NewTuner(f.dev, nil, j.Host, 1, false)
	f.progress = report.NewProgress(j.Host, "merge", "matrices", int64(len(f.merges)))
	return f, nil
}

// notMergeable is the error of an adapter that no weight can take in.
func notMergeable(format string, m *pretrained.Model, err error) error {
	return report.Fail("adapter", report.ExitConfig, "Keep the adapter beside the model: --format peft.", fmt.Errorf("export --format %s: %s: %w", format, m.PEFT.Type, err))
}

func (f *finalValues) close() {
	if f.dev != nil {
		f.dev.Close()
	}
}

// changes says whether the adapter changes a parameter.
func (f *finalValues) changes(p *nn.Param) bool {
	_, merged := f.merges[p]
	_, whole := f.tensors[p]
	return merged || whole
}

// values passes the values of a parameter to take in pieces: merged, from the adapter's file, or from the base's.
func (f *finalValues) values(p *nn.Param, take func([]float32) error) error {
	m := f.s.Model
	decode := func(raw []byte, d tensor.DType) error {
		x := make([]float32, len(raw)/d.Size())
		if err := tensor.DecodeF32(x, raw, d); err != nil {
			return err
		}
		return take(x)
	}
	if merge, ok := f.merges[p]; ok {
		f.done++
		f.progress.Update(int64(f.done), p.Name)
		return mergeInto(f, p, merge, func(raw []byte) error { return decode(raw, tensor.F32) })
	}
	from, name := m.Base, p.From()
	if whole, ok := f.tensors[p]; ok {
		from, name = m.Adapter.File(whole), whole.Key
	}
	t, ok := from.Tensor(name)
	if !ok {
		return fmt.Errorf("tensor %q is missing", name)
	}
	return from.ReadChunks(t, pretrained.ChunkBytes, func(_ int64, raw []byte) error { return decode(raw, t.DType) })
}
