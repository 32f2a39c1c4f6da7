package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strings"

	"llamatab/server/job"
)

// builtinPrefix starts the name of what the program brings along: builtin:NAME.
const builtinPrefix = "builtin:"

// builtin is what the build packed of the folder testdata/builtin, empty in a program that was built without it:
// models/NAME/, data/NAME.jsonl and runs.json.
type builtin struct{ files fs.FS }

func newBuiltin() builtin {
	files, err := fs.Sub(packed, "builtin")
	if err != nil { // the name is a constant
		panic(err)
	}
	return builtin{files}
}

// models lists the names of the built-in models.
func (b builtin) models() (names []string) {
	entries, _ := fs.ReadDir(b.files, "models") // none is no error
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// datasets lists the names of the built-in datasets.
func (b builtin) datasets() (names []string) {
	entries, _ := fs.ReadDir(b.files, "data")
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), path.Ext(e.Name())))
	}
	return names
}

// model is the folder of a built-in model.
func (b builtin) model(name string) (fs.FS, error) {
	for _, known := range b.models() {
		if name == known {
			return fs.Sub(b.files, path.Join("models", name))
		}
	}
	return nil, b.unknown("model", name, b.models())
}

// dataset is the folder and name of a built-in dataset's file.
func (b builtin) dataset(name string) (fs.FS, string, error) {
	for _, known := range b.datasets() {
		if name == known {
			files, err := fs.Sub(b.files, "data")
			return files, name + ".jsonl", err
		}
	}
	return nil, "", b.unknown("dataset", name, b.datasets())
}

func (b builtin) unknown(kind, name string, known []string) error {
	if len(known) == 0 {
		return errors.New(builtinPrefix + name + ": this program was built without built-in models and data: run `make build` and use bin/llamatab")
	}
	for i := range known {
		known[i] = builtinPrefix + known[i]
	}
	return errors.New("there is no " + kind + " " + builtinPrefix + name + "; there is " + strings.Join(known, ", "))
}

// readyRun is a run that needs nothing but a click, or its name: a configuration over what is built in.
type readyRun struct {
	Name    string            `json:"name"`
	Title   map[string]string `json:"title"`   // by language
	About   map[string]string `json:"about"`   // by language
	Prompts []string          `json:"prompts"` // that show what changed
	// Temperature is that of the first try; nil leaves it to the page.
	Temperature *float64        `json:"temperature,omitempty"`
	Config      json.RawMessage `json:"config"` // run.json
}

// runs lists the runs that are ready to start.
func (b builtin) runs() ([]readyRun, error) {
	data, err := fs.ReadFile(b.files, "runs.json")
	if errors.Is(err, fs.ErrNotExist) {
		return []readyRun{}, nil
	}
	var runs []readyRun
	if err == nil {
		err = json.Unmarshal(data, &runs)
	}
	return runs, err
}

// run is the configuration of a ready run.
func (b builtin) run(name string) ([]byte, error) {
	runs, err := b.runs()
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

// mount adds a built-in model or dataset to what a job may read.
func (m *mounts) builtin(mount, what, name string) error {
	b := newBuiltin()
	var files job.Mount
	var err error
	if mount == "dataset" {
		var folder fs.FS
		var file string
		folder, file, err = b.dataset(name)
		files = job.MountFS(folder, file)
	} else {
		var folder fs.FS
		folder, err = b.model(name)
		files = job.MountFS(folder, "")
	}
	if err != nil {
		return usageError("%s: %v", what, err)
	}
	m.files[mount], m.names[mount] = files, builtinPrefix+name
	return nil
}
