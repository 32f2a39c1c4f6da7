package job

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
)

// partial is the folder of files that are not committed. It lies in the output folder, so that a commit is a rename.
const partial = ".partial"

// replaced is the folder of what a commit replaces, until the new files are in its place.
const replaced = partial + "/.replaced"

// Dir is a Store below one folder. It never follows a link out of it.
type Dir struct {
	mu   sync.Mutex
	disk disk
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
	root.Close()
	if err != nil {
		return nil, err
	}
	d := &Dir{path: name, lock: held}
	if d.disk, err = openDisk(name); err != nil {
		held.Close()
		return nil, fmt.Errorf("job: opening the output folder: %w", err)
	}
	if err := d.drop(); err != nil {
		held.Close()
		d.disk.Close()
		return nil, fmt.Errorf("job: %s: removing what an earlier run left unfinished: %w", name, err)
	}
	return d, nil
}

// Close removes the files that are not committed and unlocks the folder.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.drop()
	// The lock file is removed before it is unlocked, where the system allows that. The next run then makes a new file.
	removed := d.disk.Remove(lockName)
	err = errors.Join(err, d.lock.Close())
	if removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		d.disk.Remove(lockName)
	}
	return errors.Join(err, d.disk.Close())
}

// drop removes the files that are not committed. What a commit had moved aside and not replaced goes back to its place.
func (d *Dir) drop() error {
	entries, err := d.disk.ReadDir(replaced)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, entry := range entries {
		name, err := url.PathUnescape(entry.Name())
		if err != nil {
			continue
		}
		if _, err := d.disk.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			if err := d.disk.Rename(path.Join(replaced, entry.Name()), name); err != nil {
				return err
			}
			d.disk.SyncFolder(path.Dir(name))
		} else if err != nil {
			return err
		}
	}
	return d.disk.RemoveAll(partial)
}

func (d *Dir) clean(name string) (string, error) {
	clean, err := cleanPath(name)
	if err == nil && (clean == lockName || clean == partial || strings.HasPrefix(clean, partial+"/") || path.Join(partial, clean) == replaced || strings.HasPrefix(path.Join(partial, clean), replaced+"/")) {
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
	if err := d.disk.MkdirAll(path.Dir(unfinished), 0o777); err != nil {
		return fmt.Errorf("job: writing %s: %w", d.named(name), err)
	}
	file, err := d.disk.Open(unfinished, appending(offset))
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
func appendAt(file diskFile, name string, offset int64, r io.Reader) error {
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
	if err := d.disk.MkdirAll(path.Dir(name), 0o777); err != nil {
		return fmt.Errorf("job: finishing %s: %w", d.named(name), err)
	}
	// A folder cannot be renamed onto another, so the old one is moved away first.
	aside := ""
	if info, err := d.disk.Lstat(name); err == nil && info.IsDir() {
		aside = path.Join(replaced, url.PathEscape(name))
		if err := errors.Join(d.disk.RemoveAll(aside), d.disk.MkdirAll(replaced, 0o777)); err != nil {
			return fmt.Errorf("job: replacing %s: %w", d.named(name), err)
		}
		if err := d.disk.Rename(name, aside); err != nil {
			return fmt.Errorf("job: replacing %s: %w", d.named(name), err)
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("job: replacing %s: %w", d.named(name), err)
	}
	if err := d.disk.Rename(unfinished, name); err != nil {
		if aside != "" {
			err = errors.Join(err, d.disk.Rename(aside, name)) // where that fails as well, drop does it
		}
		return fmt.Errorf("job: finishing %s: %w", d.named(name), err)
	}
	d.disk.SyncFolder(path.Dir(name))
	if aside != "" {
		d.disk.RemoveAll(aside) // where that fails, drop does it
	}
	return nil
}

// sync writes a file, or a folder with all its files, to the disk.
func (d *Dir) sync(name string) error {
	return fs.WalkDir(d.disk.FS(), name, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			d.disk.SyncFolder(name)
			return nil
		}
		file, err := d.disk.Open(name, os.O_WRONLY)
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
	if err := errors.Join(d.disk.RemoveAll(path.Join(partial, name)), d.disk.RemoveAll(path.Join(replaced, url.PathEscape(name))), d.disk.RemoveAll(name)); err != nil {
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
	return f.disk.FS().Open(name)
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
	return onDisk(place, func(d disk, base string) error {
		file, err := d.Open(base+partial, appending(offset))
		if err != nil {
			return fmt.Errorf("job: %w", err)
		}
		return appendAt(file, place, offset, r)
	})
}

// Commit implements Store.
func (f Files) Commit(name string) error {
	place, err := f.place(name)
	if err != nil {
		return err
	}
	return onDisk(place, func(d disk, base string) error {
		file, err := d.Open(base+partial, os.O_WRONLY)
		if err == nil {
			if err = errors.Join(file.Sync(), file.Close()); err == nil {
				err = d.Rename(base+partial, base)
			}
		}
		if err != nil {
			return fmt.Errorf("job: finishing %s: %w", place, err)
		}
		d.SyncFolder(".")
		return nil
	})
}

// Remove implements Store.
func (f Files) Remove(name string) error {
	place, err := f.place(name)
	if err != nil {
		return err
	}
	return onDisk(place, func(d disk, base string) error {
		for _, file := range []string{base + partial, base} {
			if err := d.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("job: %w", err)
			}
		}
		return nil
	})
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

// WriteFile writes a file so that a crash leaves it as it was or complete: it writes beside its place, syncs and renames.
func WriteFile(name string, data []byte) error {
	if err := onDisk(name, func(d disk, base string) error { return replace(d, base, data) }); err != nil {
		return fmt.Errorf("job: writing %s: %w", name, err)
	}
	return nil
}
