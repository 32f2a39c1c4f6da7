package job

import (
	"encoding/json"
	"fmt"
	"strings"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/forecast"
	"llamatab/engine/message"
	"llamatab/engine/plan"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
	"llamatab/engine/report"
)

// look answers what a page asks while a run is put together, before any device is opened.
func (j *Job) look() error {
	var answer any
	var err error
	if j.Command == message.Plan {
		answer, err = j.forecast()
	} else {
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

// preview reads the dataset as training would and spells its first rows.
func (j *Job) preview() (*message.DataPreview, error) {
	cfg, err := j.parseConfig()
	if err != nil {
		return nil, err
	}
	m, err := pretrained.Open(j.Files, cfg.Model.Random, cfg.Training.Seed)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	s := &replay.Setup{Model: m}
	ds, err := s.LoadData(replay.DataOptions{
		Format: cfg.Dataset.Format, Columns: cfg.Dataset.Columns, MaxLength: cfg.Dataset.MaxLength, TrainOnPrompt: cfg.Dataset.TrainOnPrompt, Template: cfg.Dataset.Template,
		SkipBad: cfg.Dataset.OnBadRow == "skip", Classify: pretrained.Classifies(cfg),
	})
	if err != nil {
		return nil, err
	}
	p := &message.DataPreview{
		Format: ds.Format, File: ds.File, Rows: []message.PreviewRow{}, Total: ds.Stats.Rows, Tokens: ds.Stats.Tokens, Trained: ds.Stats.Trained, Remarks: ds.Remarks,
	}
	want := message.PreviewJob{Rows: 3, Tokens: 512}
	if j.Job.Preview != nil {
		want = *j.Job.Preview
	}
	rows, err := ds.Range(0, min(want.Rows, ds.Len()))
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		p.Rows = append(p.Rows, spell(s, row, want.Tokens))
	}
	return p, nil
}

// spell is a row in text, a token at a time. Bytes that are no text yet stand with the token that completes them.
func spell(s *replay.Setup, row data.Sample, most int) message.PreviewRow {
	out := message.PreviewRow{Length: len(row.IDs), Tokens: []message.PreviewToken{}}
	var text interface{ Next(int) string }
	if s.Model.Tokenizer != nil {
		text = s.Model.Tokenizer.Decoder(false)
	}
	for i, id := range row.IDs[:min(most, len(row.IDs))] {
		t := message.PreviewToken{ID: int(id), Trained: i > 0 && row.Labels != nil && row.Labels[i] != data.Ignore}
		if text != nil {
			t.Text = text.Next(int(id))
		}
		out.Tokens = append(out.Tokens, t)
	}
	return out
}
