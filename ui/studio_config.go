package ui

import (
	"math"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// reset replaces all settings.
func (s *Studio) reset(config Tree) {
	s.Config, s.invalid, s.fields, s.suggested = config, map[string]string{}, map[string]*Field{}, map[string]bool{}
	s.mapped, s.skipping = "", ""
	s.suggest()
}

// takeSettings loads the settings of a file, a pasted text or a link.
func (s *Studio) takeSettings(m settingsMessage) {
	if m.Newer {
		s.Problem = s.T("config.newer")
		return
	}
	s.load(m.Text)
	s.Lesson = m.Lesson && s.Problem == ""
}

// load replaces the settings by those of a run.json, and chooses its model and data where the server has them.
func (s *Studio) load(text string) {
	config, err := parseTree([]byte(text))
	if err != nil || text == "" {
		why := s.say("config.cut")
		if err != nil && text != "" {
			why = err.Error()
		}
		s.Problem = s.T("config.bad", "why", why)
		return
	}
	s.Problem = ""
	model, _ := config["model"].(string)
	data, _ := config.Get("dataset.path")
	name, _ := data.(string)
	delete(config, "model")
	config.Delete("dataset.path")
	s.reset(config)
	s.named = [2]string{model, name}
	if s.offersKnown {
		s.find()
	}
}

// tinyModel is the size in bytes below which a model needs a higher learning rate than larger models.
const tinyModel = 100e6

// suggest sets the values that depend on method, model and data, where the person has set none.
func (s *Studio) suggest() {
	tiny := s.Model.Usable() && s.Model.Bytes < tinyModel
	rate := 2e-4
	switch whole := s.trains(message.PartAll); {
	case whole && tiny:
		rate = 5e-4
	case whole:
		rate = 2e-5
	case tiny:
		rate = 1e-3
	}
	s.propose("training.learning_rate", rate)
	if s.Preview != nil && s.previewedRows() >= heldOutRows {
		s.propose("dataset.validation_split", math.Round(1000*min(0.1, heldOutMost/float64(s.previewedRows())))/1000)
		if steps, ok := s.Config.Get("training.max_steps"); ok {
			if n, _ := steps.(float64); n >= 10 {
				s.propose("training.eval_steps", float64(int(n)/10))
			}
		}
	}
}

// Of a dataset of heldOutRows rows or more the page suggests to hold out a tenth, but at most heldOutMost rows: on a software
// GPU an evaluation of so many rows takes as long as several steps.
const (
	heldOutRows = 40
	heldOutMost = 24
)

func (s *Studio) propose(path string, v any) {
	if _, set := s.Config.Get(path); !set || s.suggested[path] {
		s.Config.Set(path, v)
		s.suggested[path] = true
		delete(s.invalid, path)
	}
}

// set writes a value that the person has chosen.
func (s *Studio) set(path string, v any) {
	s.Config.Set(path, v)
	delete(s.suggested, path)
	s.suggest()
	s.changed()
}

// config is the run.json of the controls, with model and data.
func (s *Studio) config() Tree {
	c := s.Config.Clone()
	c.Set("model", s.Model.Name) // for the record: the files themselves are mounted
	c.Set("dataset.path", s.Data.Name)
	return c
}

// SaveJSON has the browser save run.json.
func (s *Studio) SaveJSON(vugu.DOMEvent) { s.page.browser.SaveJSON("run.json", s.config().Indented()) }

// Share makes a link with the settings, shows it and copies it to the clipboard.
func (s *Studio) Share(vugu.DOMEvent) {
	s.Shared = settingsLink(s.page.Origin, s.config().JSON(), s.Lock)
	if s.TooLong = s.Shared == ""; !s.TooLong {
		s.page.browser.Copy(s.Shared, true)
	}
}

// Apply loads the run.json in the text area.
func (s *Studio) Apply(vugu.DOMEvent) {
	s.load(s.page.browser.ValueOf("config-text"))
	s.changed()
}

// ShowJSON opens or closes the run.json.
func (s *Studio) ShowJSON(vugu.DOMEvent) {
	s.JSON = !s.JSON
	s.fillElements()
}
