// Package temporary makes folders in the system's temporary folder. A process that is killed cannot remove its folders, so a
// later start of the program does.
package temporary

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"llamatab/server/filelock"
)

// prefix begins the name of a folder: the kind, the letter x and a random number follow.
const prefix = "llamatab-"

// Folder is a temporary folder. A file beside it is locked as long as the process lives. The lock tells whether it does, and not
// a process id: containers may share the temporary folder, and none sees the processes of another.
type Folder struct {
	Path string
	mu   sync.Mutex // guards lock
	lock *os.File   // nil once the folder is removed
}

// lockOf is the path of the lock file of a folder.
func lockOf(folder string) string {
	return filepath.Join(filepath.Dir(folder), "."+filepath.Base(folder)+".lock")
}

// New makes a folder of a kind, a word without a dash. Its lock file is there before it.
func New(kind string) (*Folder, error) {
	for {
		lock, err := os.CreateTemp("", "."+prefix+kind+"-x*.lock")
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(lock.Name()), "."), ".lock")
		f := &Folder{Path: filepath.Join(filepath.Dir(lock.Name()), name), lock: lock}
		if err = filelock.TryLock(lock); err == nil && !there(lock) {
			err = filelock.ErrTaken
		}
		if errors.Is(err, filelock.ErrTaken) { // a sweep of another process was faster
			lock.Close()
			continue
		}
		if err == nil {
			err = os.Mkdir(f.Path, 0o700)
		}
		if err != nil {
			lock.Close()
			os.Remove(lock.Name())
			return nil, fmt.Errorf("temporary: %w", err)
		}
		return f, nil
	}
}

// there reports whether an open file still has its name.
func there(file *os.File) bool {
	open, err := file.Stat()
	named, gone := os.Lstat(file.Name())
	return err == nil && gone == nil && os.SameFile(open, named)
}

// Remove removes the folder by calling remove, and then its lock file. Where remove fails, the lock is kept and Remove may be
// called again. It may be called from any goroutine.
func (f *Folder) Remove(remove func(folder string) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := remove(f.Path); err != nil || f.lock == nil {
		return err
	}
	name := f.lock.Name()
	err := f.lock.Close()
	f.lock = nil
	if gone := os.Remove(name); !errors.Is(gone, os.ErrNotExist) { // a sweep of another process may have been faster
		err = errors.Join(err, gone)
	}
	return err
}

// Sweep calls remove for each folder of a kind whose process is dead, and removes its lock file. It leaves alone what is no
// folder or belongs to another user: anybody may make files in the temporary folder.
func Sweep(kind string, remove func(folder string) error) {
	locks, _ := filepath.Glob(filepath.Join(os.TempDir(), "."+prefix+kind+"-x*.lock"))
	for _, name := range locks {
		folder := filepath.Join(filepath.Dir(name), strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), "."), ".lock"))
		if lock, err := openOwn(name); err == nil {
			if filelock.TryLock(lock) == nil && there(lock) {
				if _, err := os.Lstat(folder); errors.Is(err, os.ErrNotExist) || Ours(folder) {
					(&Folder{Path: folder, lock: lock}).Remove(remove) // where this fails, a later sweep tries again
				}
			}
			lock.Close()
		}
	}
	// Versions before the lock files named the process.
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+kind+"-*-*"))
	for _, folder := range folders {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), prefix+kind+"-"), "-")
		if pid, err := strconv.Atoi(id); err == nil && pid > 0 && !Alive(pid) && Ours(folder) {
			remove(folder)
		}
	}
}

// openOwn opens a file that belongs to the user of this process and is no link.
func openOwn(name string) (*os.File, error) {
	before, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() || !ownedByUs(before) {
		return nil, os.ErrPermission
	}
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if now, err := file.Stat(); err != nil || !os.SameFile(before, now) {
		file.Close()
		return nil, errors.Join(err, os.ErrPermission)
	}
	return file, nil
}

// Ours reports whether a path is a folder, and no link to one, that belongs to the user of this process.
func Ours(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir() && ownedByUs(info)
}
