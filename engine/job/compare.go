package job

import (
	"context"
	"fmt"

	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/memory"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// A job that does not train computes with one model: the base model, or the base model with an adapter. A job that
// compares adapters computes with the base model, and then with each adapter over it.

// compares reports whether the job compares adapters.
func (j *Job) compares() bool { return len(j.Compare) > 0 }

// openModel opens the model of a job that does not train, with its adapters. A single adapter is in use.
func (j *Job) openModel() (*replay.Setup, error) {
	m, err := pretrained.Open(j.Files, nil, 0)
	if err != nil {
		return nil, err
	}
	if err := j.addAdapters(m); err != nil {
		m.Close()
		return nil, err
	}
	return &replay.Setup{Model: m, BatchRows: 1, Limits: device.UnboundedLimits()}, nil
}

func (j *Job) addAdapters(m *pretrained.Model) error {
	for i, name := range j.Compare {
		folder := j.Files.Compare[report.AdapterMount(i)]
		if folder == nil {
			return report.Fail("job", report.ExitConfig, "Update the page and the program together.", fmt.Errorf("adapter %s is not mounted", name))
		}
		if err := m.AddCompared(name, folder); err != nil {
			return err
		}
	}
	if j.Files.Adapter == nil {
		return nil
	}
	a, err := m.AddAdapter("", j.Files.Adapter)
	if err == nil {
		m.Use(a)
	}
	return err
}

// eachModel calls f for each model that the job computes with. Its adapter is in use then, and nil for the base model.
func (j *Job) eachModel(s *replay.Setup, f func(a *pretrained.Adapter) error) error {
	if j.compares() {
		return s.Model.EachAdapter(f)
	}
	return f(s.Model.Adapter)
}

// load plans for each model, opens a device that fits the largest plan, and loads the parameters of all models. It returns
// the adapter whose plan the setup has then.
func (j *Job) load(s *replay.Setup) (dev device.Device, params *memory.Parameters, planned *pretrained.Adapter, err error) {
	most := int64(-1)
	if err := j.eachModel(s, func(a *pretrained.Adapter) error {
		err := s.Plan()
		if n := s.Memory.Total(); err == nil && n > most {
			planned, most = a, n
		}
		return err
	}); err != nil {
		return nil, nil, nil, err
	}
	s.Model.Use(planned)
	if dev, err = j.open(s); err != nil {
		return nil, nil, nil, err
	}
	params, err = memory.New(dev, s.Layout, false)
	if err == nil {
		if err = params.Load(s.Model, s.Model.Params(), j.Host); err != nil {
			params.Free()
		}
	}
	if err != nil {
		dev.Close()
		return nil, nil, nil, err
	}
	return dev, params, planned, nil
}

// withModels opens a device and calls f with the programs of each model that the job computes with.
func (j *Job) withModels(ctx context.Context, s *replay.Setup, f func(a *pretrained.Adapter, st *replay.Stepper) error) error {
	dev, params, planned, err := j.load(s)
	if err != nil {
		return err
	}
	defer dev.Close()
	defer params.Free()
	return j.eachModel(s, func(a *pretrained.Adapter) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if a != planned {
			if err := forecast.Fit(s, dev.Limits(), j.Budget); err != nil {
				return err
			}
			planned = a
		}
		st, err := replay.NewStepper(s, dev, params, j.Host, nil)
		if err != nil {
			return err
		}
		defer st.Free()
		return f(a, st)
	})
}
