package data

import (
	"llamatab/engine/chat"
	"llamatab/engine/config"
	"llamatab/engine/data/turns"
	"llamatab/engine/message"
)

func init() { Register(sharegptFormat) }

// sharegptFormat is {"conversations": [{"from": …, "value": …}, …]}, optionally with "system" and "tools". Turns may also
// have "role" and "content".
var sharegptFormat = Format{
	Config: config.Format{Name: "sharegpt", Place: 40, Title: message.Both("ShareGPT conversations", "ShareGPT 对话"), Columns: []string{"conversations", "system", "tools"}, Optional: []string{"system", "tools"}},
	Turn:   70,
	Detect: has("conversations"),
	Rows: func(r *Record, e *Encoder) error {
		v, err := r.value("conversations")
		if err != nil {
			return err
		}
		said, err := turns.ShareGPT(v, r.spelled("conversations"))
		if err != nil {
			return err
		}
		c := &chat.Conversation{}
		if r.Has("system") {
			system, err := r.String("system")
			if err != nil {
				return err
			}
			if system != "" {
				c.Messages = append(c.Messages, chat.NewMessage(chat.System, system))
			}
		}
		c.Messages = append(c.Messages, said...)
		if c.Tools, err = r.tools("tools"); err != nil {
			return err
		}
		return e.Conversation(c, 0)
	},
}
