package ui

import (
	"slices"
	"strings"
)

// Plain reports whether the field is shown without the name of its key.
func (f *Field) Plain() bool {
	return derivedSettings[f.Path].get != nil || slices.Contains(f.studio.main(), f.Path)
}

// Main are the most important settings of the method.
func (s *Studio) Main() []*Field { return s.list(s.main()) }

func (s *Studio) main() []string {
	paths := []string{"training.max_steps", "training.learning_rate", "training.per_device_train_batch_size", "dataset.max_length"}
	if m := s.method(); m != nil {
		for _, key := range m.Main {
			paths = append(paths, "peft."+key)
		}
	}
	return paths
}

// group is a titled list of settings.
type group struct {
	Name   string
	Fields []*Field
}

// Groups are all other settings: every key of the description.
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
	if m := s.method(); m != nil {
		for _, setting := range m.Settings {
			if _, has := m.Defaults[setting.Key]; has { // a key that is written only where it says something has no control
				add("peft." + setting.Key)
			}
		}
	}
	var groups []group
	for _, name := range []string{"dataset", "training", "peft", "precision", "model"} {
		if paths := byName[name]; len(paths) > 0 {
			if name != "peft" { // whose settings have the order of their description
				slices.SortFunc(paths, func(a, b string) int { return orderOf(a) - orderOf(b) })
			}
			groups = append(groups, group{name, s.list(paths)})
		}
	}
	return groups
}

// topped are the paths of the first two levels. Deeper objects are values.
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
