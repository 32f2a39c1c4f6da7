// Package library is what the server offers to pages and jobs: the built-in models, data and ready runs, the folders of
// serve --models and --data, and the files that pages have uploaded for their rooms.
package library

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"llamatab/engine/gguf"
)

// Library is what the server offers. A name that begins with BuiltinPrefix or UploadPrefix is looked up in the part of that
// name, org/name@COMMIT in the cache of the hub's models, and any other in the folders.
type Library struct {
	Builtin      Builtin
	Models, Data *Folder // nil for none
	Uploads      Uploads
	Hub          *Fetches // nil where nothing is fetched from a hub
}

// Model is the folder of a model, nil where there is none of that name.
func (l Library) Model(name string) fs.FS {
	if rest, ok := strings.CutPrefix(name, BuiltinPrefix); ok {
		files, _ := l.Builtin.Model(rest)
		return files
	}
	if rest, ok := strings.CutPrefix(name, UploadPrefix); ok {
		return l.Uploads.folder(rest)
	}
	if fetched := l.Hub.snapshot(name); fetched != nil {
		return os.DirFS(fetched.Dir)
	}
	return l.Models.model(name)
}

// Dataset is the folder of a data file and its name in it. The folder is nil where there is none of that name.
func (l Library) Dataset(name string) (fs.FS, string) {
	if rest, ok := strings.CutPrefix(name, BuiltinPrefix); ok {
		folder, file, _ := l.Builtin.Dataset(rest)
		return folder, file
	}
	if rest, ok := strings.CutPrefix(name, UploadPrefix); ok {
		return l.Uploads.dataset(rest)
	}
	return l.Data.dataset(name), name
}

// Public reports whether anybody may fetch the model or dataset of that name: it is part of the program. What lies in folders
// or was uploaded is for those alone whom the Handler's caller lets fetch it.
func Public(name string) bool { return strings.HasPrefix(name, BuiltinPrefix) }

// someFiles is a folder in which only some files are visible.
type someFiles struct {
	fs.FS
	names []string
}

// OneFile is the folder reduced to the file of that name.
func OneFile(folder fs.FS, name string) fs.FS { return someFiles{folder, []string{name}} }

// OneModel is the folder reduced to the GGUF model that a file belongs to, which may be split into several files.
func OneModel(folder fs.FS, name string) fs.FS { return someFiles{folder, gguf.Parts(name)} }

// Open implements fs.FS.
func (s someFiles) Open(name string) (fs.File, error) {
	if !slices.Contains(s.names, name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return s.FS.Open(name)
}

// ReadDir implements fs.ReadDirFS.
func (s someFiles) ReadDir(folder string) ([]fs.DirEntry, error) {
	if folder != "." {
		return nil, &fs.PathError{Op: "readdir", Path: folder, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for _, name := range s.names {
		info, err := fs.Stat(s.FS, name)
		if errors.Is(err, fs.ErrNotExist) { // a part of a split model: its reader says which one is missing
			continue
		} else if err != nil {
			return nil, err
		}
		entries = append(entries, fs.FileInfoToDirEntry(info))
	}
	return entries, nil
}
