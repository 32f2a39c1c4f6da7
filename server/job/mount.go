package job

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// TemplatesFolder is the one folder in a model's folder that the engine reads: further chat templates.
const TemplatesFolder = "additional_chat_templates"

// Mount is a folder whose files the engine may read, or a view of one that holds a single file.
type Mount struct {
	files fs.FS
	only  string // the one file, or "" for all
}

// MountFS makes a mount of a file system, or of one file at its root. Its files must implement io.Seeker.
func MountFS(files fs.FS, only string) Mount { return Mount{files, only} }

// MountPath makes a mount of a folder, or of one file. Links inside are followed: model caches are made of them.
func MountPath(name string) (Mount, error) {
	info, err := os.Stat(name)
	if err != nil {
		return Mount{}, fmt.Errorf("job: %w", err)
	}
	if info.IsDir() {
		return MountFS(os.DirFS(name), ""), nil
	}
	return MountFS(os.DirFS(filepath.Dir(name)), filepath.Base(name)), nil
}

// File is one file of a folder's list.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// serve sends a file of the mount, or the list of a folder.
func (m Mount) serve(w http.ResponseWriter, r *http.Request, name string) {
	if r.URL.Query().Has("list") {
		m.list(w, name)
		return
	}
	clean, err := cleanPath(name)
	if err != nil {
		writeError(w, err)
		return
	}
	if m.only != "" && clean != m.only {
		http.Error(w, fmt.Sprintf("job: %q is not the file of this job", name), http.StatusNotFound)
		return
	}
	ServeFile(w, r, m.files, clean)
}

// ServeFile sends a file, or the range of the request, as plain bytes. A folder is not found. Of a request for several ranges the
// whole file is sent: each range in one answer has a header of its own, so that a short request could ask for a long answer.
func ServeFile(w http.ResponseWriter, r *http.Request, files fs.FS, name string) {
	file, err := files.Open(name)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
			status = http.StatusNotFound
		}
		http.Error(w, err.Error(), status)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	content, ok := file.(io.ReadSeeker)
	if err != nil || !ok || !info.Mode().IsRegular() {
		http.Error(w, fmt.Sprintf("%s: not a file", name), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	if strings.Contains(r.Header.Get("Range"), ",") {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "", info.ModTime(), content)
}

func (m Mount) list(w http.ResponseWriter, name string) {
	folder := "."
	if name = strings.TrimSuffix(name, "/"); name != "" {
		clean, err := cleanPath(name)
		if err != nil {
			writeError(w, err)
			return
		}
		folder = clean
	}
	files, err := List(m.files, folder)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if within, err := fs.Sub(m.files, folder); err == nil {
		files = append(files, Templates(within)...)
	}
	if m.only != "" {
		kept := files[:0]
		for _, f := range files {
			if f.Name == m.only {
				kept = append(kept, f)
			}
		}
		files = kept
	}
	writeJSON(w, files)
}

// List returns the regular files of one folder in the order of their names, links followed.
func List(fsys fs.FS, folder string) ([]File, error) {
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil {
		return nil, err
	}
	files := []File{}
	for _, e := range entries {
		info, err := fs.Stat(fsys, path.Join(folder, e.Name()))
		if err != nil || !info.Mode().IsRegular() {
			continue // a broken link, or a folder
		}
		files = append(files, File{e.Name(), info.Size()})
	}
	return files, nil
}

// Templates lists the further chat templates of a model's folder, named with the folder in it that they lie in.
func Templates(fsys fs.FS) []File {
	files, _ := List(fsys, TemplatesFolder) // most models have no such folder
	files = slices.DeleteFunc(files, func(f File) bool { return path.Ext(f.Name) != ".jinja" })
	for i := range files {
		files[i].Name = path.Join(TemplatesFolder, files[i].Name)
	}
	return files
}

// isLocal reports whether a name stays below the folder that it is joined to, on every operating system.
func isLocal(name string) bool {
	return filepath.IsLocal(filepath.FromSlash(name)) && !strings.ContainsAny(name, "\\:\x00") && !strings.Contains("/"+name+"/", "/../")
}
