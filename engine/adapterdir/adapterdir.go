// Package adapterdir presents the folder of an adapter that another tool wrote, or that was saved with state_dict, as
// Hugging Face PEFT writes it: adapter_config.json beside adapter_model.safetensors with PEFT's keys. Values are not
// read until they are needed, but for those of MLX, which are transposed.
package adapterdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"llamatab/engine/message"
	"llamatab/engine/weights"
)

// The files of a PEFT folder, and what MLX calls its weights.
const (
	configName  = "adapter_config.json"
	weightsName = "adapter_model.safetensors"
	mlxName     = "adapters.safetensors"
)

// maxConfig bounds an adapter_config.json in bytes.
const maxConfig = 4 << 20

// Open returns fsys, or where its keys are spelled in another way a file system in which they are PEFT's. The remarks say
// what was respelled. A folder that lacks a file is returned as it is: whoever reads it says what is missing.
func Open(fsys fs.FS) (fs.FS, []message.Remark, error) {
	if _, err := fs.Stat(fsys, configName); errors.Is(err, fs.ErrNotExist) {
		return fsys, nil, inner(fsys)
	}
	name := weightsName
	if _, err := fs.Stat(fsys, name); errors.Is(err, fs.ErrNotExist) {
		if _, err := fs.Stat(fsys, mlxName); err != nil {
			return fsys, nil, nil
		}
		name = mlxName
	}
	c, err := weights.OpenFile(fsys, name)
	if err != nil {
		return fsys, nil, nil // whoever reads it says so
	}
	defer c.Close()
	keys := make([]string, 0, len(c.Files[0].Tensors))
	for _, t := range c.Files[0].Tensors {
		keys = append(keys, t.Name)
	}
	if slices.ContainsFunc(keys, isMLX) {
		return fromMLX(fsys, c, name)
	}
	if promptLearning(fsys) {
		return fsys, nil, nil
	}
	names, err := respellAll(keys)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %w", name, err)
	}
	first := ""
	for _, key := range keys {
		if names[key] != key && (first == "" || key < first) {
			first = key
		}
	}
	if first == "" && name == weightsName {
		return fsys, nil, nil
	}
	head, from, err := renamed(c.Files[0], names)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	o := &overlay{FS: fsys, files: map[string]func() (fs.File, error){weightsName: func() (fs.File, error) {
		return openRenamed(fsys, name, head, from)
	}}}
	return o, []message.Remark{message.NewRemark("adapter_respelled", "{file}: keys such as {key} are read as PEFT spells them, {name}",
		"file", name, "key", first, "name", names[first])}, nil
}

// promptLearning says whether the adapter is of a method that puts virtual tokens before a text. PEFT does not wrap the
// modules of the base for it, so that its keys have another prefix.
func promptLearning(fsys fs.FS) bool {
	raw, err := fs.ReadFile(fsys, configName)
	var config struct {
		Type string `json:"peft_type"`
	}
	return err == nil && len(raw) <= maxConfig && json.Unmarshal(raw, &config) == nil && strings.HasSuffix(config.Type, "_TUNING")
}

// inner is the error for a folder whose adapters lie in folders of their own, nil where there are none.
func inner(fsys fs.FS) error {
	entries, _ := fs.ReadDir(fsys, ".") // a file system that cannot list has nothing to add
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if _, err := fs.Stat(fsys, path.Join(e.Name(), configName)); err == nil {
			return fmt.Errorf("%s is not in this folder but in %s below it: choose that one", configName, e.Name())
		}
	}
	return nil
}

// overlay is a file system in which some files are others.
type overlay struct {
	fs.FS
	files map[string]func() (fs.File, error)
}

// Open implements fs.FS.
func (o *overlay) Open(name string) (fs.File, error) {
	if open, ok := o.files[name]; ok {
		return open()
	}
	return o.FS.Open(name)
}

// file is an open file of an overlay: what its reader holds.
type file struct {
	*io.SectionReader
	info   fileInfo
	closer io.Closer // nil for none
}

// Stat implements fs.File.
func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }

// Close implements fs.File.
func (f *file) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}
