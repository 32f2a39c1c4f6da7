package job

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
)

// partial is the folder of files that are not committed. It lies in the output folder, so that a commit is a rename.
const partial = ".partial"

// Dir is a Store below one folder. It never follows a link out of it.
type Dir struct {
	mu   sync.Mutex
	root *os.Root
	path string
	lock *os.File
}

// OpenDir makes the folder where needed, locks it for this process, and removes files that an earlier run did not commit. It
// fails with ErrLocked if another process has locked the folder.
func OpenDir(name string) (*Dir, error) {
	if err := os.MkdirAll(name, 0o777); err != nil {
		return nil, fmt.Errorf("job: making the output folder: %w", err)
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("job: opening the output folder: %w", err)
	}
	held, err := lock(root, name)
	if err != nil {
		root.Close()
		return nil, err
	}
	d := &Dir{root: root, path: name, lock: held}
	if err := d.root.RemoveAll(partial); err != nil {
		held.Close()
		root.Close()
		return nil, fmt.Errorf("job: %s: removing what an earlier run left unfinished: %w", name, err)
	}
	return d, nil
}

// Close removes the files that are not committed and unlocks the folder.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	// The lock file is removed before it is unlocked, where the system allows that. The next run then makes a new file.
	removed := d.root.Remove(lockName)
	err := d.lock.Close()
	if removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		d.root.Remove(lockName)
	}
	return errors.Join(d.root.RemoveAll(partial), err, d.root.Close())
}

func (d *Dir) clean(name string) (string, error) {
	clean, err := cleanPath(name)
	if err == nil && (clean == lockName || clean == partial || strings.HasPrefix(clean, partial+"/")) {
		err = fmt.Errorf("job: %q: %w", name, ErrPath)
	}
	return clean, err
}

// Append implements Store.
func (d *Dir) Append(name string, offset int64, r io.Reader) error {
	name, err := d.clean(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	unfinished := path.Join(partial, name)
	if err := d.root.MkdirAll(path.Dir(unfinished), 0o777); err != nil {
		return fmt.Errorf("job: writing %s: %w", d.named(name), err)
	}
	file, err := d.root.OpenFile(unfinished, appending(offset), 0o666)
	if err != nil {
		return fmt.Errorf("job: writing %s: %w", d.named(name), err)
	}
	return appendAt(file, d.named(name), offset, r)
}

func (d *Dir) named(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

// appending returns the flags with which a file is opened to be written from an offset on. The first piece replaces what an
// earlier attempt left.
func appending(offset int64) int {
	if offset == 0 {
		return os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	return os.O_WRONLY | os.O_CREATE
}

// appendAt writes r at the end of the file and closes it; on a failure the file is as long as before, so that the
// same piece can be sent again.
func appendAt(file *os.File, name string, offset int64, r io.Reader) error {
	defer file.Close()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("job: writing %s: %w", name, err)
	}
	if end != offset {
		return fmt.Errorf("job: writing %s: offset %d, length %d: %w", name, offset, end, ErrOffset)
	}
	if _, err = io.Copy(file, r); err == nil {
		err = file.Close()
	}
	if err != nil {
		file.Truncate(end)
		return fmt.Errorf("job: writing %s: %w", name, err)
	}
	return nil
}

// Commit implements Store.
func (d *Dir) Commit(name string) error {
	name, err := d.clean(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	unfinished := path.Join(partial, name)
	if err := d.sync(unfinished); err != nil {
		return fmt.Errorf("job: finishing %s: %w", d.named(name), err)
	}
	if err := d.root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return fmt.Errorf("job: finishing %s: %w", d.named(name), err)
	}
	// A folder cannot be renamed onto another, so the old one is moved away first.
	aside := ""
	if info, err := d.root.Lstat(name); err == nil && info.IsDir() {
		aside = path.Join(partial, ".replaced")
		if err := d.root.RemoveAll(aside); err != nil {
			return fmt.Errorf("job: replacing %s: %w", d.named(name), err)
		}
		if err := d.root.Rename(name, aside); err != nil {
			return fmt.Errorf("job: replacing %s: %w", d.named(name), err)
		}
	}
	if err := d.root.Rename(unfinished, name); err != nil {
		if aside != "" {
			err = errors.Join(err, d.root.Rename(aside, name))
		}
		return fmt.Errorf("job: finishing %s: %w", d.named(name), err)
	}
	if aside != "" {
		if err := d.root.RemoveAll(aside); err != nil {
			return fmt.Errorf("job: removing the former %s: %w", d.named(name), err)
		}
	}
	syncFolder(d.named(path.Dir(name)))
	return nil
}

// sync writes a file, or all files of a folder, to the disk.
func (d *Dir) sync(name string) error {
	return fs.WalkDir(d.root.FS(), name, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := d.root.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}

// Remove implements Store.
func (d *Dir) Remove(name string) error {
	name, err := d.clean(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := errors.Join(d.root.RemoveAll(path.Join(partial, name)), d.root.RemoveAll(name)); err != nil {
		return fmt.Errorf("job: removing %s: %w", d.named(name), err)
	}
	return nil
}

// FS implements Store.
func (d *Dir) FS() fs.FS { return finished{d} }

// finished is the output folder without the lock file and the files that are not committed.
type finished struct{ *Dir }

// Open implements fs.FS.
func (f finished) Open(name string) (fs.File, error) {
	if _, err := f.clean(name); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.root.FS().Open(name)
}

// syncFolder writes a rename in the folder to the disk. Systems that cannot do that lose at most the rename when they crash.
func syncFolder(name string) {
	if folder, err := os.Open(name); err == nil {
		folder.Sync()
		folder.Close()
	}
}

// Files is a Store of a few files. It maps their names to their places on the disk.
type Files map[string]string

func (f Files) place(name string) (string, error) {
	place, ok := f[name]
	if !ok {
		return "", fmt.Errorf("job: %q: %w", name, ErrPath)
	}
	return place, nil
}

// Append implements Store.
func (f Files) Append(name string, offset int64, r io.Reader) error {
	place, err := f.place(name)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(place+partial, appending(offset), 0o666)
	if err != nil {
		return fmt.Errorf("job: %w", err)
	}
	return appendAt(file, place, offset, r)
}

// Commit implements Store.
func (f Files) Commit(name string) error {
	place, err := f.place(name)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(place+partial, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("job: %w", err)
	}
	if err := errors.Join(file.Sync(), file.Close(), os.Rename(place+partial, place)); err != nil {
		return fmt.Errorf("job: finishing %s: %w", place, err)
	}
	syncFolder(filepath.Dir(place))
	return nil
}

// Remove implements Store.
func (f Files) Remove(name string) error {
	place, err := f.place(name)
	if err != nil {
		return err
	}
	for _, file := range []string{place + partial, place} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("job: %w", err)
		}
	}
	return nil
}

// FS implements Store. Single files are written once and not read again.
func (f Files) FS() fs.FS { return noFiles{} }

type noFiles struct{}

func (noFiles) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Close removes the files that are not committed.
func (f Files) Close() error {
	var errs []error
	for _, place := range f {
		if err := os.Remove(place + partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// WriteFile writes a file so that a crash leaves it complete or absent: it writes beside its place, syncs and renames.
func WriteFile(name string, data []byte) error {
	files := Files{name: name}
	if err := files.Append(name, 0, strings.NewReader(string(data))); err != nil {
		return errors.Join(err, files.Close())
	}
	return files.Commit(name)
}
