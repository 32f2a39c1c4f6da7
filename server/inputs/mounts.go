// Package inputs finds the files that a job may read, and checks that they are there.
package inputs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"llamatab/engine/gguf"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/server/datafile"
	"llamatab/server/exit"
	"llamatab/server/hub"
	"llamatab/server/job"
	"llamatab/server/library"
)

// Mounts collects the files that a job may read and checks that they exist. A mount is the name under which the job knows
// a file or folder, such as "model" or "dataset".
type Mounts struct {
	base    string // the folder of relative paths, "" for the working directory
	find    Finder // nil: names of a hub are not looked up
	files   map[string]job.Mount
	paths   map[string]string // by mount: the absolute path, or the name of built-in content or of a model of a hub
	folders map[string]string // by mount: the folder of a model or adapter of a hub
	data    *datafile.File    // the dataset as the engine reads it, nil where that is the file itself
}

// Finder finds a model or an adapter by its name on a hub, or by an address of the hub. What it returns is complete.
type Finder func(name string, content hub.Content) (*hub.Snapshot, error)

// New starts with no mounts. Relative paths are relative to base, or to the working directory where base is "". find looks up
// names of a hub; with a nil one there are paths and built-in content only.
func New(base string, find Finder) *Mounts {
	return &Mounts{base: base, find: find, files: map[string]job.Mount{}, paths: map[string]string{}, folders: map[string]string{}}
}

// Paths are the mounted paths and names by mount.
func (m *Mounts) Paths() map[string]string { return m.paths }

// Into makes a job that may read the mounts.
func (m *Mounts) Into(spec message.Job) *job.Job {
	spec.Mounts = m.paths
	j := job.New(spec)
	j.Mounts = m.files
	return j
}

// Add mounts a file or folder and makes *path absolute. Errors are usage errors and begin with what, an option or a key.
func (m *Mounts) Add(mount, what string, path *string) error {
	if name, ok := strings.CutPrefix(*path, library.BuiltinPrefix); ok && (mount == "model" || mount == "dataset" || mount == "tokenizer") {
		return m.builtin(mount, what, name)
	}
	if mount == "dataset" {
		return m.dataset(what, path)
	}
	if err := m.Resolve(what, path); err != nil {
		return err
	}
	return m.mount(mount, what, *path, *path)
}

// dataset mounts a data file, or of a zip archive the file that "archive.zip#member" names. What the engine does not read is
// converted.
func (m *Mounts) dataset(what string, path *string) (err error) {
	full := *path
	if !filepath.IsAbs(full) {
		full = filepath.Join(m.base, full)
	}
	archive, member := datafile.SplitMember(full)
	if member != "" {
		if err := m.Resolve(what, &archive); err != nil {
			return err
		}
		if m.data, err = datafile.Member(archive, member); err != nil {
			return exit.Usagef("%s: %v", what, err)
		}
		*path = archive + "#" + member
		return m.mount("dataset", what, *path, m.data.Path)
	}
	if err := m.Resolve(what, path); err != nil {
		return err
	}
	read := *path
	if info, err := os.Stat(read); err == nil && info.Mode().IsRegular() {
		if m.data, err = datafile.Convert(read); err != nil {
			return exit.Usagef("%s: %v", what, err)
		}
		if m.data != nil {
			read = m.data.Path
		}
	}
	return m.mount("dataset", what, *path, read)
}

// mount mounts what is read, which path names.
func (m *Mounts) mount(mount, what, path, read string) error {
	files, err := job.MountPath(read)
	if err != nil {
		return exit.Usagef("%s: %v", what, err)
	}
	m.files[mount], m.paths[mount] = files, path
	return nil
}

// Close removes what was made of the files.
func (m *Mounts) Close() error {
	if m.data == nil {
		return nil
	}
	return m.data.Remove()
}

