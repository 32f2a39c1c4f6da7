package library

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strings"

	"llamatab/server/web"
)

// BuiltinPrefix starts the name of what the program brings along: builtin:NAME.
const BuiltinPrefix = "builtin:"

// builtin is what the build packed of the folder testdata/builtin, empty in a program that was built without it:
// models/NAME/, data/NAME.jsonl and runs.json.
type Builtin struct{ files fs.FS }

func NewBuiltin() Builtin {
	files, err := fs.Sub(web.Packed, "builtin")
	if err != nil { // the name is a constant
		panic(err)
	}
	return Builtin{files}
}

// models lists the names of the built-in models.
func (b Builtin) Models() (names []string) {
	entries, _ := fs.ReadDir(b.files, "models") // none is no error
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// datasets lists the names of the built-in datasets.
func (b Builtin) Datasets() (names []string) {
	entries, _ := fs.ReadDir(b.files, "data")
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), path.Ext(e.Name())))
	}
	return names
}

// model is the folder of a built-in model.
func (b Builtin) Model(name string) (fs.FS, error) {
	for _, known := range b.Models() {
		if name == known {
			return fs.Sub(b.files, path.Join("models", name))
		}
	}
	return nil, b.unknown("model", name, b.Models())
}

// dataset is the folder and name of a built-in dataset's file.
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

// ReadyRun is a run that needs nothing but a click, or its name: a configuration over what is built in.
type ReadyRun struct {
	Name    string            `json:"name"`
	Title   map[string]string `json:"title"`   // by language
	About   map[string]string `json:"about"`   // by language
	Prompts []string          `json:"prompts"` // that show what changed
	// Temperature is that of the first try; nil leaves it to the page.
	Temperature *float64        `json:"temperature,omitempty"`
	Config      json.RawMessage `json:"config"` // run.json
}

// runs lists the runs that are ready to start.
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

// run is the configuration of a ready run.
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
