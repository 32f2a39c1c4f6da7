package main

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
)

// handedPrefix begins the names of models and data that a page has handed over for a room.
const handedPrefix = "handed:"

// The most that a page may hand over.
const (
	handedFiles = 64       // of one model
	handedBytes = 16 << 30 // in one file
	handedIdle  = time.Hour
)

// shelf keeps the files that the page of somebody who opens a room hands over: the tabs of a class can get only from the
// server what is on one of its members' disks. A model or a data file is a folder, named by the page and never written again.
type shelf struct{ dir string }

// folder holds what was handed over by a name, nil for nothing.
func (s shelf) folder(name string) fs.FS {
	if s.dir == "" || !plain(name) {
		return nil
	}
	return os.DirFS(filepath.Join(s.dir, name))
}

// dataset is the folder and the one file in it.
func (s shelf) dataset(name string) (fs.FS, string) {
	folder := s.folder(name)
	if folder == nil {
		return nil, ""
	}
	entries, err := fs.ReadDir(folder, ".")
	if err != nil || len(entries) != 1 {
		return nil, ""
	}
	return folder, entries[0].Name()
}

// take answers PUT /api/handed/{name}/{file}: the body is the file. Only a page of this server, on its own machine, may.
func (s shelf) take(rooms *room.Rooms) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		refuse := func(status int, code, format string, args ...any) {
			w.Header().Set("Connection", "close") // the rest of the body is not read
			w.WriteHeader(status)
			answer(w, room.Refused{Code: code, Reason: fmt.Sprintf(format, args...)})
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
		if r.ContentLength < 0 || r.ContentLength > handedBytes {
			refuse(http.StatusRequestEntityTooLarge, "too_large", "%s: say its length, %d bytes at most", file, int64(handedBytes))
			return
		}
		if _, err := os.Stat(filepath.Join(s.dir, name)); err != nil {
			if err := s.sweep(rooms); err != nil {
				slog.Warn("files that no room needs cannot be removed", "error", err)
			}
		}
		switch err := s.keep(name, file, http.MaxBytesReader(w, r.Body, r.ContentLength), r.ContentLength); {
		case errors.Is(err, fs.ErrExist):
			refuse(http.StatusConflict, "exists", "%s is there already", file)
		case errors.Is(err, errShelfFull):
			refuse(http.StatusRequestEntityTooLarge, "too_large", "%v", err)
		case err != nil:
			refuse(http.StatusInsufficientStorage, "storage", "%s cannot be kept: %v", file, err)
		default:
			w.WriteHeader(http.StatusCreated)
		}
	}
}

var errShelfFull = fmt.Errorf("more than %d files in one folder", handedFiles)

// keep writes a file that is whole, or not there.
func (s shelf) keep(name, file string, body io.Reader, size int64) error {
	dir := filepath.Join(s.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) >= handedFiles {
		return errors.Join(err, errShelfFull)
	}
	target := filepath.Join(dir, file)
	if _, err := os.Lstat(target); err == nil {
		return fs.ErrExist
	}
	part, err := os.CreateTemp(s.dir, ".part-")
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

// sweep removes what no room needs and nobody has added to lately.
func (s shelf) sweep(rooms *room.Rooms) error {
	entries, err := os.ReadDir(s.dir)
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
				if name, ok := strings.CutPrefix(path, handedPrefix); ok {
					needed[name] = true
				}
			}
		}
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || needed[e.Name()] || time.Since(info.ModTime()) < handedIdle {
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(s.dir, e.Name())))
	}
	return errors.Join(errs...)
}
