package ui

import (
	"encoding/json"

	"llamatab/engine/message"
)

// description is what a run.json may hold, as the engine describes it in describe.json.
type description struct {
	Defaults    Tree                        `json:"defaults"`
	Models      []string                    `json:"models"`
	Methods     []method                    `json:"methods"`
	Choices     map[string][]message.Option `json:"choices"`
	Parts       []message.Option            `json:"parts"`
	Examples    []message.Option            `json:"examples"`
	Activations []string                    `json:"activations"`
}

// method is an adapter that can be chosen.
type method struct {
	message.Method
	Defaults Tree `json:"defaults"`
}

// describe takes the description of the settings, which the loader has fetched from /describe.json. The first method is
// chosen where the run has nothing to train yet.
func (s *Studio) describe(text json.RawMessage) {
	var d description
	if json.Unmarshal(text, &d) == nil {
		s.About = d
		s.Words.describe(&d)
		if _, set := s.Config.Get("peft"); !set && !s.has("trainable") && !s.has("unfreeze") && len(d.Methods) > 0 {
			s.Config["peft"] = d.Methods[0].start()
		}
	}
	s.changed()
}

// start is the key peft of a run for which the method has just been chosen.
func (m *method) start() map[string]any { return Tree(m.Start).Clone() }

// describe takes over the texts of a description: those of methods, parts, formats, examples and settings of adapters.
func (w *Words) describe(d *description) {
	w.described, w.settings = texts{}, map[string]message.Setting{}
	add := func(key string, t *message.Text) {
		if t != nil {
			w.described[key] = struct{ en, zh string }{t.En, t.Zh}
		}
	}
	for i := range d.Methods {
		m := &d.Methods[i]
		add("method."+m.Value, &m.Title)
		add("about."+m.Value, &m.About)
		for _, setting := range m.Settings {
			w.settings["peft."+setting.Key] = setting
		}
	}
	for _, p := range d.Parts {
		add("part."+p.Value, p.Title)
	}
	for _, e := range d.Examples {
		add("way."+e.Value, e.Title)
	}
	for path, options := range d.Choices {
		for _, o := range options {
			add("option."+path+"."+o.Value, o.Title)
		}
	}
}
