package room

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// memDisk is a file system in memory that knows what a loss of power would leave of it: of a file what was synced, of a folder
// the names that were there when it was synced.
type memDisk struct {
	mu    sync.Mutex
	names map[string]*memFile
	kept  map[string]*memFile // names after a loss of power
	fault func(op, path string) error
	deaf  bool // syncs succeed and do nothing
	calls int
}

type memFile struct {
	data, synced []byte
	locked       bool
}

func newMemDisk() *memDisk {
	return &memDisk{names: map[string]*memFile{}, kept: map[string]*memFile{}}
}

// call counts an operation and lets it fail.
func (d *memDisk) call(op, path string) error {
	d.calls++
	if d.fault != nil {
		return d.fault(op, path)
	}
	return nil
}

// die ends the program that has files open: its locks are gone.
func (d *memDisk) die() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = nil
	for path, f := range d.names {
		d.names[path] = &memFile{data: f.data, synced: f.synced} // what the dead program still does is void
		if d.kept[path] == f {
			d.kept[path] = d.names[path]
		}
	}
}

// power is a loss of power: of what was not synced, a file keeps as much as rng says.
func (d *memDisk) power(rng *rand.Rand) {
	d.die()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names = map[string]*memFile{}
	for path, f := range d.kept {
		data := bytes.Clone(f.synced)
		if len(f.data) > len(f.synced) {
			data = append(data, f.data[len(f.synced):len(f.synced)+rng.IntN(len(f.data)-len(f.synced)+1)]...)
		}
		d.names[path] = &memFile{data: data, synced: data}
	}
	d.kept = maps.Clone(d.names)
}

// paths are the files whose paths contain part, in order.
func (d *memDisk) paths(part string) (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for path := range d.names {
		if strings.Contains(path, part) {
			list = append(list, path)
		}
	}
	slices.Sort(list)
	return list
}

// change replaces the bytes of a file, as rot does: behind everybody's back and for good.
func (d *memDisk) change(path string, f func(b []byte) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	file := d.names[path]
	if file == nil {
		return
	}
	file.data = f(bytes.Clone(file.data))
	file.synced = bytes.Clone(file.data)
}

// lose removes a file for good.
func (d *memDisk) lose(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, path)
	delete(d.kept, path)
}

func (d *memDisk) MkdirAll(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.call("mkdir", dir)
}

func (d *memDisk) Open(path string, flag int) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("open", path); err != nil {
		return nil, err
	}
	f := d.names[path]
	switch {
	case f == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case f != nil && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case f == nil:
		f = &memFile{}
		d.names[path] = f
	}
	return &memHandle{disk: d, path: path, f: f}, nil
}

func (d *memDisk) Size(path string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("size", path); err != nil {
		return 0, err
	}
	f := d.names[path]
	if f == nil {
		return 0, fs.ErrNotExist
	}
	return int64(len(f.data)), nil
}

// ReadDir lists files, and the folders that have any.
func (d *memDisk) ReadDir(dir string) (list []Blob, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("readdir", dir); err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for path, f := range d.names {
		if rest, in := strings.CutPrefix(path, dir+"/"); in {
			name, _, deeper := strings.Cut(rest, "/")
			if sizes[name] = int64(len(f.data)); deeper {
				sizes[name] = 0
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		list = append(list, Blob{name, sizes[name]})
	}
	return list, nil
}

func (d *memDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("rename", to); err != nil {
		return err
	}
	if d.names[from] == nil {
		return fs.ErrNotExist
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	return nil
}

func (d *memDisk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("remove", path); err != nil {
		return err
	}
	if d.names[path] == nil {
		return fs.ErrNotExist
	}
	delete(d.names, path)
	return nil
}

func (d *memDisk) RemoveAll(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("removeall", dir); err != nil {
		return err
	}
	maps.DeleteFunc(d.names, func(path string, _ *memFile) bool { return strings.HasPrefix(path, dir+"/") })
	return nil
}

func (d *memDisk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("syncdir", dir); err != nil || d.deaf {
		return err
	}
	maps.DeleteFunc(d.kept, func(path string, _ *memFile) bool { return filepath.Dir(path) == dir && d.names[path] == nil })
	for path, f := range d.names {
		if filepath.Dir(path) == dir {
			d.kept[path] = f
		}
	}
	return nil
}

// memHandle is an open file.
type memHandle struct {
	disk   *memDisk
	path   string
	f      *memFile
	locked bool
}

func (h *memHandle) begin(op string) (end func(), err error) {
	h.disk.mu.Lock()
	return h.disk.mu.Unlock, h.disk.call(op, h.path)
}

func (h *memHandle) ReadAt(b []byte, off int64) (int, error) {
	end, err := h.begin("read")
	defer end()
	if err != nil {
		return 0, err
	}
	if off > int64(len(h.f.data)) {
		return 0, io.EOF
	}
	n := copy(b, h.f.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes half where it fails.
func (h *memHandle) WriteAt(b []byte, off int64) (int, error) {
	end, err := h.begin("write")
	defer end()
	if err != nil {
		b = b[:len(b)/2]
	}
	if grow := off + int64(len(b)) - int64(len(h.f.data)); grow > 0 {
		h.f.data = append(h.f.data, make([]byte, grow)...)
	}
	return copy(h.f.data[off:], b), err
}

func (h *memHandle) Size() (int64, error) {
	end, err := h.begin("size")
	defer end()
	return int64(len(h.f.data)), err
}

func (h *memHandle) Truncate(size int64) error {
	end, err := h.begin("truncate")
	defer end()
	if err == nil {
		h.f.data = h.f.data[:size:size]
	}
	return err
}

func (h *memHandle) Sync() error {
	end, err := h.begin("sync")
	defer end()
	if err == nil && !h.disk.deaf {
		h.f.synced = bytes.Clone(h.f.data)
	}
	return err
}

func (h *memHandle) Lock() error {
	end, err := h.begin("lock")
	defer end()
	if err == nil && h.f.locked {
		return ErrHeld
	}
	if err == nil {
		h.f.locked, h.locked = true, true
	}
	return err
}

func (h *memHandle) Close() error {
	end, err := h.begin("close")
	defer end()
	if h.locked {
		h.f.locked, h.locked = false, false
	}
	return err
}

var errDisk = errors.New("input/output error")
