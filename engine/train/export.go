package train

import (
	"context"
	"fmt"
	"io"

	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/peft"
	"llamatab/engine/plan"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

func (j *Job) export(context.Context) error {
	e := j.Job.Export
	switch {
	case e == nil:
		return fail("job", exitConfig, "", fmt.Errorf("nothing to export was named"))
	case e.Format != "peft" && e.Format != "merged":
		return fail("config", exitConfig, "Use peft or merged.", fmt.Errorf("export format %q is not available in this version", e.Format))
	case j.Files.Adapter == nil:
		return fail("config", exitConfig, "Give --adapter DIR. Without an adapter the model folder is complete as it is.",
			fmt.Errorf("export --format %s needs an adapter", e.Format))
	}
	s, err := j.prepareModel()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.settle(); err != nil {
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
		if err := (output{host: files}).commit(name); err != nil {
			return err
		}
	}
	return nil
}

// folderless remembers the files of an export, which lie in the output folder itself.
type folderless struct {
	Host
	created []string
}

func (f *folderless) Create(path string) (io.WriteCloser, error) {
	f.created = append(f.created, path)
	return f.Host.Create(path)
}

// exportPEFT writes the adapter as PEFT does: F32, and the configuration in its own order.
func (j *Job) exportPEFT(s *Setup, files Host) error {
	var params []*nn.Param
	for _, t := range s.saved() {
		params = append(params, t.Param)
	}
	dev, err := j.Open(plan.Sum(plan.NewLayout(params, unbounded), false, graph.Plan{}).Want())
	if err != nil {
		return fail("no_adapter", exitBrowser, "Run llamatab doctor: it says what is missing.", err)
	}
	defer dev.Close()
	mem, err := newMemory(dev, plan.NewLayout(params, dev.Limits()), false)
	if err != nil {
		return err
	}
	defer mem.free()
	for _, t := range s.saved() {
		if err := mem.upload(t.Param, t.Param.Shape, t.Param.Transposed, s.Adapter, t.Key, func(int64) {}); err != nil {
			return fail("adapter", exitFailed, "Use another adapter file.", err)
		}
	}
	return output{files, mem}.adapter("", s.Model)
}

// exportMerged writes the model with the adapter folded in, in the base's own number format, rounded once. One matrix
// at a time is on the device.
func (j *Job) exportMerged(s *Setup, files Host) error {
	merges := map[*nn.Param]peft.Merge{}
	for _, m := range s.Method.Merges() {
		if m.W == s.Decoder.Embedding { // the tied head and the embedding no longer agree, so they part
			if head := s.Decoder.Untie(); !m.Transposed {
				m.W = head
			}
		}
		merges[m.W] = m
	}
	saved := map[*nn.Param]string{}
	for _, t := range s.saved() {
		saved[t.Param] = t.Key
	}
	dev, err := j.Open(plan.Sum(plan.NewLayout(s.Params(), unbounded), false, graph.Plan{}).Want())
	if err != nil {
		return fail("no_adapter", exitBrowser, "Run llamatab doctor: it says what is missing.", err)
	}
	defer dev.Close()
	out := output{host: files}
	tuner := newTuner(dev, nil, j.Host)
	progress := newProgress(j.Host, "merge", "matrices", int64(len(merges)))
	done := 0
	if err := out.model("", s.Model, func(p *nn.Param) (weights.Spec, bool) {
		base, _ := s.Base.Tensor(p.From())
		dtype := base.DType
		if dtype != tensor.BF16 {
			dtype = tensor.F32
		}
		_, merged := merges[p]
		_, whole := saved[p]
		return weights.Spec{Name: p.Name, DType: dtype, Shape: p.Shape}, merged || whole
	}, func(p *nn.Param, w io.Writer) error {
		base, _ := s.Base.Tensor(p.From())
		key, whole := saved[p]
		if _, merged := merges[p]; whole && !merged {
			t, _ := s.Adapter.Tensor(key)
			h, err := s.Adapter.ReadF32(t)
			if err != nil {
				return err
			}
			_, err = w.Write(tensor.EncodeF32(nil, h.Data, outType(base.DType)))
			return err
		}
		done++
		progress.at(int64(done), p.Name)
		from, name := s.Base, p.From()
		if whole {
			from, name = s.Adapter, key
		}
		return merge(dev, tuner, s, p, from, name, merges[p], func(raw []byte) error {
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
	event(j.Host, "info", "merged", 0, map[string]any{"matrices": done}, "%d matrices merged", done)
	return nil
}

func outType(d tensor.DType) tensor.DType {
	if d == tensor.BF16 {
		return d
	}
	return tensor.F32
}

// merge computes W + scale·Left·Right on the device, with W as from holds it under name, and streams the F32 result.
func merge(dev device.Device, tuner interface {
	Choose(*device.Launch) (device.Variant, error)
}, s *Setup, p *nn.Param, from *weights.Checkpoint, name string, m peft.Merge, write func([]byte) error) error {
	// The sum is made in F32 whatever the base is stored in; as if it trained, but with a layout of its own.
	w := *p
	w.DType = tensor.F32
	mem, err := newMemory(dev, plan.Layout{Frozen: []*nn.Param{&w, m.Left, m.Right}}, false)
	if err != nil {
		return err
	}
	defer mem.free()
	if err := mem.upload(&w, w.Shape, false, from, name, func(int64) {}); err != nil {
		return err
	}
	for _, a := range []*nn.Param{m.Left, m.Right} {
		if err := mem.upload(a, a.Shape, a.Transposed, s.Adapter, a.Name, func(int64) {}); err != nil {
			return err
		}
	}
	t := graph.NewInferenceTape()
	if err := graph.Record(func() { op.MergeLowRank(t, w.Var(t), m.Left.Var(t), m.Right.Var(t), m.Transposed, m.Scale) }); err != nil {
		return err
	}
	prog, err := t.Compile(dev, "merge", nil, graph.Binder{Extern: mem.find, Choose: tuner.Choose})
	if err != nil {
		return err
	}
	defer prog.Release()
	if err := dev.Submit(device.Work{Run: prog.Executable}); err != nil {
		return err
	}
	return mem.stream(&w, w.Shape, false, write)
}
