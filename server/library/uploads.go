package library

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// UploadPrefix begins the names of models and data that a page has uploaded for a room.
const UploadPrefix = "handed:"

// UploadPath is the address to which a page sends an uploaded file.
const UploadPath = "/api/handed/{name}/{file}"

const (
	// MaxUploadFiles bounds the files of an uploaded model.
	MaxUploadFiles = 64
	// UploadIdle is how long an upload is kept that no room needs.
	UploadIdle = time.Hour
)

// ErrTooManyFiles refuses a file beyond MaxUploadFiles.
var ErrTooManyFiles = fmt.Errorf("more than %d files in one folder", MaxUploadFiles)

// Uploads keeps the files that the page of a room's owner uploads. Other tabs fetch them from the server, as they cannot
// reach the owner's disk. Each model and each data file is a folder below Dir. The page names it, and a file is never
// overwritten.
type Uploads struct{ Dir string }

// Has reports whether something was uploaded under a name.
func (u Uploads) Has(name string) bool {
	_, err := os.Stat(filepath.Join(u.Dir, name))
	return err == nil
}

// folder holds what was uploaded under a name, nil for nothing.
func (u Uploads) folder(name string) fs.FS {
	if u.Dir == "" || !PlainName(name) {
		return nil
	}
	return os.DirFS(filepath.Join(u.Dir, name))
}

// dataset is the folder of an uploaded data file, and the file's name in it.
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

// Keep writes a file of size bytes. It appears whole or not at all. The error is fs.ErrExist for a file that is there
// already, and ErrTooManyFiles for a full folder.
func (u Uploads) Keep(name, file string, body io.Reader, size int64) error {
	dir := filepath.Join(u.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) >= MaxUploadFiles {
		return errors.Join(err, ErrTooManyFiles)
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

// RemoveOld removes the uploads that are not needed and to which nothing was added for UploadIdle. The keys of needed are
// names with UploadPrefix.
func (u Uploads) RemoveOld(needed map[string]bool) error {
	entries, err := os.ReadDir(u.Dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	var errs []error
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || needed[UploadPrefix+e.Name()] || time.Since(info.ModTime()) < UploadIdle {
			continue
		}
		errs = append(errs, os.RemoveAll(filepath.Join(u.Dir, e.Name())))
	}
	return errors.Join(errs...)
}
