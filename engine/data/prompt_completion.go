package data

import (
	"llamatab/engine/config"
	"llamatab/engine/message"
)

func init() { Register(promptCompletionFormat) }

// promptCompletionFormat is {"prompt": …, "completion": …}, put together as they stand.
var promptCompletionFormat = Format{
	Config: config.Format{Name: "prompt_completion", Place: 30, Title: message.Both("prompt and completion", "prompt 与 completion"), Columns: []string{"prompt", "completion"}},
	Turn:   30,
	Detect: has("prompt", "completion"),
	Rows: func(r *Record, e *Encoder) error {
		prompt, err := r.String("prompt")
		if err != nil {
			return err
		}
		completion, err := r.String("completion")
		if err != nil {
			return err
		}
		return e.Pair(prompt, completion)
	},
}
