package ui

import (
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Studio is the screen where a run is put together. Its state is a run.json: every control reads and writes it, and
// what nobody has set is left out of it. The engine says what keys there are, checks every change and plans it.
type Studio struct {
	*Words
	Model, Data chosenInput
	Models      []offer // of the server
	Datasets    []serverFile
	Config      Tree
	About       description
	Recipes     []recipe        // of the server
	Recipe      string          // the one that is looked at
	Budget      string          // GPU memory that may be planned, in GB as typed, "" for no limit but the adapter's
	Plan        *forecast       // of the config as it stands, nil while there is none
	Problem     Text            // why the run cannot start
	Fault       *message.Failed // what the engine says against the config
	Preview     *message.DataPreview
	DataFault   *message.Failed // what the engine says against the data
	More        bool            // all settings are shown
	JSON        bool            // run.json is shown
	Blocks      bool            // the plan is shown by block
	Comparing   bool            // all ways are shown side by side
	Ways        []way           // nil until the engine has planned them
	Shared      string          // the link that was copied
	TooLong     bool            // the settings do not go into a link
	Lesson      bool            // they came in a link for a lesson: model and data are to be chosen, no more
	Lock        bool            // a link is to be one for a lesson

	invalid     map[string]string // by path: texts of controls that are no values of their keys
	fields      map[string]*Field // by path
	suggested   map[string]bool   // paths whose values the page suggests, as long as the person sets none
	planning    bool              // the engine has been asked
	replan      bool              // something has changed since: it is asked again
	previewed   string            // the data and settings that the preview is of
	offersKnown bool              // the server has said what it offers
	named       [2]string         // model and data that a config names, until the offers are known
	resuming    *keptRun          // its files are to be chosen again
	page        *Page
}

// offer is a model of the server.
type offer struct {
	Name  string       `json:"name"`
	Files []serverFile `json:"files"`
}

func newStudio(p *Page) *Studio {
	s := &Studio{Words: p.Words, Budget: p.browser.Remembered("budget"), page: p}
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
		s.page.browser.ShowPreview(s.Preview, map[string]string{"trained": s.say("preview.trained")})
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
	job := message.Job{Command: message.Train, Config: meta.Config, MemoryBudget: s.limit(), Mounts: map[string]string{"model": "", "dataset": ""}}
	s.page.start(job, s.sources(), meta, 0)
}
