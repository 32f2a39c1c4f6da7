package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Files of a model folder that hold chat templates, or the special tokens that a template reads.
const (
	TemplateFile  = "chat_template.jinja"       // the template that a model uses
	TemplatesDir  = "additional_chat_templates" // the folder of further ones, NAME.jinja
	configFile    = "tokenizer_config.json"
	processorFile = "chat_template.json"
	specialFile   = "special_tokens_map.json"
)

// Files lists the files of a folder that hold chat templates alone: what a copy of the model needs beside the tokenizer's
// files. Those in the folder additional_chat_templates are named with it.
func Files(fsys fs.FS) (names []string) {
	for _, name := range []string{TemplateFile, processorFile} {
		if _, err := fs.Stat(fsys, name); err == nil {
			names = append(names, name)
		}
	}
	entries, _ := fs.ReadDir(fsys, TemplatesDir)
	for _, e := range entries {
		if !e.IsDir() && path.Ext(e.Name()) == ".jinja" {
			names = append(names, path.Join(TemplatesDir, e.Name()))
		}
	}
	return names
}

// FileName reports whether a template of this name can be a file of the folder additional_chat_templates.
func FileName(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	return name != "" && name != defaultName && len(name) <= 100 && strings.Trim(name, allowed) == ""
}

const (
	defaultName = "default"
	toolName    = "tool_use"
	maxFile     = 16 << 20
)

// ErrNone is the error of a model that has no chat template.
var ErrNone = errors.New("the model has no chat template")

// Templates are the chat templates of a model by their names.
type Templates struct {
	sources map[string]source
	tokens  map[string]any
}

// source is the text of a template and the file that it is from.
type source struct{ text, file string }

// Tokens are special tokens that a model has whatever its files say: of its tokenizer. Files that name others count more.
type Tokens struct{ BOS, EOS string }

// Open finds the chat templates of a model's folder as transformers' tokenizers do: chat_template.jinja with the files of
// additional_chat_templates, or else chat_template of tokenizer_config.json, a text or a list of {"name", "template"}.
// Where neither is there, chat_template.json of a processor is read. The templates are parsed when they are asked for.
// The error wraps ErrNone where there is none.
func Open(fsys fs.FS, known Tokens) (*Templates, error) {
	t := &Templates{sources: map[string]source{}, tokens: map[string]any{}}
	for name, token := range map[string]string{"bos_token": known.BOS, "eos_token": known.EOS} {
		if token != "" {
			t.tokens[name] = token
		}
	}
	config, err := readObject(fsys, configFile)
	if err != nil {
		return nil, err
	}
	special, err := readObject(fsys, specialFile)
	if err != nil {
		return nil, err
	}
	t.readTokens(special)
	t.readTokens(config)
	if err := t.readFiles(fsys); err != nil {
		return nil, err
	}
	processor, err := readObject(fsys, processorFile)
	if err != nil {
		return nil, err
	}
	for _, c := range []struct {
		file   string
		object map[string]json.RawMessage
	}{{configFile, config}, {processorFile, processor}} {
		if len(t.sources) == 0 {
			if err := t.readKey(c.file, c.object["chat_template"]); err != nil {
				return nil, err
			}
		}
	}
	if len(t.sources) == 0 {
		return t, ErrNone
	}
	return t, nil
}

func read(fsys fs.FS, name string) ([]byte, error) {
	if info, err := fs.Stat(fsys, name); err == nil && info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", name, info.Size(), maxFile)
	}
	data, err := fs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// readObject reads a JSON object; nil where the file is absent.
func readObject(fsys fs.FS, name string) (object map[string]json.RawMessage, err error) {
	data, err := read(fsys, name)
	if err != nil || data == nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return object, nil
}

// readTokens takes the special tokens that a file names: "<s>" or {"content": "<s>"}.
func (t *Templates) readTokens(object map[string]json.RawMessage) {
	for key, raw := range object {
		if !strings.HasSuffix(key, "_token") {
			continue
		}
		var flags struct{ Content string }
		if json.Unmarshal(raw, &flags.Content) != nil && json.Unmarshal(raw, &flags) != nil {
			continue // a setting such as add_bos_token
		}
		if flags.Content != "" {
			t.tokens[key] = flags.Content
		}
	}
}

// readFiles reads the templates that are files of their own.
func (t *Templates) readFiles(fsys fs.FS) error {
	for _, name := range Files(fsys) {
		if name == processorFile {
			continue
		}
		text, err := read(fsys, name)
		if err != nil {
			return err
		}
		key := strings.TrimSuffix(path.Base(name), ".jinja")
		if name == TemplateFile {
			key = defaultName
		}
		t.sources[key] = source{string(text), name}
	}
	return nil
}

// readKey reads the key chat_template of a file.
func (t *Templates) readKey(file string, raw json.RawMessage) error {
	var text string
	var named []struct{ Name, Template string }
	switch {
	case len(raw) == 0 || string(raw) == "null":
	case json.Unmarshal(raw, &text) == nil:
		t.sources[defaultName] = source{text, file}
	case json.Unmarshal(raw, &named) == nil:
		for _, n := range named {
			t.sources[n.Name] = source{n.Template, file}
		}
	default:
		return fmt.Errorf("%s: chat_template is neither a text nor a list of names and templates", file)
	}
	return nil
}

// Names are the names of the templates.
func (t *Templates) Names() []string { return slices.Sorted(maps.Keys(t.sources)) }

// Default is the text of the template called default, which may not be one that can be parsed.
func (t *Templates) Default() (text string, ok bool) {
	s, ok := t.sources[defaultName]
	return s.text, ok
}

// Choose is the template of a name. With name "" it is the one called tool_use where tools are given and there is one, else
// the one called default, as transformers chooses.
func (t *Templates) Choose(name string, tools bool) (*Template, error) {
	if name == "" {
		name = defaultName
		if _, ok := t.sources[toolName]; ok && tools {
			name = toolName
		}
	}
	s, ok := t.sources[name]
	switch {
	case len(t.sources) == 0:
		return nil, ErrNone
	case !ok:
		return nil, fmt.Errorf("the model has no chat template %q; it has %s", name, strings.Join(t.Names(), ", "))
	}
	return parse(name, s.file, s.text, t.tokens)
}