// Resolve makes the path absolute and checks that it exists.
func (m *Mounts) Resolve(what string, path *string) error {
	full := *path
	if !filepath.IsAbs(full) {
		full = filepath.Join(m.base, full)
	}
	full, err := filepath.Abs(full)
	if err != nil {
		return exit.Usagef("%s: %v", what, err)
	}
	if _, err := os.Stat(full); err != nil {
		switch {
		case strings.HasPrefix(*path, library.BuiltinPrefix):
			return exit.Usagef("%s: %s: only models, datasets and tokenizers are built in; give a path", what, *path)
		case !os.IsNotExist(err):
			return exit.Usagef("%s: %v", what, err)
		default:
			return exit.Usagef("%s: %s does not exist", what, full)
		}
	}
	*path = full
	return nil
}

// ResolveModel turns a path or the name of a model on a hub into an absolute path that exists, and mounts nothing for the job.
func (m *Mounts) ResolveModel(what string, path *string) error {
	if found, err := m.fromHub("model", what, path, hub.Model); err != nil {
		return err
	} else if found {
		*path = m.folders["model"]
		return nil
	}
	return m.Resolve(what, path)
}

// Model mounts a model folder or a GGUF file.
func (m *Mounts) Model(what string, path *string) error {
	if found, err := m.fromHub("model", what, path, hub.Model); found || err != nil {
		return err
	}
	if err := m.Add("model", what, path); err != nil || strings.HasPrefix(*path, library.BuiltinPrefix) {
		return err
	}
	if info, err := os.Stat(*path); err == nil && !info.IsDir() {
		if !gguf.IsName(*path) {
			return exit.Usagef("%s: %s is a file; a model is a Hugging Face folder or a GGUF file", what, *path)
		}
		m.files["model"] = job.MountFS(fileOfModel(*path), "")
		return nil
	}
	if name, err := gguf.Choose(os.DirFS(*path)); err != nil {
		return exit.Usagef("%s: %s: %v", what, *path, err)
	} else if name != "" {
		return nil
	}
	return holds(what, *path, "config.json", "a Hugging Face model")
}

// fileOfModel is the folder of a GGUF file, reduced to the files of its model.
func fileOfModel(path string) fs.FS {
	return library.OneModel(os.DirFS(filepath.Dir(path)), filepath.Base(path))
}

// Adapter mounts a PEFT folder.
func (m *Mounts) Adapter(what string, path *string) error { return m.adapter("adapter", what, path) }

func (m *Mounts) adapter(mount, what string, path *string) error {
	if found, err := m.fromHub(mount, what, path, hub.Adapter); found || err != nil {
		return err
	}
	if err := m.Add(mount, what, path); err != nil {
		return err
	}
	return holds(what, *path, "adapter_config.json", "a PEFT adapter")
}

// fromHub mounts what a hub has under a name, and makes *path the name of exactly these files. It reports false for what is no
// such name, and for a path: where the path exists, or where its first folder does, nobody is asked.
func (m *Mounts) fromHub(mount, what string, path *string, content hub.Content) (bool, error) {
	if m.find == nil || !hub.LooksLikeName(*path) {
		return false, nil
	}
	if first, _, _ := strings.Cut(*path, "/"); !strings.Contains(*path, "://") {
		for _, local := range []string{*path, first} {
			if _, err := os.Stat(filepath.Join(m.base, local)); err == nil {
				return false, nil
			}
		}
	}
	found, err := m.find(*path, content)
	if e, ok := errors.AsType[*hub.Error](err); ok && e.Kind == hub.NotFound {
		return false, exit.Usagef("%s: there is no folder %s, and %v", what, *path, err)
	} else if err != nil {
		return false, &exit.Error{Code: exit.Code(err), Err: fmt.Errorf("%s: %w", what, err)}
	}
	files, err := job.MountPath(found.Dir)
	if err != nil {
		return false, err
	}
	*path = found.Name().String()
	m.files[mount], m.paths[mount], m.folders[mount] = files, *path, found.Dir
	return true, nil
}

