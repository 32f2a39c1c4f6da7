package data

import (
	"llamatab/engine/config"
	"llamatab/engine/message"
)

func init() { Register(promptCompletionFormat) }

// promptCompletionFormat is {"prompt": …, "completion": …}: two texts, put together as they stand, or two lists of messages,
// put together by the chat template.
var promptCompletionFormat = Format{
	Config: config.Format{Name: "prompt_completion", Place: 30, Title: message.Both("prompt and completion", "prompt 与 completion"), Columns: []string{"prompt", "completion"}},
	Turn:   30,
	Detect: has("prompt", "completion"),
	Rows: func(r *Record, e *Encoder) error {
		if r.isList("prompt") {
			return talk(r, e)
		}
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

// isList tells whether a list stands under key.
func (r *Record) isList(key string) bool { return r.Has(key) && r.fields[r.column(key)][0] == '[' }

// talk adds a conversation whose first messages are the prompt.
func talk(r *Record, e *Encoder) error {
	c, err := r.conversation("prompt", "tools")
	if err != nil {
		return err
	}
	completion, err := r.conversation("completion", "tools")
	if err != nil {
		return err
	}
	first := len(c.Messages)
	c.Messages = append(c.Messages, completion.Messages...)
	return e.Conversation(c, first)
}
