package job

import (
	"cmp"
	"fmt"

	"llamatab/engine/export"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// exportOptions are the settings of the job for engine/export.
func (j *Job) exportOptions() export.Options {
	e := j.Job.Export
	return export.Options{Name: cmp.Or(e.Name, "model"), DType: e.DType, Split: e.SplitBytes}
}

// planExport makes the plan of a form of another program, to refuse what the form cannot express before a device is opened.
func (j *Job) planExport(s *replay.Setup) error {
	format, next := j.Job.Export.Format, "Choose --format merged, which keeps the model in Hugging Face's form."
	var err error
	switch format {
	case "gguf":
		if s.Model.Method != nil {
			if _, err := s.Model.Method.Merges(); err != nil {
				return notMergeable(format, s.Model, err)
			}
		}
		_, err = export.PlanModel(s.Model, j.exportOptions())
	case "gguf-lora":
		if _, err := export.PlanModel(s.Model, j.exportOptions()); err == nil {
			next = "Choose --format gguf: it writes the whole model with the adapter merged in."
		}
		_, err = export.PlanLoRA(s.Model, j.exportOptions())
	case "mlx":
		next = "Choose --format merged: mlx-lm reads the merged model."
		_, err = export.PlanMLX(s.Model, j.exportOptions())
	}
	return exportFailed(format, next, err)
}

// exportFailed says that a form cannot express a result, and what to do then; nil for nil.
func exportFailed(format, next string, err error) error {
	if err == nil {
		return nil
	}
	return report.Fail("export", report.ExitConfig, next, fmt.Errorf("export --format %s: %w", format, err))
}

// exportGGUF writes the whole model as GGUF, with the adapter merged in where there is one.
func (j *Job) exportGGUF(s *replay.Setup, files report.Host) error {
	f, err := j.finalValues(s)
	if err != nil {
		return err
	}
	defer f.close()
	g, err := export.PlanModel(s.Model, j.exportOptions()) // again: the head may have parted from the embedding
	if err != nil {
		return exportFailed("gguf", "", err)
	}
	if len(g.FellBack) > 0 {
		report.Event(j.Host, "info", "gguf_finer", 0, map[string]any{"tensors": len(g.FellBack)},
			"%d matrices get a finer type, because their rows are not whole blocks of %s", len(g.FellBack), j.Job.Export.DType)
	}
	progress, done := report.NewProgress(j.Host, "write", "tensors", int64(g.Tensors())), 0
	if err := g.Write(pretrained.Writer{Host: files}, f.values, func(name string) {
		done++
		progress.Update(int64(done), name)
	}); err != nil {
		return err
	}
	report.Event(j.Host, "info", "gguf_written", 0, map[string]any{"file": g.Files[0], "bytes": g.Bytes}, "%s written", g.Files[0])
	return nil
}

// pairValues reads the values of an adapter from its files.
func pairValues(s *replay.Setup) export.Values {
	f := &finalValues{s: s, tensors: map[*nn.Param]peft.Tensor{}}
	for _, t := range s.Model.AdapterTensors() {
		f.tensors[t.Param] = t
	}
	return f.values
}

// exportLoRA writes the adapter as GGUF.
func (j *Job) exportLoRA(s *replay.Setup, files report.Host) error {
	a, err := export.PlanLoRA(s.Model, j.exportOptions())
	if err != nil {
		return exportFailed("gguf-lora", "", err)
	}
	return a.WriteLoRA(pretrained.Writer{Host: files}, pairValues(s))
}

// exportMLX writes the adapter as mlx-lm reads it.
func (j *Job) exportMLX(s *replay.Setup, files report.Host) error {
	a, err := export.PlanMLX(s.Model, j.exportOptions())
	if err != nil {
		return exportFailed("mlx", "", err)
	}
	return a.WriteMLX(pretrained.Writer{Host: files}, pairValues(s))
}
