package library

import (
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"llamatab/engine/recipe"
	"llamatab/server/job"
	"llamatab/server/web"
)

// modelInfo is a model that the page can choose.
type modelInfo struct {
	Name  string     `json:"name"`
	Files []job.File `json:"files"`
}

// Addresses of models and data.
const (
	modelsPath = "/api/models"
	dataPath   = "/api/data"
)

// Handler answers below /api/ what there is to choose from: models, data, recipes and ready runs.
func (l Library) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+modelsPath, func(w http.ResponseWriter, r *http.Request) {
		found := []modelInfo{}
		names := folders(l.Models)
		for _, name := range l.Builtin.Models() {
			names = append(names, BuiltinPrefix+name)
		}
		for _, name := range names {
			if files, err := job.List(l.Model(name), "."); err == nil && holdsFile(files, "config.json") {
				found = append(found, modelInfo{name, files})
			}
		}
		web.WriteJSON(w, found)
	})
	mux.HandleFunc("GET "+modelsPath+"/{name}/{file}", func(w http.ResponseWriter, r *http.Request) {
		sendFile(w, r, l.Model(r.PathValue("name")), r.PathValue("file"))
	})
	mux.HandleFunc("GET "+dataPath, func(w http.ResponseWriter, r *http.Request) {
		files := []job.File{}
		if l.Data != "" {
			if all, err := job.List(os.DirFS(l.Data), "."); err == nil {
				for _, f := range all {
					if !strings.HasPrefix(f.Name, ".") {
						files = append(files, f)
					}
				}
			}
		}
		for _, name := range l.Builtin.Datasets() {
			folder, file, err := l.Builtin.Dataset(name)
			if err != nil {
				continue
			}
			if info, err := fs.Stat(folder, file); err == nil {
				files = append(files, job.File{Name: BuiltinPrefix + name, Size: info.Size()})
			}
		}
		web.WriteJSON(w, files)
	})
	mux.HandleFunc("GET "+dataPath+"/{file}", func(w http.ResponseWriter, r *http.Request) {
		folder, file := l.Dataset(r.PathValue("file"))
		sendFile(w, r, folder, file)
	})
	mux.HandleFunc("GET /api/recipes", func(w http.ResponseWriter, r *http.Request) { web.WriteJSON(w, recipe.All) })
	mux.HandleFunc("GET /api/runs", func(w http.ResponseWriter, r *http.Request) {
		runs, err := l.Builtin.Runs()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		web.WriteJSON(w, runs)
	})
	return mux
}

// ModelURL is the address of a model's file.
func ModelURL(model, file string) string {
	return modelsPath + "/" + url.PathEscape(model) + "/" + url.PathEscape(file)
}

// DatasetURL is the address of a dataset.
func DatasetURL(name string) string { return dataPath + "/" + url.PathEscape(name) }

// PlainName reports whether a name is that of a file in a folder, without separators and without a leading dot.
func PlainName(name string) bool {
	return fs.ValidPath(name) && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\\:\x00")
}

// sendFile answers with a file of a folder, or with "not found" where the folder is nil.
func sendFile(w http.ResponseWriter, r *http.Request, folder fs.FS, name string) {
	if folder == nil || !PlainName(name) {
		http.NotFound(w, r)
		return
	}
	job.ServeFile(w, r, folder, name)
}

// folders lists the names of the folders in dir, which may be links. It lists none where dir is "" or cannot be read.
func folders(dir string) []string {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

func holdsFile(files []job.File, name string) bool {
	for _, f := range files {
		if f.Name == name {
			return true
		}
	}
	return false
}
