package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"llamatab/engine/message"
	engine "llamatab/engine/train"
	"llamatab/server/job"
)

// mounts collects the files that a job may read, checking that they are there.
type mounts struct {
	base  string // folder that relative paths start from; "": the working directory
	files map[string]job.Mount
	names map[string]string // for message.Job: the path as it was found
}

func newMounts(base string) *mounts {
	return &mounts{base: base, files: map[string]job.Mount{}, names: map[string]string{}}
}

// into hands the mounts to a job.
func (m *mounts) into(spec message.Job) *job.Job {
	spec.Mounts = m.names
	j := job.New(spec)
	j.Mounts = m.files
	return j
}

// add mounts a file or folder, and makes *path absolute. what says what it is in errors, which are usage errors.
func (m *mounts) add(mount, what string, path *string) error {
	if name, ok := strings.CutPrefix(*path, builtinPrefix); ok && (mount == "model" || mount == "dataset" || mount == "tokenizer") {
		return m.builtin(mount, what, name)
	}
	if err := m.resolve(what, path); err != nil {
		return err
	}
	files, err := job.MountPath(*path)
	if err != nil {
		return usageError("%s: %v", what, err)
	}
	m.files[mount], m.names[mount] = files, *path
	return nil
}

// resolve makes the path absolute and checks that it exists.
func (m *mounts) resolve(what string, path *string) error {
	full := *path
	if !filepath.IsAbs(full) {
		full = filepath.Join(m.base, full)
	}
	full, err := filepath.Abs(full)
	if err != nil {
		return usageError("%s: %v", what, err)
	}
	if _, err := os.Stat(full); err != nil {
		switch {
		case strings.HasPrefix(*path, builtinPrefix):
			return usageError("%s: %s: only models, datasets and tokenizers are built in; give a path", what, *path)
		case !os.IsNotExist(err):
			return usageError("%s: %v", what, err)
		case strings.Count(*path, "/") == 1 && !strings.HasPrefix(*path, "."):
			return usageError("%s: %s does not exist; if it is a hub name: fetching from a hub is not available in this version, download it and give the folder", what, full)
		default:
			return usageError("%s: %s does not exist", what, full)
		}
	}
	*path = full
	return nil
}

// model mounts a model folder.
func (m *mounts) model(what string, path *string) error {
	if strings.HasSuffix(strings.ToLower(*path), ".gguf") {
		return usageError("%s: %s: GGUF models are not available in this version; give the Hugging Face folder", what, *path)
	}
	if err := m.add("model", what, path); err != nil || strings.HasPrefix(*path, builtinPrefix) {
		return err
	}
	return holds(what, *path, "config.json", "a Hugging Face model")
}

// adapter mounts a PEFT folder.
func (m *mounts) adapter(what string, path *string) error {
	if err := m.add("adapter", what, path); err != nil {
		return err
	}
	return holds(what, *path, "adapter_config.json", "a PEFT adapter")
}

// adapters mounts the PEFT folders of a command: one as the adapter, more to be compared.
func (m *mounts) adapters(what string, paths []string) (compare []string, err error) {
	if len(paths) == 1 {
		return nil, m.adapter(what, &paths[0])
	}
	for i, path := range paths {
		if err := m.add(engine.AdapterMount(i), what, &path); err != nil {
			return nil, err
		}
		if err := holds(what, path, "adapter_config.json", "a PEFT adapter"); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// holds checks that a path is a folder with the file that makes it what it should be.
func holds(what, folder, file, kind string) error {
	if info, err := os.Stat(folder); err == nil && !info.IsDir() {
		return usageError("%s: %s is a file; %s is a folder", what, folder, kind)
	}
	if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
		return usageError("%s: %s holds no %s, so it is not %s", what, folder, file, kind)
	}
	return nil
}

// inline reads a JSON object from a file.
func inline(what, path string) (json.RawMessage, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, usageError("%s: %v", what, err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, usageError("%s: %s: %v", what, path, err)
	}
	return json.RawMessage(data), nil
}

// outputFolder checks that a folder for results exists or can be made.
func outputFolder(option string, path *string) error {
	full, err := filepath.Abs(*path)
	if err != nil {
		return usageError("--%s: %v", option, err)
	}
	if info, err := os.Stat(full); err == nil && !info.IsDir() {
		return usageError("--%s: %s is a file, and the results are a folder", option, full)
	}
	*path = full
	return nil
}

// outputFile checks that a file for a result has a folder to lie in.
func outputFile(option string, path *string) error {
	full, err := filepath.Abs(*path)
	if err != nil {
		return usageError("--%s: %v", option, err)
	}
	if info, err := os.Stat(filepath.Dir(full)); err != nil || !info.IsDir() {
		return usageError("--%s: there is no folder %s", option, filepath.Dir(full))
	}
	if info, err := os.Stat(full); err == nil && info.IsDir() {
		return usageError("--%s: %s is a folder, and the result is a file", option, full)
	}
	*path = full
	return nil
}

// within reports whether path lies in folder or is it; both absolute.
func within(path, folder string) bool {
	rest, err := filepath.Rel(folder, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator))
}

// datasetFile checks that a dataset is a file that can be read.
func datasetFile(what, path string) error {
	if strings.HasPrefix(path, builtinPrefix) {
		return nil
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	if err != nil {
		return usageError("%s: %v", what, err)
	}
	return nil
}
