package ui

import (
	"encoding/json"
	"math"
	"strconv"

	"llamatab/engine/message"
)

// previewedBytes are read of a data file for its preview: rows of a larger one are estimated from its beginning.
const previewedBytes = 8 << 20

// previewData has the engine tokenize the first rows of the data.
func (s *Studio) previewData(config Tree) {
	data, _ := config["dataset"].(map[string]any)
	seen := strconv.FormatBool(s.Config.classifies()) + s.Model.Name + " " + string(Tree(data).JSON()) + " " + strconv.FormatInt(s.Data.Bytes, 10)
	if seen == s.previewed {
		return
	}
	s.previewed = seen
	only := Tree{"model": s.Model.Name, "dataset": data, "trainable": []any{message.PartAll}}
	if s.Config.classifies() {
		only["trainable"] = []any{message.PartScore}
	}
	job := message.Job{
		Command: message.Preview, Config: only.JSON(), Mounts: map[string]string{"model": "", "dataset": ""},
		Preview: &message.PreviewJob{Rows: 3, Tokens: 160, Bytes: previewedBytes},
	}
	s.page.ask(job, s.sources(), func(e message.Envelope) {
		switch {
		case e.Result != nil:
			first := s.Preview == nil
			s.Preview, s.DataFault = new(message.DataPreview), nil
			json.Unmarshal(e.Result, s.Preview)
			if s.suggest(); first {
				s.changed()
			}
			s.fillElements()
		case e.Failed != nil:
			s.Preview, s.DataFault = nil, e.Failed
		}
	})
}

// DataText says how many rows and tokens the data has.
func (s *Studio) DataText() Text {
	p := s.Preview
	if p == nil || !s.Data.Usable() {
		return ""
	}
	format := Text(p.Format)
	if key := "option.dataset.format." + p.Format; s.Has(key) {
		format = s.T(key)
	}
	if p.Share > 0 {
		return s.T("preview.part", "rows", count(int64(p.Total)), "share", math.Round(1000*p.Share)/10, "all", count(int64(s.previewedRows())), "tokens", count(int64(p.Tokens)), "trained", count(int64(p.Trained)), "format", format)
	}
	return s.T("preview.rows", "rows", p.Total, "tokens", count(int64(p.Tokens)), "trained", count(int64(p.Trained)), "format", format)
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

// DataFaultText says why the engine refuses the data. DataFaultDetail is the engine's English message with file, line and column.
func (s *Studio) DataFaultText() Text { return s.causeAndAdvice(s.dataFault()) }

func (s *Studio) DataFaultDetail() Text { return s.detail(s.dataFault()) }

func (s *Studio) dataFault() *message.Failed {
	if !s.Data.Usable() {
		return nil
	}
	return s.DataFault
}