// Checkpoint mounts the checkpoint-N folder that a run resumes from. For the folder of a whole run it names the newest
// checkpoint there.
func (m *Mounts) Checkpoint(what string, path *string) error {
	if err := m.Add("resume", what, path); err != nil {
		return err
	}
	err := holds(what, *path, message.StateFile, "a checkpoint")
	if err == nil {
		return nil
	}
	newest := -1
	states, _ := fs.Glob(os.DirFS(*path), message.CheckpointPrefix+"*/"+message.StateFile)
	for _, state := range states {
		name := filepath.Dir(state)
		if step, err := strconv.Atoi(strings.TrimPrefix(name, message.CheckpointPrefix)); err == nil {
			newest = max(newest, step)
		}
	}
	if newest >= 0 {
		return exit.Usagef("%s: %s is the folder of a run, not one of its checkpoints; its newest is %s", what, *path, filepath.Join(*path, message.CheckpointPrefix+strconv.Itoa(newest)))
	}
	return err
}

// Adapters mounts the PEFT folders of a command. One becomes the job's adapter; several are compared, and their paths are
// returned.
func (m *Mounts) Adapters(what string, paths []string) (compare []string, err error) {
	if len(paths) == 1 {
		return nil, m.Adapter(what, &paths[0])
	}
	for i, path := range paths {
		if err := m.adapter(report.AdapterMount(i), what, &path); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// holds checks that a path is a folder that holds the file by which its kind is known.
func holds(what, folder, file, kind string) error {
	if info, err := os.Stat(folder); err == nil && !info.IsDir() {
		return exit.Usagef("%s: %s is a file; %s is a folder", what, folder, kind)
	}
	if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
		return exit.Usagef("%s: %s holds no %s, so it is not %s", what, folder, file, kind)
	}
	return nil
}

// inline reads a JSON object from a file.
func inline(what, path string) (json.RawMessage, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, exit.Usagef("%s: %v", what, err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, exit.Usagef("%s: %s: %v", what, path, err)
	}
	return json.RawMessage(data), nil
}

// DataFile checks that a dataset is a file that can be read.
func DataFile(what, path string) error {
	if strings.HasPrefix(path, library.BuiltinPrefix) {
		return nil
	}
	archive, _ := datafile.SplitMember(path)
	info, err := os.Stat(archive)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	if err != nil {
		return exit.Usagef("%s: %v", what, err)
	}
	return nil
}

// builtin mounts a built-in model, tokenizer or dataset.
func (m *Mounts) builtin(mount, what, name string) error {
	b := library.NewBuiltin()
	var files job.Mount
	var err error
	if mount == "dataset" {
		var folder fs.FS
		var file string
		folder, file, err = b.Dataset(name)
		files = job.MountFS(folder, file)
	} else {
		var folder fs.FS
		folder, err = b.Model(name)
		files = job.MountFS(folder, "")
	}
	if err != nil {
		return exit.Usagef("%s: %v", what, err)
	}
	m.files[mount], m.paths[mount] = files, library.BuiltinPrefix+name
	return nil
}

// Open opens the mounts for an engine in this process.
func (m *Mounts) Open() (files report.Files, err error) {
	for name, path := range m.paths {
		if fetched, ok := m.folders[name]; ok {
			path = fetched
		} else if name == "dataset" && m.data != nil {
			path = m.data.Path
		}
		var folder fs.FS = os.DirFS(path)
		if builtin, ok := strings.CutPrefix(path, library.BuiltinPrefix); ok {
			var file string
			if name == "dataset" {
				folder, file, err = library.NewBuiltin().Dataset(builtin)
			} else {
				folder, err = library.NewBuiltin().Model(builtin)
			}
			if err != nil {
				return files, exit.Usagef("%s: %v", name, err)
			}
			if file != "" {
				folder = library.OneFile(folder, file)
			}
		} else if info, err := os.Stat(path); err == nil && !info.IsDir() && name == "model" {
			folder = fileOfModel(path)
		} else if err == nil && !info.IsDir() {
			folder = library.OneFile(os.DirFS(filepath.Dir(path)), filepath.Base(path))
		}
		switch name {
		case "model":
			files.Model = folder
		case "dataset":
			files.Dataset = folder
		case "adapter":
			files.Adapter = folder
		case "resume":
			files.Resume = folder
		case "tokenizer":
			files.Tokenizer = folder
		case "head":
			files.Head = folder
		default: // an adapter of a comparison
			if files.Compare == nil {
				files.Compare = map[string]fs.FS{}
			}
			files.Compare[name] = folder
		}
	}
	return files, nil
}
