package pretrained

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/chat"
	"llamatab/engine/config"
)

// Chat chooses the chat template for a conversation that has tools, or none. name is what dataset.template says; "" stands for
// the model's own. The model must have a tokenizer.
func (m *Model) Chat(name string, tools bool) (*chat.Choice, error) {
	tokens := m.chatTokens()
	c := &chat.Choice{}
	var err error
	named, isNamed := strings.CutPrefix(name, config.NamedTemplate)
	if !isNamed {
		named = ""
	}
	if name == "" || name == config.ModelTemplate || isNamed {
		var own *chat.Templates
		if own, err = chat.Open(m.tokenizerFiles(), tokens); err == nil {
			c.Template, err = own.Choose(named, tools)
		}
		if errors.Is(err, chat.ErrNone) && !isNamed {
			c.StandIn = true
			name = chat.BuiltinFor(func(token string) bool { _, ok := m.Tokenizer.Special(token); return ok })
		} else if err != nil {
			return nil, fmt.Errorf("model: %w", err)
		}
	}
	if c.Template == nil {
		if c.Template, err = chat.Builtin(name, tokens); err != nil {
			return nil, err
		}
	}
	ids := m.Tokenizer.Stops()
	if id, ok := m.Tokenizer.Special(c.Template.EndOfTurn()); ok && !slices.Contains(ids, id) {
		ids = append(ids, id)
	}
	for _, id := range ids {
		if token, ok := m.Tokenizer.Token(id); ok {
			c.Ends, c.Stops = append(c.Ends, token), append(c.Stops, id)
		}
	}
	return c, nil
}

// chatTokens are the special tokens of the tokenizer that chat templates write.
func (m *Model) chatTokens() (tokens chat.Tokens) {
	if id, ok := m.Tokenizer.BOS(); ok {
		tokens.BOS, _ = m.Tokenizer.Token(id)
	}
	if id, ok := m.Tokenizer.EOS(); ok {
		tokens.EOS, _ = m.Tokenizer.Token(id)
	}
	return tokens
}

// ChatNames are the names of the model's own chat templates, nil where it has none.
func (m *Model) ChatNames() []string {
	own, err := chat.Open(m.tokenizerFiles(), m.chatTokens())
	if err != nil {
		return nil
	}
	return own.Names()
}

// EncodePrompt encodes a conversation by a chat template, up to where the assistant's next turn begins. A template writes BOS itself
// where the model wants one.
func (m *Model) EncodePrompt(how *chat.Choice, c *chat.Conversation) ([]int, error) {
	text, err := how.Template.Text(c, chat.Options{Prompt: true})
	if err != nil {
		return nil, err
	}
	ids, err := m.Tokenizer.Encode(text, false)
	if err == nil && len(ids) == 0 {
		err = errors.New("the chat template writes nothing")
	}
	return ids, err
}
