package library

import (
	"io/fs"
	"net/http"
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

// Handler answers below /api/ what there is to choose from: models, data, recipes and ready runs.
func (l Library) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/models", func(w http.ResponseWriter, r *http.Request) {
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
	mux.HandleFunc("GET /api/models/{name}/{file}", func(w http.ResponseWriter, r *http.Request) {
		offer(w, r, l.Model(r.PathValue("name")), r.PathValue("file"))
	})
	mux.HandleFunc("GET /api/data", func(w http.ResponseWriter, r *http.Request) {
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
	mux.HandleFunc("GET /api/data/{file}", func(w http.ResponseWriter, r *http.Request) {
		folder, file := l.Dataset(r.PathValue("file"))
		offer(w, r, folder, file)
	})
	// Practice advice as settings, with why.
	mux.HandleFunc("GET /api/recipes", func(w http.ResponseWriter, r *http.Request) { web.WriteJSON(w, recipe.All) })
	// The runs that need nothing but a click.
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

// plain reports whether a name is that of a file in a folder and nothing more.
func plain(name string) bool {
	return fs.ValidPath(name) && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\\:\x00")
}

// offer sends a file of a folder; nil holds nothing.
func offer(w http.ResponseWriter, r *http.Request, folder fs.FS, name string) {
	if folder == nil || !plain(name) {
		http.NotFound(w, r)
		return
	}
	job.ServeFile(w, r, folder, name)
}

// folders lists the folders in a folder, links followed; none for "".
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
