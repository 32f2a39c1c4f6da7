package ui

import (
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Setup is the panel where a run is put together: model, data, method and settings. Its controls keep their own
// values in the browser and are read when a run starts.
type Setup struct {
	*Words
	Model, Data choice
	Method      string // "lora" or "full"
	More        bool   // more settings are shown
	Locked      bool   // a run is under way
}

// A file is one that the person chose. Path is relative to what was chosen or dropped.
type file struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// A choice is what became of choosing files.
type choice struct {
	Name    string
	Files   []int // positions in the list that the browser keeps
	Bytes   int64
	Problem func(*Words) Text // why it cannot be used, or nil
	Note    func(*Words) Text // what is worth knowing about it, or nil
}

// Usable reports whether there is something to start with.
func (c *choice) Usable() bool { return len(c.Files) > 0 && c.Problem == nil }

// chooseModel finds the model in a folder: the files beside the config.json that lies least deep.
func chooseModel(files []file) choice {
	missing := func(name string) choice {
		return choice{Problem: func(w *Words) Text { return w.T("model.missing", "file", name) }}
	}
	folder, depth := "", -1
	for _, f := range files {
		dir, base := path.Split(f.Path)
		if d := strings.Count(dir, "/"); base == "config.json" && (depth < 0 || d < depth || d == depth && dir < folder) {
			folder, depth = dir, d
		}
	}
	if depth < 0 {
		return missing("config.json")
	}
	c := choice{Name: path.Base("/" + folder)}
	if c.Name == "/" { // single files were dropped, without their folder
		c.Name = "model"
	}
	weights, tokenizer := false, false
	for i, f := range files {
		dir, base := path.Split(f.Path)
		if dir != folder {
			continue
		}
		c.Files = append(c.Files, i)
		c.Bytes += f.Size
		weights = weights || strings.HasSuffix(base, ".safetensors")
		tokenizer = tokenizer || base == "tokenizer.json"
	}
	if !weights {
		return missing("*.safetensors")
	}
	if !tokenizer {
		c.Note = func(w *Words) Text { return w.T("model.tokenless") }
	}
	return c
}

// chooseData takes the one file that holds the data.
func chooseData(files []file) choice {
	files = slices.Clone(files)
	switch {
	case len(files) == 0:
		return choice{}
	case len(files) > 1:
		return choice{Problem: func(w *Words) Text { return w.T("data.many", "n", len(files)) }}
	case files[0].Size == 0:
		return choice{Problem: func(w *Words) Text { return w.T("data.empty", "file", path.Base(files[0].Path)) }}
	}
	return choice{Name: path.Base(files[0].Path), Files: []int{0}, Bytes: files[0].Size}
}

// Text says in the panel what was chosen, or "".
func (s *Setup) Text(c *choice) Text {
	if !c.Usable() {
		return ""
	}
	text := s.T("chosen", "name", c.Name, "size", Bytes(c.Bytes))
	if c.Note != nil {
		text += " · " + c.Note(s.Words)
	}
	return text
}

// Problem says in the panel why what was chosen cannot be used, or "".
func (s *Setup) Problem(c *choice) Text {
	if c.Problem == nil {
		return ""
	}
	return c.Problem(s.Words)
}

// Choose switches the method.
func (s *Setup) Choose(event vugu.DOMEvent) { s.Method = event.PropString("target", "value") }

// tinyModel is the size in bytes below which a model learns at rates that would wreck a larger one.
const tinyModel = 100e6

// Rate is the learning rate that suits method and model. The control shows it until another one is typed.
func (s *Setup) Rate() string {
	tiny := s.Model.Usable() && s.Model.Bytes < tinyModel
	switch {
	case s.Method == "full" && tiny:
		return "0.0005"
	case s.Method == "full":
		return "0.00002"
	case tiny:
		return "0.001"
	default:
		return "0.0002"
	}
}

// job is the job that the form describes, given the form's values by the controls' names. The engine validates the
// config; what is refused here is only what is no number at all.
func (s *Setup) job(form map[string]string) (message.Job, error) {
	var bad error
	value := func(name string) float64 {
		v, err := strconv.ParseFloat(form[name], 64)
		if (err != nil || v-v != 0) && bad == nil {
			bad = errors.New(s.say("setting.bad", "name", s.T(name), "value", strconv.Quote(form[name])))
		}
		return v
	}
	type object = map[string]any
	config := object{
		"model":   s.Model.Name, // for the record: the files themselves are handed over
		"dataset": object{"path": s.Data.Name, "max_length": value("max-length")},
		"training": object{
			"max_steps": value("max-steps"), "learning_rate": value("learning-rate"),
			"per_device_train_batch_size": value("batch-size"),
		},
	}
	if s.Method == "full" {
		config["trainable"] = []string{"all"}
	} else {
		config["peft"] = object{"peft_type": "LORA", "r": value("rank"), "lora_alpha": value("alpha"), "target_modules": "all-linear"}
	}
	if bad != nil {
		return message.Job{}, bad
	}
	text, err := json.Marshal(config)
	return message.Job{Command: message.Train, Config: text, Mounts: map[string]string{"model": "", "dataset": ""}}, err
}
