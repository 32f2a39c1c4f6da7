package data

import (
	"llamatab/engine/chat"
	"llamatab/engine/config"
	"llamatab/engine/data/turns"
	"llamatab/engine/jinja"
	"llamatab/engine/message"
)

func init() { Register(messagesFormat) }

// messagesFormat is OpenAI's {"messages": [{"role": …, "content": …}, …], "tools": […]}.
var messagesFormat = Format{
	Config: config.Format{Name: "messages", Place: 50, Title: message.Both("messages of a chat", "messages 对话"), Columns: []string{"messages", "tools"}, Optional: []string{"tools"}},
	Turn:   60,
	Detect: has("messages"),
	Rows: func(r *Record, e *Encoder) error {
		c, err := r.conversation("messages", "tools")
		if err != nil {
			return err
		}
		return e.Conversation(c, 0)
	},
}

// ParseConversation reads one row of the format messages.
func ParseConversation(row []byte) (*chat.Conversation, error) {
	r, err := parse(row, 1, 1)
	if err != nil {
		return nil, err
	}
	return r.conversation("messages", "tools")
}

// conversation reads a list of messages with its tools.
func (r *Record) conversation(key, tools string) (*chat.Conversation, error) {
	v, err := r.value(key)
	if err != nil {
		return nil, err
	}
	c := &chat.Conversation{}
	if c.Messages, err = turns.OpenAI(v, r.spelled(key)); err != nil {
		return nil, err
	}
	c.Tools, err = r.tools(tools)
	return c, err
}

// value reads the JSON value under a key. A string that holds JSON, as a cell of a table does, is read where a list is
// wanted.
func (r *Record) value(key string) (any, error) {
	if !r.Has(key) {
		return nil, r.missing(key)
	}
	v, err := jinja.FromJSON(r.fields[r.column(key)])
	if s, ok := v.(string); ok && err == nil {
		if inner, bad := jinja.FromJSON([]byte(s)); bad == nil {
			v = inner
		}
	}
	return v, err
}

// tools reads the tools that the assistant may call: a list, or a string that holds one. nil where there are none.
func (r *Record) tools(key string) (*jinja.List, error) {
	if raw := string(r.fields[r.column(key)]); !r.Has(key) || raw == `""` {
		return nil, nil
	}
	v, err := r.value(key)
	if err != nil {
		return nil, err
	}
	return turns.Tools(v, r.spelled(key))
}
