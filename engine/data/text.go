package data

// text is {"text": …}, one document a record, or a plain text file, one stream. All of it is trained on.
var text = Format{
	Name:   "text",
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
