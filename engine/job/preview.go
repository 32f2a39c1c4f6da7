package job

import (
	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/message"
	"llamatab/engine/pretrained"
	"llamatab/engine/replay"
)

// preview reads the dataset as training would and spells its first rows. Of data that cannot be read it answers with the columns
// of the file, from which a person can choose, before it fails.
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
	want := message.PreviewJob{Rows: 3, Tokens: 512}
	if j.Job.Preview != nil {
		want = *j.Job.Preview
	}
	s := &replay.Setup{Model: m}
	o := dataOptions(cfg)
	o.Outlines, o.Bytes = want.Rows, want.Bytes
	p := &message.DataPreview{Rows: []message.PreviewRow{}}
	p.Columns, p.Keys, p.File = s.DataColumns(o)
	ds, err := s.LoadData(o)
	if err != nil {
		if len(p.Columns) > 0 {
			_ = j.answer(p)
		}
		return nil, err
	}
	p.Format, p.File, p.Total, p.Tokens, p.Trained, p.Counts, p.Remarks = ds.Format, ds.File, ds.Stats.Rows, ds.Stats.Tokens, ds.Stats.Trained, ds.Stats, ds.Remarks
	if ds.Part && ds.Share < 1 {
		p.Share = ds.Share
	}
	for _, row := range ds.Bad {
		p.Bad = append(p.Bad, message.PreviewBadRow{Line: row.Line, Cause: row.Why()})
	}
	if ds.Chat != nil {
		p.Template = &message.PreviewTemplate{Name: ds.Chat.Template.Name, Source: ds.Chat.Template.Source, StandIn: ds.Chat.StandIn, Own: m.ChatNames()}
	}
	rows, err := ds.Range(0, min(want.Rows, ds.Len()))
	if err != nil {
		return nil, err
	}
	for i, row := range rows {
		shown := spell(s, row, want.Tokens)
		if i < len(ds.Outlines) {
			shown.Turns = shownTurns(ds.Outlines[i], len(shown.Tokens))
		}
		if row.Labels == nil && ds.Classes != nil {
			shown.Label = ds.Classes[row.Class]
		}
		p.Rows = append(p.Rows, shown)
	}
	return p, nil
}

// dataOptions say how a run of the configuration reads its dataset.
func dataOptions(cfg *config.Config) replay.DataOptions {
	return replay.DataOptions{
		Format: cfg.Dataset.Format, Columns: cfg.Dataset.Columns, MaxLength: cfg.Dataset.MaxLength, TrainOnPrompt: cfg.Dataset.TrainOnPrompt, Template: cfg.Dataset.Template,
		SkipBad: cfg.Dataset.OnBadRow == "skip", Classify: pretrained.Classifies(cfg),
	}
}

// shownTurns are the turns that begin within so many tokens.
func shownTurns(turns []message.PreviewTurn, tokens int) []message.PreviewTurn {
	for i, t := range turns {
		if t.From >= tokens {
			return turns[:i]
		}
	}
	return turns
}

// spell is a row in text, a token at a time. Bytes that are no text yet stand with the token that completes them.
func spell(s *replay.Setup, row data.Sample, most int) message.PreviewRow {
	out := message.PreviewRow{Length: len(row.IDs), Line: row.Line, Tokens: []message.PreviewToken{}}
	var text interface{ Next(int) string }
	if s.Model.Tokenizer != nil {
		text = s.Model.Tokenizer.Decoder(false)
	}
	for i, id := range row.IDs[:min(most, len(row.IDs))] {
		t := message.PreviewToken{ID: int(id), Trained: i > 0 && row.Labels != nil && row.Labels[i] != data.Ignore}
		if text != nil {
			t.Text, t.Special = text.Next(int(id)), s.Model.Tokenizer.IsSpecial(int(id))
		}
		out.Tokens = append(out.Tokens, t)
	}
	return out
}
