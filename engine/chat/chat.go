// Package chat puts conversations into the text that a model was trained with, by the model's own chat template.
//
// A template is a Jinja template (package jinja) in the model's folder. Open finds it as transformers does, Builtin has
// templates for models that bring none. Render gives the text of a conversation; Trained also says which bytes of it the
// assistant wrote, which is where the loss of a training run counts.
package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"llamatab/engine/jinja"
)

// Roles of a message. A template may know more.
const (
	System    = "system"
	User      = "user"
	Assistant = "assistant"
	Tool      = "tool"
)

// Message is one turn of a conversation: "role", "content" and whatever else the template reads, such as "tool_calls".
type Message = jinja.Dict

// NewMessage is a message of a role with a text.
func NewMessage(role, content string) *Message {
	return jinja.NewDict("role", role, "content", content)
}

// Role is a message's role, "" where it has none.
func Role(m *Message) string { return textOf(m, "role") }

// Content is a message's text, "" where it has none.
func Content(m *Message) string { return textOf(m, "content") }

func textOf(m *Message, key string) string {
	v, _ := m.Get(key)
	s, _ := v.(string)
	return s
}

// Conversation is what a template renders.
type Conversation struct {
	Messages  []*Message
	Tools     *jinja.List // nil where there are none
	Documents *jinja.List
}

// upTo is the conversation's first n messages.
func (c *Conversation) upTo(n int) *Conversation {
	return &Conversation{c.Messages[:n:n], c.Tools, c.Documents}
}

// Options say how a conversation is rendered.
type Options struct {
	// Prompt adds what stands before an answer of the assistant (add_generation_prompt).
	Prompt bool
	// Date is what a template that writes the date of today writes. The zero time stands for DefaultDate, so that a
	// conversation is the same text, and a run the same run, on every day.
	Date time.Time
	// Variables are further variables of the template, such as enable_thinking.
	Variables map[string]any
}

// DefaultDate is the date that Llama 3.1's own template writes where it has no clock.
var DefaultDate = time.Date(2024, time.July, 26, 0, 0, 0, 0, time.UTC)

// Template renders conversations.
type Template struct {
	// Name is the template's name among those of its model, or of a built-in one.
	Name string
	// Source is the file that it comes from, "" for a built-in one.
	Source string
	// Jinja is the template's own text.
	Jinja  string
	parsed *jinja.Template
	tokens map[string]any // the model's special tokens as variables: bos_token, eos_token, …
}

// Text renders a conversation.
func (t *Template) Text(c *Conversation, o Options) (string, error) {
	res, err := t.render(c, o)
	return res.Text, err
}

func (t *Template) render(c *Conversation, o Options) (jinja.Result, error) {
	variables := map[string]any{}
	for name, v := range t.tokens {
		variables[name] = v
	}
	for name, v := range o.Variables {
		variables[name] = v
	}
	messages := &jinja.List{Items: make([]any, len(c.Messages))}
	for i, m := range c.Messages {
		messages.Items[i] = m
	}
	variables["messages"], variables["tools"], variables["documents"] = messages, nil, nil
	if c.Tools != nil {
		variables["tools"] = c.Tools
	}
	if c.Documents != nil {
		variables["documents"] = c.Documents
	}
	variables["add_generation_prompt"] = o.Prompt
	date := o.Date
	if date.IsZero() {
		date = DefaultDate
	}
	return t.parsed.Render(variables, jinja.Options{Now: date})
}

// Refused tells whether err is the template's own refusal of a conversation (raise_exception), such as of roles that do not
// alternate.
func Refused(err error) bool {
	e, ok := errors.AsType[*jinja.Error](err)
	return ok && e.Raised
}

// parse parses a template of a model.
func parse(name, source, text string, tokens map[string]any) (*Template, error) {
	parsed, err := jinja.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("chat template %q of %s: %w", name, source, err)
	}
	return &Template{name, source, text, parsed, tokens}, nil
}

// Choice is a model's template for a conversation.
type Choice struct {
	Template *Template
	// Ends are the tokens at which the model stops: EOS, and what the template puts at the end of a turn. Stops are their ids.
	Ends  []string
	Stops []int
	// StandIn: the template is a built-in one because the model has none.
	StandIn bool
}

// EndOfTurn is what the template writes behind an answer of the assistant, without white space around it; "" where it takes
// no simple conversation.
func (t *Template) EndOfTurn() string {
	const answer = "0f5b1c"
	text, err := t.Text(&Conversation{Messages: []*Message{NewMessage(User, "1"), NewMessage(Assistant, answer)}}, Options{})
	at := strings.LastIndex(text, answer)
	if err != nil || at < 0 {
		return ""
	}
	return strings.TrimSpace(text[at+len(answer):])
}
