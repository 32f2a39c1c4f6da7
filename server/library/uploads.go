package library

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"llamatab/engine/config"
	"llamatab/server/room"
	"llamatab/server/web"
)

// uploadPrefix begins the names of models and data that a page has handed over for a room.
const uploadPrefix = "handed:"

// The most that a page may hand over.
const (
	MaxUploadFiles = 64       // of one model
	maxUploadBytes = 16 << 30 // in one file
	UploadIdle     = time.Hour
)

// Uploads keeps the files that the page of somebody who opens a room hands over: the tabs of a class can get only from the
// server what is on one of its members' disks. A model or a data file is a folder, named by the page and never written again.
type Uploads struct{ Dir string }

// folder holds what was handed over by a name, nil for nothing.
func (u Uploads) folder(name string) fs.FS {
	if u.Dir == "" || !plain(name) {
		return nil
	}
	return os.DirFS(filepath.Join(u.Dir, name))
}

// dataset is the folder and the one file in it.
func (u Uploads) dataset(name string) (fs.FS, string) {
	folder := u.folder(name)
	if folder == nil {
		return nil, ""
	}
	entries, err := fs.ReadDir(folder, ".")
	if err != nil || len(entries) != 1 {
		return nil, ""
	}
	return folder, entries[0].Name()
}

// Handler answers PUT /api/handed/{name}/{file}: the body is the file. Only a page of this server, on its own machine, may.
func (u Uploads) Handler(rooms *room.Rooms) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		refuse := func(status int, code, format string, args ...any) {
			w.Header().Set("Connection", "close") // the rest of the body is not read
			w.WriteHeader(status)
			web.WriteJSON(w, room.Refused{Code: code, Reason: fmt.Sprintf(format, args...)})
		}
		if !room.FromHere(r) {
			refuse(http.StatusForbidden, "elsewhere", "files are handed over on the server's own machine")
			return
		}
		if !rooms.OriginAllowed(r) {
			refuse(http.StatusForbidden, "origin", "send files from a page of this server")
			return
		}
		name, file := r.PathValue("name"), r.PathValue("file")
		if !plain(name) || !plain(file) || len(name) > 100 || len(file) > 200 {
			refuse(http.StatusBadRequest, "name", "%.200q is not a plain name", name+"/"+file)
			return
		}
		if r.ContentLength < 0 || r.ContentLength > maxUploadBytes {
			refuse(http.StatusRequestEntityTooLarge, "too_large", "%s: say its length, %d bytes at most", file, int64(maxUploadBytes))
			return
		}
		if _, err := os.Stat(filepath.Join(u.Dir, name)); err != nil {
			if err := u.Sweep(rooms); err != nil {
				slog.Warn("files that no room needs cannot be removed", "error", err)
			}
		}
		switch err := u.keep(name, file, http.MaxBytesReader(w, r.Body, r.ContentLength), r.ContentLength); {
		case errors.Is(err, fs.ErrExist):
			refuse(http.StatusConflict, "exists", "%s is there already", file)
		case errors.Is(err, errTooManyFiles):
			refuse(http.StatusRequestEntityTooLarge, "too_large", "%v", err)
		case err != nil:
			refuse(http.StatusInsufficientStorage, "storage", "%s cannot be kept: %v", file, err)
		default:
			w.WriteHeader(http.StatusCreated)
		}
	}
}

var errTooManyFiles = fmt.Errorf("more than %d files in one folder", MaxUploadFiles)

// keep writes a file that is whole, or not there.
func (u Uploads) keep(name, file string, body io.Reader, size int64) error {
	dir := filepath.Join(u.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) >= MaxUploadFiles {
		return errors.Join(err, errTooManyFiles)
	}
	target := filepath.Join(dir, file)
	if _, err := os.Lstat(target); err == nil {
		return fs.ErrExist
	}
	part, err := os.CreateTemp(u.Dir, ".part-")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	n, err := io.Copy(part, body)
	if err == nil && n != size {
		err = fmt.Errorf("%d of %d bytes came", n, size)
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), target)
}

// Sweep removes what no room needs and nobody has added to lately.
func (u Uploads) Sweep(rooms *room.Rooms) error {
	entries, err := os.ReadDir(u.Dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	needed := map[string]bool{}
	for _, text := range rooms.Jobs() {
		if cfg, err := config.Parse(text, "run.json"); err == nil {
			for _, path := range []string{cfg.Model.Path, cfg.Dataset.Path} {
				if name, ok := strings.CutPrefix(path, uploadPrefix); ok {
					needed[name] = true
				}
			}
		}
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || needed[e.Name()] || time.Since(info.ModTime()) < UploadIdle {
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(u.Dir, e.Name())))
	}
	return errors.Join(errs...)
}
