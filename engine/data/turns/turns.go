// Package turns reads the turns of conversations from JSON values, in OpenAI's form and in ShareGPT's. What is wrong with a
// turn is a message.Fault that names the message and its key.
package turns

import (
	"strconv"
	"strings"

	"llamatab/engine/chat"
	"llamatab/engine/jinja"
	"llamatab/engine/message"
)

func fault(code, text string, pairs ...any) error { return message.NewFault(code, text, pairs...) }

// List reads a list of objects. key is the list's name in the file, quoted, for errors.
func List(v any, key string) ([]*jinja.Dict, error) {
	list, ok := v.(*jinja.List)
	if !ok {
		return nil, fault("row_wants_messages", "{key} wants a list of messages, got {got}", "key", key, "got", kindOf(v))
	}
	if len(list.Items) == 0 {
		return nil, fault("row_messages_none", "{key} has no messages", "key", key)
	}
	objects := make([]*jinja.Dict, len(list.Items))
	for i, item := range list.Items {
		if objects[i], ok = item.(*jinja.Dict); !ok {
			return nil, fault("row_message_kind", "message {n} wants an object, got {got}", "n", i+1, "got", kindOf(item))
		}
	}
	return objects, nil
}

// Tools reads the tools that the assistant may call; nil where the list is empty.
func Tools(v any, key string) (*jinja.List, error) {
	list, ok := v.(*jinja.List)
	if !ok {
		return nil, fault("row_wants_tools", "{key} wants a list of tools, got {got}", "key", key, "got", kindOf(v))
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	return list, nil
}

// OpenAI reads messages of the form {"role": …, "content": …}: content is a text or a list of parts of type text. Other keys
// are kept for the template.
func OpenAI(v any, key string) ([]*chat.Message, error) {
	messages, err := List(v, key)
	if err != nil {
		return nil, err
	}
	for i, m := range messages {
		if err := role(m, i+1, "role"); err != nil {
			return nil, err
		}
		if err := content(m, i+1, "content"); err != nil {
			return nil, err
		}
		calls(m)
	}
	return messages, nil
}

// ShareGPT reads turns of the form {"from": …, "value": …}, or {"role": …, "content": …}.
func ShareGPT(v any, key string) ([]*chat.Message, error) {
	turns, err := List(v, key)
	if err != nil {
		return nil, err
	}
	messages := make([]*chat.Message, len(turns))
	for i, turn := range turns {
		if messages[i], err = shared(turn, i+1); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

// roles maps the names of roles in files to those of chat templates.
var roles = map[string]string{
	"system": chat.System, "developer": chat.System,
	"user": chat.User, "human": chat.User,
	"assistant": chat.Assistant, "gpt": chat.Assistant, "chatgpt": chat.Assistant, "bot": chat.Assistant, "bard": chat.Assistant, "bing": chat.Assistant, "model": chat.Assistant,
	"function_call": chat.Assistant,
	"tool":          chat.Tool, "observation": chat.Tool, "function": chat.Tool, "function_response": chat.Tool,
}

// role sets a message's role to the name that chat templates have for it. n counts messages from 1.
func role(m *chat.Message, n int, key string) error {
	v, ok := m.Get(key)
	name, isText := v.(string)
	switch {
	case !ok:
		return fault("row_message_key_missing", "message {n}: the key {key} is missing", "n", n, "key", quote(key))
	case !isText:
		return fault("row_message_wants_string", "message {n}: {key} wants a string, got {got}", "n", n, "key", quote(key), "got", kindOf(v))
	case roles[name] == "":
		return fault("row_message_role", "message {n}: the role {role} is unknown: use system, user, assistant or tool", "n", n, "role", quote(name))
	}
	m.Set("role", roles[name])
	return nil
}

// Silent is the error of a conversation in which the assistant says nothing in one of its turns.
func Silent(messages []*chat.Message) error {
	for i, m := range messages {
		calls, _ := m.Get("tool_calls")
		if _, called := calls.(*jinja.List); !called && chat.Role(m) == chat.Assistant && chat.Content(m) == "" {
			return fault("row_message_empty", "message {n}: the assistant says nothing", "n", i+1)
		}
	}
	return nil
}

// content checks a message's text under key and makes it one string. Parts of type text are put together.
func content(m *chat.Message, n int, key string) error {
	v, ok := m.Get(key)
	calls, _ := m.Get("tool_calls")
	_, called := calls.(*jinja.List)
	called = called && chat.Role(m) == chat.Assistant
	switch v := v.(type) {
	case string:
		m.Set("content", v)
		return nil
	case *jinja.List:
		text, err := joined(v, n, key)
		if err != nil {
			return err
		}
		m.Set("content", text)
		return content(m, n, "content")
	case nil:
		switch {
		case called: // templates look for a content that is None
			return nil
		case ok:
			return fault("row_message_null", "message {n}: {key} is null", "n", n, "key", quote(key))
		}
		return fault("row_message_key_missing", "message {n}: the key {key} is missing", "n", n, "key", quote(key))
	default:
		return fault("row_message_content", "message {n}: {key} wants a string or a list of text parts, got {got}", "n", n, "key", quote(key), "got", kindOf(v))
	}
}

// joined is the text of a list of parts.
func joined(parts *jinja.List, n int, key string) (string, error) {
	var b strings.Builder
	for _, part := range parts.Items {
		p, ok := part.(*jinja.Dict)
		if !ok {
			return "", fault("row_message_content", "message {n}: {key} wants a string or a list of text parts, got {got}", "n", n, "key", quote(key), "got", "a list of "+kindOf(part))
		}
		kind, _ := p.Get("type")
		text, _ := p.Get("text")
		s, ok := text.(string)
		if k, isText := kind.(string); !ok || isText && k != "text" {
			if !isText {
				k = kindOf(kind)
			}
			return "", fault("row_message_part", "message {n}: a part of type {type} in {key}: only text is read", "n", n, "key", quote(key), "type", quote(k))
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// calls makes objects of the arguments of tool calls that are JSON in a string, as OpenAI has them: templates write them as
// JSON once more.
func calls(m *chat.Message) {
	list, _ := m.Get("tool_calls")
	l, ok := list.(*jinja.List)
	if !ok {
		return
	}
	for _, call := range l.Items {
		c, ok := call.(*jinja.Dict)
		if !ok {
			continue
		}
		f := c
		if inner, ok := c.Get("function"); ok {
			if d, ok := inner.(*jinja.Dict); ok {
				f = d
			}
		}
		if text, ok := f.Get("arguments"); ok {
			if s, isText := text.(string); isText {
				if v, err := jinja.FromJSON([]byte(s)); err == nil {
					if d, ok := v.(*jinja.Dict); ok {
						f.Set("arguments", d)
					}
				}
			}
		}
	}
}

// shared makes a message of turn n of ShareGPT.
func shared(turn *jinja.Dict, n int) (*chat.Message, error) {
	from, value := "from", "value"
	if _, ok := turn.Get(from); !ok {
		if _, ok := turn.Get("role"); ok {
			from, value = "role", "content"
		}
	}
	m := jinja.NewDict()
	for _, key := range []string{from, value, "tool_calls"} {
		if v, ok := turn.Get(key); ok {
			m.Set(key, v)
		}
	}
	who, _ := m.Get(from)
	if err := role(m, n, from); err != nil {
		return nil, err
	}
	if err := content(m, n, value); err != nil {
		return nil, err
	}
	text, plain := chat.Content(m), chat.NewMessage(chat.Role(m), chat.Content(m))
	if who == "function_call" {
		if list := called(text); list != nil {
			plain.Set("content", nil)
			plain.Set("tool_calls", list)
		}
	} else if v, ok := m.Get("tool_calls"); ok {
		plain.Set("tool_calls", v)
	}
	calls(plain)
	return plain, nil
}

// called are the tool calls of a turn function_call: {"name": …, "arguments": …} in JSON, or a list of such. nil where the
// text is something else.
func called(text string) *jinja.List {
	v, err := jinja.FromJSON([]byte(text))
	if err != nil {
		return nil
	}
	list, ok := v.(*jinja.List)
	if !ok {
		list = &jinja.List{Items: []any{v}}
	}
	all := &jinja.List{}
	for _, item := range list.Items {
		f, ok := item.(*jinja.Dict)
		if !ok {
			return nil
		}
		if _, ok := f.Get("name"); !ok {
			return nil
		}
		all.Items = append(all.Items, jinja.NewDict("type", "function", "function", f))
	}
	return all
}

// kindOf says what a JSON value is, for errors.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case *jinja.List:
		return "a list"
	case *jinja.Dict:
		return "an object"
	}
	return "a number"
}

// quote quotes a short form of a word for a message.
func quote(word string) string {
	const most = 40
	if r := []rune(word); len(r) > most {
		word = string(r[:most]) + "…"
	}
	return strconv.Quote(word)
}
