package job

import (
	"context"
	"errors"
	"fmt"
	"io"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/memory"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/tune"
	"llamatab/engine/weights"
)

func (j *Job) export(context.Context) error {
	e := j.Job.Export
	switch {
	case e == nil:
		return report.Fail("job", report.ExitConfig, "", fmt.Errorf("nothing to export was named"))
	case e.Format != "peft" && e.Format != "merged":
		return report.Fail("config", report.ExitConfig, "Use peft or merged.", fmt.Errorf("export format %q is not available in this version", e.Format))
	case j.Files.Adapter == nil:
		return report.Fail("config", report.ExitConfig, "Give --adapter DIR. Without an adapter the model folder is complete as it is.",
			fmt.Errorf("export --format %s needs an adapter", e.Format))
	}
	s, err := j.openModel()
	if err != nil {
		return err
	}
	defer s.Model.Close()
	if err := s.Model.CheckWeights(); err != nil {
		return err
	}
	run := j.exportMerged
	if e.Format == "peft" {
		run = j.exportPEFT
	}
	files := &folderless{Host: j.Host}
	if err := run(s, files); err != nil {
		return err
	}
	for _, name := range files.created {
		if err := (pretrained.Writer{Host: files}).Commit(name); err != nil {
			return err
		}
	}
	return nil
}

// folderless remembers the files of an export, which lie in the output folder itself.
type folderless struct {
	report.Host
	created []string
}

func (f *folderless) Create(path string) (io.WriteCloser, error) {
	f.created = append(f.created, path)
	return f.Host.Create(path)
}

// exportPEFT writes the adapter as PEFT does: F32, and the configuration in its own order.
func (j *Job) exportPEFT(s *replay.Setup, files report.Host) error {
	var params []*nn.Param
	for _, t := range s.Model.AdapterTensors() {
		if t.Param != nil {
			params = append(params, t.Param)
		}
	}
	dev, err := j.Open(plan.Sum(plan.NewLayout(params, device.UnboundedLimits()), false, graph.Plan{}).Want())
	if err != nil {
		return report.Fail("no_adapter", report.ExitBrowser, "Run llamatab doctor: it says what is missing.", err)
	}
	defer dev.Close()
	mem, err := memory.New(dev, plan.NewLayout(params, dev.Limits()), false)
	if err != nil {
		return err
	}
	defer mem.Free()
	mem.UseTuner(replay.NewTuner(dev, nil, j.Host, 1, false))
	for _, t := range s.Model.AdapterTensors() {
		if t.Param == nil {
			continue
		}
		if err := mem.Upload(t.Param, t.Param.Shape, t.Param.Transposed, s.Model.Adapter.File(t), t.Key, func(int64) {}); err != nil {
			return report.Fail("adapter", report.ExitFailed, "Use another adapter file.", err)
		}
	}
	return errors.Join(pretrained.Writer{Host: files, Values: mem}.Adapter("", s.Model), pretrained.Writer{Host: files}.Head("", s.Model, s.Model.HeadAsRead))
}

