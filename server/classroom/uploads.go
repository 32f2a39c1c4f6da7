package classroom

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/server/library"
	"llamatab/server/web"
)

// maxUpload bounds an uploaded file, in bytes.
const maxUpload = 16 << 30

// upload keeps the body of a request as a file of the uploads. Only a page of this server on its own machine may upload.
func (c *Classroom) upload(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, format string, args ...any) {
		w.Header().Set("Connection", "close") // the rest of the body is not read
		w.WriteHeader(status)
		web.WriteJSON(w, message.Refusal{Code: code, Reason: fmt.Sprintf(format, args...)})
	}
	if !web.FromHere(r) {
		refuse(http.StatusForbidden, "elsewhere", "files are uploaded on the server's own machine")
		return
	}
	if !c.OriginAllowed(r) {
		refuse(http.StatusForbidden, "origin", "send files from a page of this server")
		return
	}
	name, file := r.PathValue("name"), r.PathValue("file")
	if !library.PlainName(name) || !library.PlainName(file) || len(name) > 100 || len(file) > 200 {
		refuse(http.StatusBadRequest, "name", "%.200q is not a plain name", name+"/"+file)
		return
	}
	if r.ContentLength < 0 || r.ContentLength > maxUpload {
		refuse(http.StatusRequestEntityTooLarge, "too_large", "%s: state its length, which is at most %d bytes", file, int64(maxUpload))
		return
	}
	if !c.uploads.Has(name) {
		if err := c.removeOldUploads(); err != nil {
			slog.Warn("files that no room needs cannot be removed", "error", err)
		}
	}
	switch err := c.uploads.Keep(name, file, http.MaxBytesReader(w, r.Body, r.ContentLength), r.ContentLength); {
	case errors.Is(err, fs.ErrExist):
		refuse(http.StatusConflict, "exists", "%s is there already", file)
	case errors.Is(err, library.ErrTooManyFiles):
		refuse(http.StatusRequestEntityTooLarge, "too_large", "%v", err)
	case err != nil:
		refuse(http.StatusInsufficientStorage, "storage", "%s cannot be kept: %v", file, err)
	default:
		w.WriteHeader(http.StatusCreated)
	}
}

// MayFetch reports whether a request may fetch the model or dataset of that name: it comes from this machine, or from a page
// that has joined a room which trains with it.
func (c *Classroom) MayFetch(r *http.Request, name string) bool {
	if web.FromHere(r) {
		return true
	}
	for _, text := range c.JobsOf(r) {
		if cfg, err := config.Parse(text, "run.json"); err == nil && (name == cfg.Model.Path || name == cfg.Dataset.Path) {
			return true
		}
	}
	return false
}

// removeOldUploads removes the uploads that no room needs.
func (c *Classroom) removeOldUploads() error {
	needed := map[string]bool{}
	for _, text := range c.Jobs() {
		if cfg, err := config.Parse(text, "run.json"); err == nil {
			needed[cfg.Model.Path], needed[cfg.Dataset.Path] = true, true
		}
	}
	return c.uploads.RemoveOld(needed)
}
