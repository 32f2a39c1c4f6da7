package message

// PreviewJob asks for the first rows of a dataset.
type PreviewJob struct {
	Rows   int `json:"rows"`
	Tokens int `json:"tokens"` // shown of a row at most
	// Bytes of the file that are read, up to the end of a row; 0 for all. The counts of the answer are of that part.
	Bytes int `json:"bytes,omitempty"`
}

// DataPreview is the result of a PreviewJob: rows as the model will see them. Of a file that cannot be read as the settings say,
// it has only File, Columns and Keys, and the job ends with a Failed that says why.
type DataPreview struct {
	Format  string       `json:"format"` // as detected, "" where none fits
	File    DataFile     `json:"file"`
	Rows    []PreviewRow `json:"rows"`
	Total   int          `json:"total_rows"`
	Tokens  int          `json:"tokens"`
	Trained int          `json:"trained_tokens"`
	Counts  DatasetStats `json:"counts"`            // of all rows: what was left out for which cause, cut, repeated
	Remarks []Remark     `json:"remarks,omitempty"` // on what was cut, left out and so on
	// Share of the file that was read, below 1, where only its beginning was; 0 where all of it was.
	Share float64 `json:"share_read,omitempty"`

	Columns  []DataColumn     `json:"columns,omitempty"`  // of the file, in its order; none of plain text
	Keys     []DataKey        `json:"keys,omitempty"`     // that Format reads
	Template *PreviewTemplate `json:"template,omitempty"` // that made texts of conversations, nil where there are none
	Bad      []PreviewBadRow  `json:"bad_rows,omitempty"` // the first of the malformed rows that are left out
}

// DataColumn is a column of a table, or a key of the objects of a JSON file.
type DataColumn struct {
	Name string `json:"name"`
	// Kind is what its value is in the first row that has one: "text", "number", "boolean", "object", "list", "messages" (a list
	// of objects with a role), "sharegpt" (a list of objects with from), or "" where all rows looked at have none.
	Kind    string `json:"kind"`
	Example string `json:"example"` // that value as text, cut to a line
}

// DataKey is something that a format reads of a row, by its name in dataset.columns.
type DataKey struct {
	Key      string `json:"key"`
	Column   string `json:"column,omitempty"` // of the file that is read for it, "" for none
	Optional bool   `json:"optional,omitempty"`
}

// PreviewTemplate is a chat template.
type PreviewTemplate struct {
	Name    string   `json:"name"`
	Source  string   `json:"source,omitempty"`   // the model's file that it is from, "" for a built-in one
	StandIn bool     `json:"stand_in,omitempty"` // a built-in one, because the model has none
	Own     []string `json:"own,omitempty"`      // names of all templates of the model
}

// PreviewBadRow is a malformed row.
type PreviewBadRow struct {
	Line  int `json:"line"`
	Cause any `json:"cause"` // a Remark, or a text in English
}

// PreviewRow is one row, cut to what was asked for.
type PreviewRow struct {
	Tokens []PreviewToken `json:"tokens"`
	Length int            `json:"length"`          // of the whole row
	Line   int            `json:"line"`            // of its record in the file, from 1
	Turns  []PreviewTurn  `json:"turns,omitempty"` // the parts of the row, in order; none of a row that is one text
	Label  string         `json:"label,omitempty"` // of the whole row, in a classification
}

// PreviewTurn is a turn of a conversation, or the prompt or completion of a pair, with what the template writes around it.
type PreviewTurn struct {
	Role string `json:"role"` // "system", "user", "assistant", "tool", "prompt" or "completion"
	From int    `json:"from"` // its first token in the row; it reaches up to the next turn
}

// PreviewToken is a token and whether its prediction counts in the loss.
type PreviewToken struct {
	ID      int    `json:"id"`
	Text    string `json:"text"`
	Trained bool   `json:"trained,omitempty"`
	Special bool   `json:"special,omitempty"` // a special token of the tokenizer, such as the end of a turn
}
