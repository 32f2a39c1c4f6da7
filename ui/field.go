package ui

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Field is one setting: its name, its help text and its control, which writes a key of run.json.
type Field struct {
	*Words
	Path string

	studio *Studio

	typed, became string // the typed text, and its value as text: "0.10" stays as typed, though its value is 0.1
}

// Field is the field of a path.
func (s *Studio) Field(path string) *Field {
	f := s.fields[path]
	if f == nil {
		f = &Field{Words: s.Words, Path: path, studio: s}
		s.fields[path] = f
	}
	return f
}

func fieldID(path string) string {
	return "set-" + strings.NewReplacer(".", "-", "_", "-").Replace(path)
}

// ID is the element id of the control.
func (f *Field) ID() string { return fieldID(f.Path) }

// label is the name of a setting in plain words.
func (w *Words) label(path string) Text {
	if key, ok := settingWords[path]; ok {
		return Text(key.label(w))
	}
	if setting, ok := w.settings[path]; ok {
		return Text(setting.Name.In(w.Lang()))
	}
	return Text(path[strings.LastIndexByte(path, '.')+1:])
}

func (f *Field) Label() Text { return f.label(f.Path) }

// Help says in a sentence what the setting does.
func (f *Field) Help() Text {
	if key, ok := settingWords[f.Path]; ok {
		return Text(key.help(f.Words))
	}
	if setting, ok := f.settings[f.Path]; ok {
		return Text(setting.Help.In(f.Lang()))
	}
	return ""
}

// defaults is the default value of a path.
func (s *Studio) defaults(path string) any {
	if d, ok := derivedSettings[path]; ok {
		return d.none
	}
	if rest, ok := strings.CutPrefix(path, "peft."); ok {
		kind, _ := s.Config.Get("peft.peft_type")
		for _, m := range s.About.Methods {
			if m.Value == kind {
				v, _ := m.Defaults.Get(rest)
				return v
			}
		}
		return nil
	}
	v, _ := s.About.Defaults.Get(path)
	return v
}

func (f *Field) value() any {
	if d, ok := derivedSettings[f.Path]; ok {
		return d.get(f.studio)
	}
	if v, ok := f.studio.Config.Get(f.Path); ok {
		return v
	}
	return f.studio.defaults(f.Path)
}

// quantizationPath is the setting that may also be an object.
const quantizationPath = "quantization"

// choices are the words that a choice offers; none for other kinds of settings.
func (f *Field) choices() []message.Option {
	d, ok := derivedSettings[f.Path]
	if !ok {
		options := f.studio.About.Choices[f.Path]
		switch f.Path {
		case templatePath:
			options = slices.Concat(options, f.studio.namedTemplates())
		case quantizationPath:
		default:
			return options
		}
		// A template may be of another model, and a quantization may have been written as an object.
		if v := cmp.Or(spell(f.value()), "null"); len(options) > 0 && !slices.ContainsFunc(options, func(o message.Option) bool { return o.Value == v }) {
			options = append(slices.Clip(options), message.Option{Value: v})
		}
		return options
	}
	words := d.choices
	if f.Path == "added.activation" {
		words = f.studio.About.Activations
	}
	var all []message.Option
	for _, word := range words {
		if word != "own" || f.value() == word { // "own" is a schedule that was written as JSON: it cannot be chosen
			all = append(all, message.Option{Value: word})
		}
	}
	return all
}

// Kind is "choice", "switch" or "text".
func (f *Field) Kind() string {
	if len(f.choices()) > 0 {
		return "choice"
	}
	if _, ok := f.studio.defaults(f.Path).(bool); ok {
		return "switch"
	}
	return "text"
}

// Text is what the control shows.
func (f *Field) Text() string {
	if raw, ok := f.studio.invalid[f.Path]; ok {
		return raw
	}
	if text := spell(f.value()); text != f.became {
		return text
	}
	return f.typed
}

// spell writes a value as its control shows it: words without quotes, other values as JSON.
func spell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	text, _ := json.Marshal(v)
	return string(text)
}

// On is the state of a switch.
func (f *Field) On() bool { return f.value() == true }

// Selected reports whether an option is the one that is chosen.
func (f *Field) Selected(o message.Option) bool {
	if v := f.value(); v != nil {
		return spell(v) == o.Value
	}
	return o.Value == "null"
}

// OptionText names an option.
func (f *Field) OptionText(o message.Option) Text {
	text := Text(o.Value)
	if key := "option." + f.Path + "." + o.Value; f.Has(key) {
		text = f.T(key)
	} else if name, ok := strings.CutPrefix(o.Value, "model:"); ok && f.Path == templatePath {
		text = f.T("template.named", "name", name)
	}
	switch {
	case o.Incomplete:
		text += " (" + f.T("incomplete") + ")"
	case o.Refused != "":
		text += " (" + f.T("refused") + ")"
	}
	return text
}

// Bad reports whether the text is not a valid value, by the page or by the engine.
func (f *Field) Bad() bool {
	_, unread := f.studio.invalid[f.Path]
	return unread || f.studio.Fault != nil && (f.studio.Fault.Path == f.Path || strings.HasPrefix(f.studio.Fault.Path, f.Path+"[") || strings.HasPrefix(f.studio.Fault.Path, f.Path+"."))
}

// Type takes what was typed.
func (f *Field) Type(event vugu.DOMEvent) { f.take(event.PropString("target", "value")) }

// Flip takes a switch.
func (f *Field) Flip(event vugu.DOMEvent) { f.studio.set(f.Path, event.PropBool("target", "checked")) }

// take sets the value from a text. Where the default is a number, the text has to be one. Otherwise it is JSON if it parses, or
// else a word. An empty text removes the key.
func (f *Field) take(text string) {
	text = strings.TrimSpace(text)
	delete(f.studio.invalid, f.Path)
	f.typed = text
	var v any
	switch was := f.studio.defaults(f.Path).(type) {
	case float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n-n != 0 {
			f.studio.invalid[f.Path] = text // also a number that is not typed to its end, such as "1e-"
			return
		}
		v = n
	default:
		if text == "" || json.Unmarshal([]byte(text), &v) == nil {
			break
		}
		if _, object := was.(map[string]any); object || strings.ContainsAny(text[:1], `[{"`) {
			f.studio.invalid[f.Path] = text
			return
		}
		v = text
	}
	f.put(v)
	f.became = spell(f.value())
}

// put sets the value; nil removes the key.
func (f *Field) put(v any) {
	d, part := derivedSettings[f.Path]
	switch {
	case part && d.set(f.studio, v):
		f.studio.suggest()
		f.studio.changed()
	case part:
		f.studio.invalid[f.Path] = f.typed
	case v == nil:
		f.studio.Config.Delete(f.Path)
		delete(f.studio.suggested, f.Path)
		f.studio.changed()
	default:
		f.studio.set(f.Path, v)
	}
}
