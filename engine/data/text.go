package data

import (
	"llamatab/engine/config"
	"llamatab/engine/message"
)

func init() { Register(textFormat) }

// textFormat is {"text": …}, one document a record, or a plain text file, one stream. All of it is trained on.
var textFormat = Format{
	Config: config.Format{Name: "text", Place: 10, Title: message.Both("text", "文本"), Columns: []string{"text"}},
	Turn:   40,
	Plain:  true, Classifiable: true,
	Detect: func(r *Record) bool { return r.Plain || r.Has("text") },
	Rows: func(r *Record, e *Encoder) error {
		if r.Plain {
			return e.stream(r.Text)
		}
		s, err := r.String("text")
		if err != nil {
			return err
		}
		return e.document(s)
	},
}
