package pretrained

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
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
		if own, err = chat.Open(m.chatFiles(), tokens); err == nil {
			if isNamed && m.adapterHasTemplates() && !slices.Contains(own.Names(), named) { // a name of the base's
				own, err = chat.Open(m.tokenizerFiles(), tokens)
			}
			if err == nil {
				c.Template, err = own.Choose(named, tools)
			}
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

// chatFiles is the folder of the chat templates: the adapter's where it was saved with one, else the tokenizer's.
func (m *Model) chatFiles() fs.FS {
	if m.adapterHasTemplates() {
		return m.Files.Adapter
	}
	return m.tokenizerFiles()
}

func (m *Model) adapterHasTemplates() bool {
	if m.Files.Adapter == nil {
		return false
	}
	_, err := chat.Open(m.Files.Adapter, chat.Tokens{})
	return !errors.Is(err, chat.ErrNone) // files that cannot be read are an error of whoever asks for a template
}

// ownTemplates are the chat templates that a result is saved with although the model's folder does not have them, by the names
// of their files: that of the training data where it is not the one that the model uses anyway, else those of the adapter that
// the run began with. Whoever talks to the result then talks in the template that it was trained with.
func (m *Model) ownTemplates() (map[string][]byte, error) {
	if m.TrainedTemplate != nil {
		files := map[string][]byte{chat.TemplateFile: []byte(m.TrainedTemplate.Jinja)}
		if name := m.TrainedName; chat.FileName(name) { // the same setting finds it in the result as well
			files[path.Join(chat.TemplatesDir, name+".jinja")] = []byte(m.TrainedTemplate.Jinja)
		}
		return files, nil
	}
	if !m.adapterHasTemplates() {
		return nil, nil
	}
	files := map[string][]byte{}
	for _, name := range chat.Files(m.Files.Adapter) {
		text, err := ReadSmall(m.Files.Adapter, name)
		if err != nil {
			return nil, err
		}
		files[name] = text
	}
	if len(files) == 0 { // it is a key of the adapter's tokenizer_config.json
		all, err := chat.Open(m.Files.Adapter, chat.Tokens{})
		if err != nil {
			return nil, nil // the run did not need a template, and its result is not lost for one that cannot be read
		}
		if text, ok := all.Default(); ok {
			files[chat.TemplateFile] = []byte(text)
		}
	}
	return files, nil
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
	own, err := chat.Open(m.chatFiles(), m.chatTokens())
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
