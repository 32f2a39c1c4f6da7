package library

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strings"

	"llamatab/server/web"
)

// BuiltinPrefix begins the names of built-in models, datasets and runs: builtin:NAME.
const BuiltinPrefix = "builtin:"

// Builtin is the built-in content: models/NAME/, data/NAME.jsonl and runs.json, as the build packed them from
// testdata/builtin. It is empty in a program that was built without them.
type Builtin struct{ files fs.FS }

// NewBuiltin opens the content that is packed into the program.
func NewBuiltin() Builtin {
	files, err := fs.Sub(web.Packed, "builtin")
	if err != nil { // the name is a constant
		panic(err)
	}
	return Builtin{files}
}

// Models lists the names of the built-in models.
func (b Builtin) Models() (names []string) {
	entries, _ := fs.ReadDir(b.files, "models") // without the folder there are none
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Datasets lists the names of the built-in datasets.
func (b Builtin) Datasets() (names []string) {
	entries, _ := fs.ReadDir(b.files, "data")
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), path.Ext(e.Name())))
	}
	return names
}

// Model is the folder of a built-in model.
func (b Builtin) Model(name string) (fs.FS, error) {
	for _, known := range b.Models() {
		if name == known {
			return fs.Sub(b.files, path.Join("models", name))
		}
	}
	return nil, b.unknown("model", name, b.Models())
}

// Dataset is the folder and the name of a built-in dataset's file.
func (b Builtin) Dataset(name string) (fs.FS, string, error) {
	for _, known := range b.Datasets() {
		if name == known {
			files, err := fs.Sub(b.files, "data")
			return files, name + ".jsonl", err
		}
	}
	return nil, "", b.unknown("dataset", name, b.Datasets())
}

func (b Builtin) unknown(kind, name string, known []string) error {
	if len(known) == 0 {
		return errors.New(BuiltinPrefix + name + ": this program was built without built-in models and data: run `make build` and use bin/llamatab")
	}
	for i := range known {
		known[i] = BuiltinPrefix + known[i]
	}
	return errors.New("there is no " + kind + " " + BuiltinPrefix + name + "; there is " + strings.Join(known, ", "))
}

// ReadyRun is a run over built-in content that a person starts with a click, or by its name.
type ReadyRun struct {
	Name    string            `json:"name"`
	Title   map[string]string `json:"title"`   // by language
	About   map[string]string `json:"about"`   // by language
	Prompts []string          `json:"prompts"` // texts that show what the model has learned
	// Temperature is that of the first text that the page generates; nil leaves the choice to the page.
	Temperature *float64        `json:"temperature,omitempty"`
	Config      json.RawMessage `json:"config"` // run.json
}

// Runs lists the ready runs.
func (b Builtin) Runs() ([]ReadyRun, error) {
	data, err := fs.ReadFile(b.files, "runs.json")
	if errors.Is(err, fs.ErrNotExist) {
		return []ReadyRun{}, nil
	}
	var runs []ReadyRun
	if err == nil {
		err = json.Unmarshal(data, &runs)
	}
	return runs, err
}

// Run is the run.json of a ready run.
func (b Builtin) Run(name string) ([]byte, error) {
	runs, err := b.Runs()
	if err != nil {
		return nil, err
	}
	var known []string
	for _, r := range runs {
		if r.Name == name {
			return r.Config, nil
		}
		known = append(known, r.Name)
	}
	return nil, b.unknown("run", name, known)
}
