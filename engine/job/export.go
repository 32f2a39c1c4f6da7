package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

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
	"llamatab/engine/weights"
)

// exportFormats are the forms of a result, each with what writes it.
var exportFormats = map[string]func(*Job, *replay.Setup, report.Host) error{
	"peft": (*Job).exportPEFT, "merged": (*Job).exportMerged, "gguf": (*Job).exportGGUF, "gguf-lora": (*Job).exportLoRA, "mlx": (*Job).exportMLX,
}

// ExportFormats lists the forms of a result.
func ExportFormats() []string { return []string{"peft", "merged", "gguf", "gguf-lora", "mlx"} }

func (j *Job) export(context.Context) error {
	s, err := j.openExport()
	if err != nil {
		return err
	}
	defer s.Model.Close()
	files := &folderless{Host: j.Host}
	if err := exportFormats[j.Job.Export.Format](j, s, files); err != nil {
		return err
	}
	for _, name := range files.created {
		if err := (pretrained.Writer{Host: files}).Commit(name); err != nil {
			return err
		}
	}
	return nil
}

// openExport opens what is to be exported and checks that the form can express it. Nothing is written and no device is opened.
func (j *Job) openExport() (*replay.Setup, error) {
	e := j.Job.Export
	if e == nil {
		return nil, report.Fail("job", report.ExitConfig, "", fmt.Errorf("nothing to export was named"))
	}
	whole := e.Format == "gguf" || e.Format == "merged" && e.DType != ""
	switch {
	case exportFormats[e.Format] == nil:
		return nil, report.Fail("config", report.ExitConfig, "Use "+strings.Join(ExportFormats(), ", ")+".", fmt.Errorf("export format %q is not available in this version", e.Format))
	case j.Files.Adapter == nil && !whole:
		return nil, report.Fail("config", report.ExitConfig, "Give --adapter DIR. Without an adapter the model folder is complete as it is.",
			fmt.Errorf("export --format %s needs an adapter", e.Format))
	}
	if _, ok := mergedTypes[e.DType]; e.Format == "merged" && !ok {
		return nil, report.Fail("config", report.ExitConfig, "Use f32, bf16 or f16, or leave --dtype out to keep the base's type.", fmt.Errorf("export --format merged: dtype %q is not available", e.DType))
	}
	s, err := j.openModel()
	if err == nil {
		if err = s.Model.CheckWeights(); err == nil {
			err = j.planExport(s)
		}
		if err != nil {
			s.Model.Close()
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
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

// mergedTypes are the types of --dtype for a merged model. "" keeps the base's, with float16 widened to float32.
var mergedTypes = map[string]tensor.DType{"": tensor.F32, "f32": tensor.F32, "bf16": tensor.BF16, "f16": tensor.F16}

// exportMerged writes the model with the adapter folded in, rounded once: in the base's own number format, or all of it in another
// one. One matrix at a time is on the device.
func (j *Job) exportMerged(s *replay.Setup, files report.Host) error {
	f, err := j.finalValues(s)
	if err != nil {
		return err
	}
	defer f.close()
	chosen, all := mergedTypes[j.Job.Export.DType], j.Job.Export.DType != ""
	typeOf := func(p *nn.Param) tensor.DType {
		if all {
			return chosen
		}
		base, _ := s.Model.Base.Tensor(p.From())
		return outType(base.DType)
	}
	out := pretrained.Writer{Host: files}
	if err := out.Model("", s.Model, func(p *nn.Param) (weights.Spec, bool) {
		return weights.Spec{Name: p.Name, DType: typeOf(p), Shape: p.FileShape()}, all || f.changes(p)
	}, func(p *nn.Param, w io.Writer) error {
		d := typeOf(p)
		return f.values(p, func(x []float32) error {
			if d == tensor.F16 {
				if i := slices.IndexFunc(x, func(v float32) bool { return v > largestF16 || v < -largestF16 }); i >= 0 {
					return fmt.Errorf("%s holds %v, and f16 reaches to %d: choose bf16 or f32", p.Name, x[i], largestF16)
				}
			}
			_, err := w.Write(tensor.EncodeF32(nil, x, d))
			return err
		})
	}); err != nil {
		return err
	}
	if err := out.Head("", s.Model, s.Model.HeadAsRead); err != nil {
		return err
	}
	report.Event(j.Host, "info", "merged", 0, map[string]any{"matrices": f.done}, "%d matrices merged", f.done)
	return nil
}

// largestF16 is the largest number that binary16 holds.
const largestF16 = 65504

func outType(d tensor.DType) tensor.DType {
	if d == tensor.BF16 {
		return d
	}
	return tensor.F32
}

// mergeInto folds the adapter into a weight on the device and streams the F32 result.
func mergeInto(f *finalValues, p *nn.Param, m peft.Merge, write func([]byte) error) error {
	dev, tuner, s, tensors := f.dev, f.tuner, f.s, f.tensors
	// It is made in F32 whatever the base is stored in; as if it trained, but with a layout of its own.
	w := *p
	w.DType, w.Quant = tensor.F32, 0
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
