package room

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// files is the file system below Local. The tests put one in its place that fails, forgets and rots.
type files interface {
	MkdirAll(dir string) error
	// Open opens a file with the flags of os.OpenFile.
	Open(path string, flag int) (file, error)
	Size(path string) (int64, error)
	ReadDir(dir string) ([]Blob, error)
	Rename(from, to string) error
	Remove(path string) error
	RemoveAll(dir string) error
	// SyncDir makes what was created, renamed and removed in a folder last.
	SyncDir(dir string) error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
	Close() error
	// Lock locks the file for this program, or fails with ErrHeld; the lock ends with Close.
	Lock() error
}

// disk is the file system of the machine.
type disk struct{}

func (disk) MkdirAll(dir string) error    { return os.MkdirAll(dir, 0o700) }
func (disk) Rename(from, to string) error { return os.Rename(from, to) }
func (disk) Remove(path string) error     { return os.Remove(path) }
func (disk) RemoveAll(dir string) error   { return os.RemoveAll(dir) }

func (disk) Open(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) Size(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (disk) ReadDir(dir string) (list []Blob, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, Blob{e.Name(), info.Size()})
	}
	return list, err
}

func (disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}

type diskFile struct{ *os.File }

func (f diskFile) Lock() error { return lockFile(f.File) }

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
