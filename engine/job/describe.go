package job

import (
	"encoding/json"
	"fmt"
	"strings"

	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/message"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/report"
)

// look answers what a page asks while a run is put together or opened. It opens no device.
func (j *Job) look() error {
	var answer any
	var err error
	switch j.Command {
	case message.Plan:
		answer, err = j.forecast()
	case message.Template:
		answer, err = j.chatTemplate()
	default:
		answer, err = j.preview()
	}
	if err != nil {
		return err
	}
	return j.answer(answer)
}

func (j *Job) answer(v any) error {
	result, err := json.Marshal(v)
	if err == nil {
		j.Host.Emit(message.Envelope{Type: "result", Result: result})
	}
	return err
}

// forecast answers a PlanJob with a Forecast, or with a list of Methods where they are to be compared. A Forecast of what
// does not fit is sent at once, and again with the choices of what would.
func (j *Job) forecast() (any, error) {
	cfg, err := j.parseConfig()
	if err != nil {
		return nil, err
	}
	c := forecast.Conditions{Limits: device.DefaultLimits, Budget: j.Budget, Early: func(f *forecast.Forecast) { _ = j.answer(f) }}
	files, p := j.Files, j.Job.Plan
	if p == nil {
		return forecast.Plan(cfg, files, c)
	}
	if p.MaxBuffer > 0 && p.MaxBinding > 0 {
		c.Limits.MaxBuffer, c.Limits.MaxBinding = p.MaxBuffer, p.MaxBinding
	}
	c.Tabs, c.FLOPS, c.Link = p.Tabs, p.FLOPS, plan.Link{Rate: p.LinkRate, Shared: p.LinkShared}
	if p.Model != "" {
		known, ok := plan.FindModel(p.Model)
		if !ok {
			return nil, report.Fail("config", report.ExitConfig, "Choose one of "+strings.Join(plan.ModelNames(), ", ")+".", fmt.Errorf("no known model is called %q", p.Model))
		}
		if files, err = forecast.Imagine(known, cfg); err != nil {
			return nil, report.Fail("config", report.ExitConfig, pretrained.ModelHint, err)
		}
	}
	if p.Compare {
		return forecast.Compare(cfg, files, c)
	}
	return forecast.Plan(cfg, files, c)
}
