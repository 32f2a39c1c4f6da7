package ui

import (
	"encoding/json"
	"math"
	"strconv"

	"llamatab/engine/message"
)

// How much of the data the preview shows, tokens of a row at most, and how many bytes of the file are read for it: the rows of a larger
// one are estimated from its beginning.
const (
	previewRows   = 3
	previewTokens = 400
	previewBytes  = 8 << 20
)

// previewData has the engine tokenize the first rows of the data, unless it has done so with the same data and settings.
func (s *Studio) previewData(config Tree) {
	data, _ := config["dataset"].(map[string]any)
	asked := strconv.Itoa(s.chosen) + strconv.FormatBool(s.Config.classifies()) + string(Tree(data).JSON())
	if asked == s.previewed {
		return
	}
	s.previewed, s.Reading = asked, true
	only := Tree{"model": s.Model.Name, "dataset": data, "trainable": []any{message.PartAll}}
	if s.Config.classifies() {
		only["trainable"] = []any{message.PartScore}
	}
	job := message.Job{
		Command: message.Preview, Config: only.JSON(), Mounts: map[string]string{"model": "", "dataset": ""},
		Preview: &message.PreviewJob{Rows: previewRows, Tokens: previewTokens, Bytes: previewBytes},
	}
	s.page.ask(job, s.sources(), func(e message.Envelope) {
		if asked == s.previewed { // else the answer is about other data, or other settings
			s.takePreview(e)
		}
	})
}

// takePreview takes a message of the engine on the current data.
func (s *Studio) takePreview(e message.Envelope) {
	s.Reading = s.Reading && e.Done == nil && e.Failed == nil
	switch {
	case e.Result != nil:
		p := new(message.DataPreview)
		if json.Unmarshal(e.Result, p) != nil {
			return
		}
		s.File = p
		if p.Total == 0 { // the columns of data that is refused
			return
		}
		first := s.Preview == nil
		s.Preview, s.DataFault = p, nil
		if s.suggest(); first {
			s.changed()
		}
		s.fillElements()
	case e.Failed != nil && e.Failed.Code == "superseded": // by a run: it is asked again after that
		s.previewed = ""
	case e.Failed != nil:
		s.Preview, s.DataFault = nil, e.Failed
		if e.Failed.Code == "engine_crashed" || e.Failed.Code == "engine_ended" { // it says nothing of the data
			s.previewed = ""
		}
	}
}

// previewWords are the words between the tokens of the preview.
func (s *Studio) previewWords() map[string]string {
	words := map[string]string{}
	for _, key := range []string{
		"preview.trained", "preview.begin", "preview.end", "preview.row", "preview.more", "preview.label",
		"role.system", "role.user", "role.assistant", "role.tool", "role.prompt", "role.completion",
	} {
		words[key] = s.say(key)
	}
	return words
}

// PreviewStatus says that the data is being read.
func (s *Studio) PreviewStatus() Text {
	if !s.Reading || !s.Data.Usable() {
		return ""
	}
	return s.T("preview.reading")
}

// DataText says how many rows and tokens the data has.
func (s *Studio) DataText() Text {
	p := s.Preview
	if p == nil || !s.Data.Usable() {
		return ""
	}
	if p.Share > 0 {
		return s.T("preview.part", "rows", count(int64(p.Total)), "share", math.Round(1000*p.Share)/10, "all", count(int64(s.previewedRows())), "tokens", count(int64(p.Tokens)), "trained", count(int64(p.Trained)), "format", s.formatTitle(p.Format))
	}
	return s.T("preview.rows", "rows", p.Total, "tokens", count(int64(p.Tokens)), "trained", count(int64(p.Trained)), "format", s.formatTitle(p.Format))
}

// previewedRows is the number of rows of the data, estimated where only the beginning of the file was read.
func (s *Studio) previewedRows() int {
	if s.Preview.Share > 0 {
		return int(float64(s.Preview.Total) / s.Preview.Share)
	}
	return s.Preview.Total
}

// DataRemarks are the engine's remarks on the data.
func (s *Studio) DataRemarks() []message.Remark {
	if s.Preview == nil || !s.Data.Usable() {
		return nil
	}
	return s.Preview.Remarks
}

// DataFaultText says why the engine refuses the data. For a row the controls below it say what can be done. DataFaultDetail is the
// engine's English message with file, line and column.
func (s *Studio) DataFaultText() Text {
	if f := s.dataFault(); f != nil && f.Kind == "row" {
		return s.cause(f)
	}
	return s.causeAndAdvice(s.dataFault())
}

func (s *Studio) DataFaultDetail() Text { return s.detail(s.dataFault()) }

func (s *Studio) dataFault() *message.Failed {
	if !s.Data.Usable() {
		return nil
	}
	return s.DataFault
}

// badRowPath is the setting that says what a malformed row does.
const badRowPath = "dataset.on_bad_row"

// CanSkip reports whether the data is refused because of a malformed row that can be left out.
func (s *Studio) CanSkip() bool {
	f := s.dataFault()
	if f == nil || f.Kind != "row" || s.Skips() {
		return false
	}
	cause, _ := f.About["cause"].(map[string]any)
	return cause["code"] != "row_no_format"
}

// Skips reports whether malformed rows are left out.
func (s *Studio) Skips() bool {
	v, _ := s.Config.Get(badRowPath)
	return v == "skip"
}

// Skip has malformed rows left out, or has them stop the run again.
func (s *Studio) Skip(skip bool) {
	if skip {
		s.skipping = s.Data.Name
		s.set(badRowPath, "skip")
		return
	}
	s.Config.Delete(badRowPath)
	s.changed()
}

// BadRows are the malformed rows that are left out.
func (s *Studio) BadRows() []message.PreviewBadRow {
	if s.Preview == nil || !s.Data.Usable() {
		return nil
	}
	return s.Preview.Bad
}

// BadRowText names a malformed row by its line and says what is wrong with it.
func (s *Studio) BadRowText(row message.PreviewBadRow) Text {
	return s.T("preview.bad.row", "line", row.Line, "cause", s.spellValue("cause", row.Cause))
}
