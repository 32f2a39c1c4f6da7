package ui

import (
	"slices"
	"strings"
)

// noAdapter is the method of a run without one; dora is LoRA with its switch set.
const (
	noAdapter = "NONE"
	dora      = "DORA"
)

// Methods lists what may be chosen, as the engine knows it.
func (s *Studio) Methods() []option {
	var all []option
	for _, m := range s.About.Methods {
		all = append(all, m.option)
	}
	return append(all, option{Value: noAdapter})
}

// Method is the one that the config has.
func (s *Studio) Method() string {
	v, _ := s.Config.Get("peft.peft_type")
	kind, _ := v.(string)
	switch on, _ := s.Config.Get("peft.use_dora"); {
	case kind == "":
		return noAdapter
	case kind == "LORA" && on == true:
		return dora
	}
	return kind
}

// Choose switches the method. Without an adapter everything trains, until something else is chosen.
func (s *Studio) Choose(value string) {
	var own Tree
	kind := value
	if value == dora {
		kind = "LORA"
	}
	for path := range s.invalid {
		if strings.HasPrefix(path, "peft.") {
			delete(s.invalid, path)
		}
	}
	switch kind {
	case noAdapter:
		s.Config["peft"] = nil
		if !s.has("trainable") && !s.has("unfreeze") {
			s.Config["trainable"] = []any{"all"}
		}
	case "LORA":
		own = Tree{"r": 8.0, "lora_alpha": 16.0, "target_modules": "all-linear"}
		if value == dora {
			own["use_dora"] = true
		}
	case "PREFIX_TUNING", "PROMPT_TUNING":
		own = Tree{"num_virtual_tokens": 8.0}
	case "ADAPTION_PROMPT":
		own = Tree{"adapter_len": 10.0, "adapter_layers": 2.0}
	default:
		own = Tree{}
	}
	if own != nil {
		own["peft_type"] = kind
		s.Config["peft"] = map[string]any(own)
		if slices.Equal(s.parts(), []string{"all"}) {
			s.Tick("all")
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

// parts are the words in trainable.
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

// Parts are the words that can be ticked; those that need more go into the setting below.
func (s *Studio) Parts() []option {
	return slices.DeleteFunc(slices.Clone(s.About.Parts), func(o option) bool { return strings.HasPrefix(o.Value, "regex:") })
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

func (s *Studio) PartText(o option) Text {
	if s.Has("part." + o.Value) {
		return s.T("part." + o.Value)
	}
	return Text(o.Value)
}

func (s *Studio) methodName() Text { return s.T("method." + s.Method()) }

// Why says why an option cannot be chosen here, or "".
func (s *Studio) Why(o option) Text {
	if o.Refused == "" {
		return ""
	}
	return s.T("refused")
}

// methodID is the id of a method's control.
func methodID(value string) string {
	return "method-" + strings.ReplaceAll(strings.ToLower(value), "_", "-")
}
