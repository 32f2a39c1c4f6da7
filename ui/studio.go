package ui

import (
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Studio is the screen where a run is configured. Its state is a run.json: every control reads and writes one of its keys, and
// keys with default values are left out. The side engine checks every change and plans the run.
type Studio struct {
	*Words
	Model, Data chosenInput
	Hub         hubModels
	Models      []offer // of the server
	Datasets    []message.ServerFile
	Config      Tree
	About       description
	Recipes     []recipe             // of the server
	Recipe      string               // name of the selected one
	Budget      string               // limit of GPU memory in GB, as typed; "" for none
	Plan        *forecast            // of the current settings, nil while unknown
	Problem     Text                 // why the run cannot start
	Fault       *message.Failed      // why the engine refuses the settings
	Preview     *message.DataPreview // of the current data, nil while unknown and where the engine refuses the data
	File        *message.DataPreview // columns of the current data and what is read from them, also where the engine refuses it
	DataFault   *message.Failed      // why the engine refuses the data
	Reading     bool                 // the engine is reading the data
	Mapping     bool                 // the person has opened the choice of format and columns
	More        bool                 // all settings are shown
	JSON        bool                 // run.json is shown
	Blocks      bool                 // the plan is shown by block
	Comparing   bool                 // the comparison of methods is shown
	Ways        []way                // of that comparison, nil until the engine has planned them
	Shared      string               // the link that was copied
	TooLong     bool                 // the settings are too long for a link
	Lesson      bool                 // the settings came in a link for a lesson: only model and data can be chosen
	Lock        bool                 // the next link is for a lesson

	invalid     map[string]string // by path: texts of controls that are no valid values
	fields      map[string]*Field // by path
	suggested   map[string]bool   // paths whose values the page has suggested and the person has not set
	planning    bool              // the engine is planning
	replan      bool              // something has changed since it began: it plans again
	previewed   string            // the data and settings of the last preview
	chosen      int               // how often a model or data has been chosen
	shown       int               // the choice that plan and preview are of
	namedData   string            // the data that the loaded settings name
	mapped      string            // the data whose format and columns the person has chosen in the preview
	skipping    string            // the data whose malformed rows the person has left out in the preview
	offersKnown bool              // the server's offers have arrived
	named       [2]string         // model and data that loaded settings name, until the offers are known
	missing     string            // a model that loaded settings name and the server does not have, until the browser's models are known
	resuming    *keptRun          // a run whose files the person has to choose again
	page        *Page
}

// offer is a model of the server.
type offer struct {
	Name  string               `json:"name"`
	Files []message.ServerFile `json:"files"`
}

func newStudio(p *Page) *Studio {
	s := &Studio{Words: p.Words, Budget: p.browser.Remembered("budget"), Hub: hubModels{Words: p.Words, page: p}, page: p}
	s.reset(Tree{
		"dataset":  map[string]any{"max_length": 256.0},
		"training": map[string]any{"max_steps": 100.0},
	})
	return s
}

// fillElements fills the elements whose content vugu leaves alone.
func (s *Studio) fillElements() {
	if s.page.Screen != screenStudio {
		return
	}
	if s.Preview != nil {
		s.page.browser.ShowPreview(s.Preview, s.previewWords())
	}
	if s.JSON {
		s.page.browser.SetText("config-text", s.config().Indented())
	}
}

// Start begins the run that the controls describe.
func (s *Studio) Start(event vugu.DOMEvent) {
	if event != nil {
		event.PreventDefault() // the form goes nowhere
	}
	switch {
	case s.page.Run.Stage.Active():
		return
	case !s.Model.Usable():
		s.Problem = s.T("model.first")
		s.page.browser.Focus("model-input")
		return
	case !s.Data.Usable():
		s.Problem = s.T("data.first")
		s.page.browser.Focus("data-input")
		return
	}
	for path := range s.invalid {
		s.Problem = s.T("setting.bad", "name", s.label(path), "value", strconv.Quote(s.invalid[path]))
		s.page.browser.Focus(fieldID(path))
		return
	}
	name := strings.TrimSuffix(path.Base(strings.TrimPrefix(s.Data.Name, "builtin:")), path.Ext(s.Data.Name))
	s.begin(name+" · "+string(s.methodName()), tryout{})
	s.page.refresh(time.Now())
}

func (s *Studio) begin(name string, first tryout) {
	s.Problem, s.resuming = "", nil
	steps := 0
	if v, ok := s.Config.Get("training.max_steps"); ok {
		n, _ := v.(float64)
		steps = max(0, int(n))
	}
	if steps == 0 && s.Plan != nil {
		steps = s.Plan.Steps
	}
	now := time.Now()
	config := s.config()
	meta := runMeta{
		ID: now.UTC().Format("20060102-150405.000"), Name: name, Created: now.UTC().Format(time.RFC3339Nano),
		Config: config.JSON(), Steps: steps, tryout: first,
	}
	if p := s.Preview; p != nil && s.DataFault == nil {
		conversations := p.Template != nil
		meta.Conversations = &conversations
	}
	job := message.Job{Command: message.Train, Config: meta.Config, MemoryBudget: s.limit(), Mounts: map[string]string{"model": "", "dataset": ""}}
	s.page.start(job, s.sources(), meta, 0)
}