// exportMerged writes the model with the adapter folded in, in the base's own number format, rounded once. One matrix
// at a time is on the device.
func (j *Job) exportMerged(s *replay.Setup, files report.Host) error {
	all, err := s.Model.Method.Merges()
	if err != nil {
		return report.Fail("adapter", report.ExitConfig, "Keep the adapter beside the model: --format peft.", fmt.Errorf("export --format merged: %s: %w", s.Model.PEFT.Type, err))
	}
	merges := map[*nn.Param]peft.Merge{}
	for _, m := range all {
		if m.W == s.Model.Decoder.Embedding { // the tied head and the embedding no longer agree, so they part
			if head := s.Model.Decoder.Untie(); m.Head {
				m.W = head
			}
		}
		merges[m.W] = m
	}
	tensors := map[*nn.Param]peft.Tensor{} // the adapter's, by what holds them
	for _, t := range s.Model.AdapterTensors() {
		tensors[t.Param] = t
	}
	dev, err := j.Open(plan.Sum(plan.NewLayout(s.Model.Params(), device.UnboundedLimits()), false, graph.Plan{}).Want())
	if err != nil {
		return report.Fail("no_adapter", report.ExitBrowser, "Run llamatab doctor: it says what is missing.", err)
	}
	defer dev.Close()
	out := pretrained.Writer{Host: files}
	tuner := replay.NewTuner(dev, nil, j.Host, 1, false)
	progress := report.NewProgress(j.Host, "merge", "matrices", int64(len(merges)))
	done := 0
	if err := out.Model("", s.Model, func(p *nn.Param) (weights.Spec, bool) {
		base, _ := s.Model.Base.Tensor(p.From())
		dtype := base.DType
		if dtype != tensor.BF16 {
			dtype = tensor.F32
		}
		_, merged := merges[p]
		_, whole := tensors[p]
		return weights.Spec{Name: p.Name, DType: dtype, Shape: p.Shape}, merged || whole
	}, func(p *nn.Param, w io.Writer) error {
		base, _ := s.Model.Base.Tensor(p.From())
		whole, ok := tensors[p]
		if _, merged := merges[p]; ok && !merged {
			c := s.Model.Adapter.File(whole)
			t, _ := c.Tensor(whole.Key)
			h, err := c.ReadF32(t)
			if err != nil {
				return err
			}
			_, err = w.Write(tensor.EncodeF32(nil, h.Data, outType(base.DType)))
			return err
		}
		done++
		progress.Update(int64(done), p.Name)
		return merge(dev, tuner, s, p, merges[p], tensors, func(raw []byte) error {
			if base.DType == tensor.BF16 {
				x := make([]float32, len(raw)/4)
				if err := tensor.DecodeF32(x, raw, tensor.F32); err != nil {
					return err
				}
				raw = tensor.EncodeF32(nil, x, tensor.BF16)
			}
			_, err := w.Write(raw)
			return err
		})
	}); err != nil {
		return err
	}
	if err := out.Head("", s.Model, s.Model.HeadAsRead); err != nil {
		return err
	}
	report.Event(j.Host, "info", "merged", 0, map[string]any{"matrices": done}, "%d matrices merged", done)
	return nil
}

func outType(d tensor.DType) tensor.DType {
	if d == tensor.BF16 {
		return d
	}
	return tensor.F32
}

// merge folds the adapter into a weight on the device and streams the F32 result.
func merge(dev device.Device, tuner *tune.Tuner, s *replay.Setup, p *nn.Param, m peft.Merge, tensors map[*nn.Param]peft.Tensor, write func([]byte) error) error {
	// It is made in F32 whatever the base is stored in; as if it trained, but with a layout of its own.
	w := *p
	w.DType = tensor.F32
	mem, err := memory.New(dev, plan.Layout{Frozen: append([]*nn.Param{&w}, m.From...)}, false)
	if err != nil {
		return err
	}
	defer mem.Free()
	base, name := s.Model.Base, p.From()
	if whole, ok := tensors[p]; ok { // a bias that trained and is scaled besides
		base, name = s.Model.Adapter.File(whole), whole.Key
	}
	if take := s.Model.Residual(p); take != nil {
		err = mem.UploadResidual(&w, s.Model, take)
	} else {
		err = mem.Upload(&w, w.Shape, false, base, name, func(int64) {})
	}
	if err != nil {
		return err
	}
	for _, a := range m.From {
		if err := mem.Upload(a, a.Shape, a.Transposed, s.Model.Adapter.File(tensors[a]), tensors[a].Key, func(int64) {}); err != nil {
			return err
		}
	}
	t := graph.NewInferenceTape()
	if err := graph.Record(func() { m.Fold(t, w.Var(t)) }); err != nil {
		return err
	}
	pool, err := graph.NewPool(dev, t.Plan())
	if err != nil {
		return err
	}
	defer pool.Free()
	prog, err := t.Compile(dev, "merge", pool, graph.Binder{Extern: mem.Find, Prepare: tuner.Prepare, Choose: tuner.Choose})
	if err != nil {
		return err
	}
	defer prog.Release()
	if err := dev.Submit(device.Work{Run: prog.Executable}); err != nil {
		return err
	}
	return mem.Stream(&w, w.Shape, false, write)
}
