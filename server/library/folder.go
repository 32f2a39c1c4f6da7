package library

import (
	"fmt"
	"io/fs"
	"os"

	"llamatab/engine/gguf"
)

// Folder is a folder of serve --models or --data. A link in it is followed only where it is relative and leads to a place
// below the folder, so a link cannot offer other files of the machine. A nil Folder is empty.
type Folder struct{ files fs.FS }

// OpenFolder opens a folder. dir "" gives nil.
func OpenFolder(dir string) (*Folder, error) {
	if dir == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder: %w", err)
	}
	return &Folder{plainFiles{root}}, nil
}

// plainFiles is a root of which only folders and regular files can be opened. To open another kind, such as a named pipe,
// may wait for ever.
type plainFiles struct{ root *os.Root }

// Open implements fs.FS.
func (p plainFiles) Open(name string) (fs.File, error) {
	if info, err := p.Stat(name); err != nil {
		return nil, err
	} else if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return p.root.FS().Open(name)
}

// Stat implements fs.StatFS.
func (p plainFiles) Stat(name string) (fs.FileInfo, error) { return fs.Stat(p.root.FS(), name) }

// models lists the names of the folders that hold a config.json or one GGUF model, and of the GGUF files, of a split model the first.
func (f *Folder) models() (names []string) {
	for _, name := range f.names() {
		if f.isModel(name) && (!gguf.IsName(name) || gguf.Parts(name)[0] == name) {
			names = append(names, name)
		}
	}
	return names
}

func (f *Folder) isModel(name string) bool { return f.model(name) != nil }

// model is the folder of a model, nil where the name is none of models.
func (f *Folder) model(name string) fs.FS {
	if f == nil || !PlainName(name) {
		return nil
	}
	if gguf.IsName(name) && regular(f.files, name) {
		return OneModel(f.files, name)
	}
	folder, err := fs.Sub(f.files, name)
	if err != nil {
		return nil
	}
	if regular(folder, "config.json") {
		return folder
	}
	if found, err := gguf.Choose(folder); found == "" || err != nil {
		return nil
	}
	return folder
}

// dataset is the folder itself, nil where it has no data file of that name.
func (f *Folder) dataset(name string) fs.FS {
	if f == nil || !PlainName(name) || !regular(f.files, name) {
		return nil
	}
	return f.files
}

// names lists the plain names in the folder, none where it cannot be read.
func (f *Folder) names() (names []string) {
	if f == nil {
		return nil
	}
	entries, _ := fs.ReadDir(f.files, ".")
	for _, e := range entries {
		if PlainName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// LeadOut lists the links that are not followed because they lead out of the folder or are not relative.
func (f *Folder) LeadOut() (names []string) {
	if f == nil {
		return nil
	}
	entries, _ := fs.ReadDir(f.files, ".")
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 || !PlainName(e.Name()) {
			continue
		}
		if _, err := fs.Stat(f.files, e.Name()); err != nil {
			names = append(names, e.Name())
		}
	}
	return names
}

func regular(folder fs.FS, name string) bool {
	info, err := fs.Stat(folder, name)
	return err == nil && info.Mode().IsRegular()
}
