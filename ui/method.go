package ui

import (
	"slices"
	"strings"

	"llamatab/engine/message"
)

// noAdapter is the method of a run without one.
const noAdapter = "NONE"

// Methods lists the methods that can be chosen.
func (s *Studio) Methods() []message.Option {
	var all []message.Option
	for _, m := range s.About.Methods {
		all = append(all, message.Option{Value: m.Value, Refused: m.Refused})
	}
	return append(all, message.Option{Value: noAdapter})
}

// Method is the chosen method.
func (s *Studio) Method() string {
	v, _ := s.Config.Get("peft.peft_type")
	name, _ := v.(string)
	if name == "" {
		return noAdapter
	}
	if m := s.method(); m != nil {
		name = m.Value
	}
	return name
}

// method is the described one that the config has, nil where it has none: the last whose keys are as the config's, since
// a switch of a method comes after the plain method.
func (s *Studio) method() (found *method) {
	kind, _ := s.Config.Get("peft.peft_type")
	for i := range s.About.Methods {
		m := &s.About.Methods[i]
		matches := m.Type == kind
		for key, want := range m.Switch {
			v, _ := s.Config.Get("peft." + key)
			matches = matches && v == want
		}
		if matches {
			found = m
		}
	}
	return found
}

// Choose switches the method. Without an adapter everything trains, until something else is chosen.
func (s *Studio) Choose(value string) {
	for path := range s.invalid {
		if strings.HasPrefix(path, "peft.") {
			delete(s.invalid, path)
		}
	}
	if value == noAdapter {
		s.Config["peft"] = nil
		if !s.has("trainable") && !s.has("unfreeze") {
			s.Config["trainable"] = []any{message.PartAll}
		}
	}
	for i := range s.About.Methods {
		if m := &s.About.Methods[i]; m.Value == value {
			s.Config["peft"] = m.start()
			if slices.Equal(s.parts(), []string{message.PartAll}) {
				s.Tick(message.PartAll)
			}
		}
	}
	s.fields = map[string]*Field{}
	s.suggest()
	s.changed()
}

func (s *Studio) has(path string) bool {
	v, ok := s.Config.Get(path)
	list, _ := v.([]any)
	return ok && len(list) > 0
}

// parts are the words in the key trainable.
func (s *Studio) parts() (words []string) {
	list, _ := s.Config["trainable"].([]any)
	for _, p := range list {
		if word, ok := p.(string); ok {
			words = append(words, word)
		}
	}
	return words
}

// trains reports whether a word is in trainable.
func (s *Studio) trains(part string) bool { return slices.Contains(s.parts(), part) }

// Parts are the words that can be ticked. A regex is typed into the setting trainable instead.
func (s *Studio) Parts() []message.Option {
	return slices.DeleteFunc(slices.Clone(s.About.Parts), func(o message.Option) bool { return strings.HasPrefix(o.Value, "regex:") })
}

// Tick puts a part into trainable or takes it out.
func (s *Studio) Tick(part string) {
	list, _ := s.Config["trainable"].([]any)
	list = slices.Clone(list)
	if i := slices.Index(list, any(part)); i >= 0 {
		list = slices.Delete(list, i, i+1)
	} else {
		list = append(list, part)
	}
	s.setTrainable(list)
	s.suggest()
	s.changed()
}

func (s *Studio) PartText(o message.Option) Text {
	if s.Has("part." + o.Value) {
		return s.T("part." + o.Value)
	}
	return Text(o.Value)
}

func (s *Studio) methodName() Text { return s.T("method." + s.Method()) }

// Why says why an option cannot be chosen, or "".
func (s *Studio) Why(o message.Option) Text {
	if o.Refused == "" {
		return ""
	}
	return s.T("refused")
}

// methodID is the id of a method's control.
func methodID(value string) string {
	return "method-" + strings.ReplaceAll(strings.ToLower(value), "_", "-")
}
