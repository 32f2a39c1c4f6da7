package ui

import (
	"slices"
	"strings"
)

// Plain reports whether the setting speaks for itself: the key's name stands where all settings are.
func (f *Field) Plain() bool {
	return derivedSettings[f.Path].get != nil || slices.Contains(f.studio.main(), f.Path)
}

// Main are the settings that matter most, by method.
func (s *Studio) Main() []*Field { return s.list(s.main()) }

func (s *Studio) main() []string {
	paths := []string{"training.max_steps", "training.learning_rate", "training.per_device_train_batch_size", "dataset.max_length"}
	switch s.Method() {
	case "LORA", dora:
		paths = append(paths, "peft.r", "peft.lora_alpha")
	case "PREFIX_TUNING", "PROMPT_TUNING":
		paths = append(paths, "peft.num_virtual_tokens")
	case "ADAPTION_PROMPT":
		paths = append(paths, "peft.adapter_len", "peft.adapter_layers")
	}
	return paths
}

// group is a part of all settings.
type group struct {
	Name   string
	Fields []*Field
}

// Groups are all other settings: every key that the engine knows is there.
func (s *Studio) Groups() []group {
	main := map[string]bool{"dataset.path": true, "peft.peft_type": true, "training.resume_from_checkpoint": true}
	for _, path := range s.main() {
		main[path] = true
	}
	byName := map[string][]string{}
	add := func(path string) {
		name, _, nested := strings.Cut(path, ".")
		if !nested {
			name = "model"
		}
		if path != "model" && path != "peft" && !main[path] {
			byName[name] = append(byName[name], path)
		}
	}
	for _, path := range s.About.Defaults.topped() {
		add(path)
	}
	for _, m := range s.About.Methods {
		if kind, _ := s.Config.Get("peft.peft_type"); m.Value == kind {
			for path := range settingWords {
				if key, ok := strings.CutPrefix(path, "peft."); ok {
					if _, has := m.Defaults[key]; has { // PEFT knows more keys, which change nothing here
						add(path)
					}
				}
			}
			break // a switch of a method comes after it
		}
	}
	var groups []group
	for _, name := range []string{"dataset", "training", "peft", "precision", "model"} {
		if paths := byName[name]; len(paths) > 0 {
			slices.SortFunc(paths, func(a, b string) int { return orderOf(a) - orderOf(b) })
			groups = append(groups, group{name, s.list(paths)})
		}
	}
	return groups
}

// topped are the paths of the keys on the first two levels: what lies deeper is a value of its key.
func (t Tree) topped() (paths []string) {
	for key, v := range t {
		inner, ok := v.(map[string]any)
		if !ok || len(inner) == 0 {
			paths = append(paths, key)
			continue
		}
		for k := range inner {
			paths = append(paths, key+"."+k)
		}
	}
	return paths
}

func (s *Studio) list(paths []string) []*Field {
	var fields []*Field
	for _, path := range paths {
		fields = append(fields, s.Field(path))
	}
	return fields
}
