package library

import (
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"llamatab/engine/gguf"
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

// Handler answers below /api/ what there is to choose from: models, data, recipes and ready runs. Content that is not Public is
// listed for a request from this machine alone, and sent to a request that mayFetch allows.
func (l Library) Handler(mayFetch func(r *http.Request, name string) bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+modelsPath, func(w http.ResponseWriter, r *http.Request) {
		found := []modelInfo{}
		var names []string
		if web.FromHere(r) {
			names = l.Models.models()
		}
		for _, name := range l.Builtin.Models() {
			names = append(names, BuiltinPrefix+name)
		}
		if web.FromHere(r) {
			names = append(names, l.Hub.snapshots()...)
		}
		for _, name := range names {
			if files, err := ModelFiles(l.Model(name)); err == nil && (holdsFile(files, "config.json") || slices.ContainsFunc(files, func(f job.File) bool { return gguf.IsName(f.Name) })) {
				found = append(found, modelInfo{name, files})
			}
		}
		web.WriteJSON(w, found)
	})
	mux.HandleFunc("GET "+modelsPath+"/{name}/{file}", func(w http.ResponseWriter, r *http.Request) {
		if name := r.PathValue("name"); allowed(w, r, name, mayFetch) {
			sendFile(w, r, l.Model(name), r.PathValue("file"), modelFile)
		}
	})
	mux.HandleFunc("GET "+dataPath, func(w http.ResponseWriter, r *http.Request) { web.WriteJSON(w, l.datasets(web.FromHere(r))) })
	mux.HandleFunc("GET "+dataPath+"/{file}", func(w http.ResponseWriter, r *http.Request) {
		if name := r.PathValue("file"); allowed(w, r, name, mayFetch) {
			folder, file := l.Dataset(name)
			sendFile(w, r, folder, file, PlainName)
		}
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

// datasets lists the built-in datasets, and also those of the folder where all is true.
func (l Library) datasets(all bool) []job.File {
	files := []job.File{}
	if all {
		for _, name := range l.Data.names() {
			if info, err := fs.Stat(l.Data.files, name); err == nil && info.Mode().IsRegular() {
				files = append(files, job.File{Name: name, Size: info.Size()})
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
	return files
}

// ModelFiles lists the files of a model's folder that can be fetched.
func ModelFiles(folder fs.FS) ([]job.File, error) {
	if folder == nil {
		return nil, fs.ErrNotExist
	}
	files, err := job.List(folder, ".")
	files = append(files, job.Templates(folder)...)
	return slices.DeleteFunc(files, func(f job.File) bool { return !modelFile(f.Name) }), err
}

// modelFile reports whether a name is one of a model's file that can be fetched: a plain one, or one of a further chat template.
func modelFile(name string) bool {
	template, below := strings.CutPrefix(name, job.TemplatesFolder+"/")
	return PlainName(name) || below && PlainName(template) && path.Ext(template) == ".jinja"
}

// allowed reports whether a request may fetch the model or dataset. It answers a request that may not, in the same way
// whether there is such content or not.
func allowed(w http.ResponseWriter, r *http.Request, name string, mayFetch func(*http.Request, string) bool) bool {
	if Public(name) || mayFetch(r, name) {
		return true
	}
	http.Error(w, "only members of a room get the models and data that the room trains with: join it by its code", http.StatusForbidden)
	return false
}

// sendFile answers with a file of a folder, or with "not found" where the folder is nil or the name is none of those that may be
// fetched.
func sendFile(w http.ResponseWriter, r *http.Request, folder fs.FS, name string, may func(name string) bool) {
	if folder == nil || !may(name) || !regular(folder, name) {
		http.NotFound(w, r)
		return
	}
	job.ServeFile(w, r, folder, name)
}

func holdsFile(files []job.File, name string) bool {
	for _, f := range files {
		if f.Name == name {
			return true
		}
	}
	return false
}
