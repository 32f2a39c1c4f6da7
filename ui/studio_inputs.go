package ui

import (
	"path"
	"slices"
	"strings"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// dataTypes are the file name extensions of data.
var dataTypes = []string{".jsonl", ".json", ".txt", ".text", ".md", ".csv", ".tsv", ".ndjson", ".gz", ".zip"}

// offer takes the models and data of the server. Where no model is chosen, its first one is.
func (s *Studio) offer(models []offer, data []message.ServerFile) {
	for i, m := range models {
		for j := range m.Files {
			models[i].Files[j].URL = "/api/models/" + escape(m.Name) + "/" + escape(m.Files[j].Name)
		}
	}
	data = slices.DeleteFunc(data, func(f message.ServerFile) bool {
		return !strings.HasPrefix(f.Name, "builtin:") && !slices.Contains(dataTypes, path.Ext(f.Name))
	})
	for i := range data {
		data[i].URL = "/api/data/" + escape(data[i].Name)
	}
	s.Models, s.Datasets, s.offersKnown = models, data, true
	if s.named != [2]string{} {
		s.find()
	}
	if len(models) > 0 && !s.Model.Usable() {
		s.TakeModel(models[0].Name)
	}
}

func escape(name string) string {
	return strings.NewReplacer("%", "%25", "/", "%2F", "?", "%3F", "#", "%23", " ", "%20").Replace(name)
}

// TakeModel chooses a model of the server.
func (s *Studio) TakeModel(name string) {
	for _, m := range s.Models {
		if m.Name == name {
			s.Model = chosenInput{Name: m.Name, Source: source{From: "server", Files: m.Files}}
			for _, f := range m.Files {
				s.Model.Bytes += f.Size
			}
			s.chosen++
		}
	}
	s.suggest()
	s.changed()
}

// TakeStored chooses a model of the browser's storage.
func (s *Studio) TakeStored(key string) {
	m := s.Hub.stored(key)
	if m == nil {
		return
	}
	s.Model = chosenInput{Name: m.Name, Bytes: m.Bytes, Source: source{From: "fetched", Key: key}}
	s.chosen++
	if !m.Tokenizer {
		s.Model.Note = func(w *Words) Text { return w.T("model.tokenless") }
	}
	s.suggest()
	s.changed()
}

// TakeData chooses a data file of the server.
func (s *Studio) TakeData(name string) {
	for _, f := range s.Datasets {
		if f.Name == name {
			s.Data = chosenInput{Name: f.Name, Bytes: f.Size, Source: source{From: "server", Files: []message.ServerFile{f}}}
			s.chosen++
			s.forgetReading()
		}
	}
	s.changed()
}

// choose takes the files that the person has chosen on this computer, or why a zip archive of a model cannot be read.
func (s *Studio) choose(kind string, files []file, problem string) {
	if len(files) == 0 && problem == "" { // a cancelled dialog changes nothing
		return
	}
	if problem != "" {
		s.Model = chosenInput{Problem: func(w *Words) Text { return w.T("model.zip.bad", "why", problem) }}
		s.suggest()
	} else if kind == "model" {
		s.Model = chooseModel(files)
		s.suggest()
	} else {
		s.Data = chooseData(files)
		s.forgetReading()
	}
	s.chosen++
	s.Problem = ""
	s.changed()
}

// find chooses the model and the data that loaded settings name. It reports what the server does not have.
func (s *Studio) find() {
	model, data := s.named[0], s.named[1]
	s.named = [2]string{}
	s.TakeModel(model)
	if s.Model.Name != model {
		s.missing = model
		s.findStored()
	}
	s.TakeData(data)
	s.namedData = data
	if model != "" && path.Base(model) != path.Base(s.Model.Name) {
		s.Problem = s.T("config.model", "name", model)
	} else {
		s.findData()
	}
}

// findData reports that the data that loaded settings name is not there.
func (s *Studio) findData() {
	if data := s.namedData; data != "" && path.Base(data) != path.Base(s.Data.Name) {
		s.Problem = s.T("config.data", "name", data)
	}
}

// findStored chooses the model that loaded settings name where the browser has it.
func (s *Studio) findStored() {
	for _, m := range s.Hub.Stored {
		if m.Name == s.missing {
			s.TakeStored(m.Key)
			s.missing, s.Problem = "", ""
			s.findData()
		}
	}
}

func (s *Studio) sources() map[string]source {
	return map[string]source{"model": s.Model.Source, "dataset": s.Data.Source}
}

// ready reports whether model and data are chosen.
func (s *Studio) ready() bool { return s.Model.Usable() && s.Data.Usable() }

// chooseAgain asks the person for the files of a run, of which the browser has no copies.
func (s *Studio) chooseAgain(r *Run) {
	s.reset(must(parseTree(r.Meta.Config)))
	delete(s.Config, "model")
	s.Config.Delete("dataset.path")
	s.Model, s.Data = chosenInput{}, chosenInput{}
	s.chosen++
	s.resuming = &keptRun{ID: r.ID, Meta: r.Meta, Checkpoint: r.checkpoint()}
	s.Problem = s.T("resume.choose", "name", r.Meta.Name)
	s.page.goTo(screenStudio)
}

func must(t Tree, err error) Tree {
	if err != nil {
		return Tree{}
	}
	return t
}

// ResumeHere continues the run whose files were chosen again.
func (s *Studio) ResumeHere(vugu.DOMEvent) {
	r := s.page.Run
	if s.resuming == nil || r.ID != s.resuming.ID || !s.ready() || r.Stage.Active() {
		return
	}
	r.Meta.Inputs = s.sources()
	s.Problem, s.resuming = "", nil
	r.continueFrom(r.checkpoint())
}

// ModelText names the chosen model and, once the run is planned, its number of parameters.
func (s *Studio) ModelText() Text {
	text := s.ChosenText(&s.Model)
	if text != "" && s.Plan != nil && s.Plan.Total > 0 {
		text += " · " + s.T("model.parameters", "n", count(s.Plan.Total))
	}
	return text
}

// ModelHint says which models can be chosen.
func (s *Studio) ModelHint() Text {
	return s.T("model.hint", "families", strings.Join(s.About.Models, s.say("comma")))
}
