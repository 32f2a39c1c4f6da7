package job

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/memory"
	"llamatab/engine/message"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// prepareStack opens a model with several adapters over it, none of them in use. An adapter that comes with base modules
// of its own has no place there: the others and the base model need those as they were.
func (j *Job) prepareStack() (*replay.Setup, error) {
	m, err := pretrained.Open(j.Files, nil, 0)
	if err != nil {
		return nil, err
	}
	s := &replay.Setup{Model: m, BatchRows: 1, Limits: device.UnboundedLimits()}
	for i, name := range j.Compare {
		folder := j.Files.Compare[report.AdapterMount(i)]
		if folder == nil {
			err = report.Fail("job", report.ExitConfig, "Update the page and the program together.", fmt.Errorf("adapter %s is not mounted", name))
		} else if err = s.Model.AddCompared(name, folder); err == nil {
			continue
		}
		m.Close()
		return nil, err
	}
	s.Model.Freeze()
	return s, s.Model.CheckWeights()
}

// openStack opens a device that holds the model with any of the adapters in use, and loads all of them.
func (j *Job) openStack(s *replay.Setup) (*memory.Parameters, error) {
	largest, most := (*pretrained.Adapter)(nil), int64(-1)
	if err := s.Model.EachAdapter(func(a *pretrained.Adapter) error {
		err := s.Plan()
		if n := s.Memory.Total(); err == nil && n > most {
			largest, most = a, n
		}
		return err
	}); err != nil {
		return nil, err
	}
	s.Model.Use(largest)
	dev, err := j.open(s)
	if err != nil {
		return nil, err
	}
	mem, err := memory.New(dev, s.Layout, false)
	if err == nil {
		if err = mem.Load(s.Model, s.Model.Params(), j.Host); err != nil {
			mem.Free()
		}
	}
	if err != nil {
		dev.Close()
		return nil, err
	}
	return mem, nil
}

// stepperFor makes the programs of the adapter in use.
func (j *Job) stepperFor(s *replay.Setup, mem *memory.Parameters) (*replay.Stepper, error) {
	if err := forecast.Fit(s, mem.Device.Limits(), j.Budget); err != nil {
		return nil, err
	}
	return replay.NewStepper(s, mem.Device, mem, j.Host, nil)
}

// scored is what one of a comparison gives on a dataset.
type scored struct {
	Name       string         `json:"name,omitempty"`
	Type       string         `json:"peft_type,omitempty"`
	Loss       message.Float  `json:"loss"`
	Perplexity *message.Float `json:"perplexity"`
	Tokens     int            `json:"tokens"`
	Accuracy   *message.Float `json:"accuracy,omitempty"` // of a classification
	F1         *message.Float `json:"f1,omitempty"`
}

// evalStack measures the base model and each of several adapters on the same rows.
func (j *Job) evalStack(ctx context.Context) error {
	e := j.Job.Eval
	if e.DumpLogits != "" || e.DumpGradients != "" {
		return report.Fail("config", report.ExitConfig, "Give one --adapter.", fmt.Errorf("dumps are of one adapter, and %d are compared", len(j.Compare)))
	}
	s, err := j.prepareStack()
	if err != nil {
		return err
	}
	defer s.Model.Close()
	if s.BatchRows = evalRows; e.BatchSize > 0 {
		s.BatchRows = e.BatchSize
	}
	o := replay.DataOptions{Format: e.Format}
	if e.MaxLength > 0 {
		o.MaxLength = &e.MaxLength
	}
	if s.Train, err = s.LoadData(o); err != nil {
		return err
	}
	mem, err := j.openStack(s)
	if err != nil {
		return err
	}
	defer mem.Device.Close()
	defer mem.Free()
	var base scored
	adapters := []scored{}
	if err := s.Model.EachAdapter(func(a *pretrained.Adapter) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		st, err := j.stepperFor(s, mem)
		if err != nil {
			return err
		}
		defer st.Free()
		if err := st.Build(j.Host); err != nil {
			return err
		}
		m, err := s.Measure(s.Train, st, j.Host)
		r := scored{Loss: message.Float(m.Loss), Perplexity: replay.Perplexity(m.Loss), Tokens: m.Tokens, Accuracy: m.Accuracy, F1: m.F1}
		if a == nil {
			base = r
		} else {
			r.Name, r.Type = a.Name, a.Config.Type
			adapters = append(adapters, r)
		}
		return err
	}); err != nil {
		return err
	}
	result, err := json.Marshal(map[string]any{"rows": len(s.Train.Samples), "base": base, "adapters": adapters})
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}

// written is what one of a comparison makes of a prompt.
type written struct {
	Name   string `json:"name,omitempty"`
	Type   string `json:"peft_type,omitempty"`
	Output []int  `json:"output_ids"`
	Text   string `json:"text"`
}

// generateStack continues a prompt with the base model and with each of several adapters.
func (j *Job) generateStack(ctx context.Context) error {
	s, err := j.prepareStack()
	if err != nil {
		return err
	}
	defer s.Model.Close()
	prompt, err := encodePrompt(s, j.Job.Generate)
	if err != nil {
		return err
	}
	mem, err := j.openStack(s)
	if err != nil {
		return err
	}
	defer mem.Device.Close()
	defer mem.Free()
	var base written
	adapters := []written{}
	if err := s.Model.EachAdapter(func(a *pretrained.Adapter) error {
		st, err := j.stepperFor(s, mem)
		if err != nil {
			return err
		}
		defer st.Free()
		ids, err := j.write(ctx, st, slices.Clone(prompt), func(message.Token) {})
		w := written{Output: ids, Text: s.Model.Tokenizer.Decode(ids, true)}
		if a == nil {
			base = w
		} else {
			w.Name, w.Type = a.Name, a.Config.Type
			adapters = append(adapters, w)
		}
		return err
	}); err != nil {
		return err
	}
	result, err := json.Marshal(map[string]any{"prompt": j.Job.Generate.Prompt, "prompt_ids": prompt, "base": base, "adapters": adapters})
	j.Host.Emit(message.Envelope{Type: "result", Result: result})
	return err
}
