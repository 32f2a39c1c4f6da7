package job

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// disk is a folder of the file system. Names are slash-separated and relative to it, and never lead out of it. The tests put one
// in its place that fails.
type disk interface {
	Mkdir(name string, perm fs.FileMode) error
	MkdirAll(name string, perm fs.FileMode) error
	Open(name string, flag int) (diskFile, error)
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Lstat(name string) (fs.FileInfo, error)
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	// SyncFolder makes what was created, renamed and removed in a folder last. Systems that cannot do that lose at most the
	// rename when they crash.
	SyncFolder(name string)
	FS() fs.FS
	Close() error
}

// diskFile is an open file of a disk.
type diskFile interface {
	io.Writer
	io.Seeker
	Truncate(size int64) error
	Sync() error
	Close() error
}

// openDisk opens a folder as a disk.
var openDisk = func(folder string) (disk, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	return rootDisk{root}, nil
}

// rootDisk is a folder of the machine's file system. No link leads out of it.
type rootDisk struct{ *os.Root }

func (d rootDisk) Open(name string, flag int) (diskFile, error) {
	file, err := d.OpenFile(name, flag, 0o666)
	if err != nil { // not the nil file as an interface
		return nil, err
	}
	return file, nil
}

func (d rootDisk) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(d.FS(), name) }

func (d rootDisk) SyncFolder(name string) {
	if folder, err := d.Root.Open(name); err == nil {
		folder.Sync()
		folder.Close()
	}
}

// write writes all of data into a file from its start, syncs and closes it.
func write(file diskFile, data []byte) error {
	_, err := file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// replace writes a file of the disk so that a crash leaves it as it was or complete: it writes beside its place, syncs and
// renames.
func replace(d disk, name string, data []byte) error {
	file, err := d.Open(name+partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err == nil {
		if err = write(file, data); err == nil {
			err = d.Rename(name+partial, name)
		}
		if err != nil {
			d.Remove(name + partial)
		}
	}
	if err == nil {
		d.SyncFolder(".")
	}
	return err
}

// onDisk does something with a file of the machine through a disk of its folder.
func onDisk(place string, do func(d disk, name string) error) error {
	d, err := openDisk(filepath.Dir(place))
	if err != nil {
		return err
	}
	defer d.Close()
	return do(d, filepath.Base(place))
}
