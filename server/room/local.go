package room

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Local is Storage in a folder: for each room a folder with its log and its blobs.
//
//	ROOM/log          entries, see parseEntries
//	ROOM/log.cut.N    what was cut off at byte N of the log and was more than a torn write
//	ROOM/lease        the number of the last lease, locked while it is held
//	ROOM/blobs/HASH   one file each
type Local struct {
	dir string
	mu  sync.Mutex
	log map[string]*logFile
}

type logFile struct {
	file *os.File
	seq  int
	tail Tail  // to be cut off before the next entry is written
	err  error // of a write that may have left half an entry
}

// OpenLocal opens the folder, which is made where needed.
func OpenLocal(dir string) (*Local, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	return &Local{dir: dir, log: map[string]*logFile{}}, nil
}

// ValidID tells whether id can name a room: it is part of paths and addresses.
func ValidID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range id {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

func (l *Local) path(room string, elements ...string) string {
	return filepath.Join(append([]string{l.dir, room}, elements...)...)
}

// Rooms implements Storage.
func (l *Local) Rooms() ([]string, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	var rooms []string
	for _, e := range entries {
		if _, err := os.Stat(l.path(e.Name(), "log")); err == nil && ValidID(e.Name()) {
			rooms = append(rooms, e.Name())
		}
	}
	return rooms, nil
}

// Forget implements Storage. The log goes first: what is left without one is no room.
func (l *Local) Forget(room string) error {
	if !ValidID(room) {
		return fmt.Errorf("room: %q cannot name a room", room)
	}
	if err := os.Remove(l.path(room, "log")); err != nil {
		return fmt.Errorf("room: %w", err)
	}
	if err := os.RemoveAll(l.path(room)); err != nil {
		return fmt.Errorf("room: %w", err)
	}
	return nil
}

// Read implements Log.
func (l *Local) Read(room string) ([][]byte, Tail, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.log[room]; f != nil {
		f.file.Close()
		delete(l.log, room)
	}
	if err := os.MkdirAll(l.path(room, "blobs"), 0o700); err != nil {
		return nil, Tail{}, fmt.Errorf("room: %w", err)
	}
	file, err := os.OpenFile(l.path(room, "log"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, Tail{}, fmt.Errorf("room: %w", err)
	}
	all, err := io.ReadAll(file)
	if err == nil {
		err = syncDir(l.path(room)) // the log may be new
	}
	if err != nil {
		file.Close()
		return nil, Tail{}, fmt.Errorf("room: reading the log: %w", err)
	}
	entries, tail := parseEntries(all)
	l.log[room] = &logFile{file: file, seq: len(entries), tail: tail}
	return entries, tail, nil
}

// Append implements Log.
func (l *Local) Append(room string, seq int, text []byte) error {
	l.mu.Lock()
	f := l.log[room]
	l.mu.Unlock()
	switch {
	case f == nil:
		return fmt.Errorf("room: the log of %s is not open", room)
	case f.err != nil: // what is on the disk is not known any more
		return f.err
	case f.seq != seq:
		return fmt.Errorf("room: entry %d where %d is next: %w", seq, f.seq, ErrConflict)
	}
	if err := l.cutTail(room, f); err != nil {
		f.err = fmt.Errorf("room: cutting off the log's last %d bytes: %w", len(f.tail.Bytes), err)
		return f.err
	}
	_, err := f.file.Write(appendEntry(nil, text))
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		f.err = fmt.Errorf("room: writing the log: %w", err)
		return f.err
	}
	f.seq++
	return nil
}

// cutTail ends the log behind its last whole entry.
func (l *Local) cutTail(room string, f *logFile) error {
	t := f.tail
	if len(t.Bytes) == 0 {
		return nil
	}
	if !t.Torn() {
		if err := l.write(l.path(room, fmt.Sprintf("log.cut.%d", t.Offset)), t.Bytes); err != nil {
			return err
		}
	}
	if err := errors.Join(f.file.Truncate(t.Offset), f.file.Sync()); err != nil {
		return err
	}
	_, err := f.file.Seek(t.Offset, io.SeekStart)
	f.tail = Tail{}
	return err
}

// Put implements Blobs.
func (l *Local) Put(room string, data []byte) (string, error) {
	hash := hashOf(data)
	place := l.path(room, "blobs", hash)
	if info, err := os.Stat(place); err == nil && info.Size() == int64(len(data)) {
		return hash, nil
	}
	if err := l.write(place, data); err != nil {
		return "", fmt.Errorf("room: keeping a blob: %w", err)
	}
	return hash, nil
}

// write makes a file that is there whole or not at all: beside its place, synced, renamed.
func (l *Local) write(place string, data []byte) error {
	var random [8]byte
	rand.Read(random[:])
	unfinished := place + "." + hex.EncodeToString(random[:])
	file, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, bytes.NewReader(data))
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(unfinished, place)
	}
	if err == nil {
		err = syncDir(filepath.Dir(place))
	}
	if err != nil {
		os.Remove(unfinished)
	}
	return err
}

// syncDir makes a rename last.
func syncDir(dir string) error {
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

// Get implements Blobs.
func (l *Local) Get(room, hash string, off, n int64) ([]byte, error) {
	file, err := os.Open(l.path(room, "blobs", hash))
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	defer file.Close()
	data := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(file, off, n), data); err != nil {
		return nil, fmt.Errorf("room: blob %s, %d bytes at %d: %w", hash, n, off, err)
	}
	return data, nil
}

// List implements Blobs.
func (l *Local) List(room string) ([]string, error) {
	entries, err := os.ReadDir(l.path(room, "blobs"))
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Delete implements Blobs.
func (l *Local) Delete(room string, hashes ...string) error {
	var errs []error
	for _, hash := range hashes {
		if err := os.Remove(l.path(room, "blobs", filepath.Base(hash))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Acquire implements Leases by a locked file; where files cannot be locked, one server is trusted to be alone.
func (l *Local) Acquire(room string) (Lease, error) {
	if !ValidID(room) {
		return nil, fmt.Errorf("room: %q cannot name a room", room)
	}
	if err := os.MkdirAll(l.path(room), 0o700); err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	file, err := os.OpenFile(l.path(room, "lease"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	if err := lockFile(file); err != nil {
		file.Close()
		return nil, fmt.Errorf("room: %s: %w", room, err)
	}
	var number [8]byte
	if _, err := file.ReadAt(number[:], 0); err != nil && err != io.EOF {
		file.Close()
		return nil, fmt.Errorf("room: %w", err)
	}
	fence := binary.LittleEndian.Uint64(number[:]) + 1
	binary.LittleEndian.PutUint64(number[:], fence)
	if _, err := file.WriteAt(number[:], 0); err != nil {
		file.Close()
		return nil, fmt.Errorf("room: %w", err)
	}
	if err := file.Sync(); err != nil {
		file.Close()
		return nil, fmt.Errorf("room: %w", err)
	}
	return &localLease{l, room, file, fence}, nil
}

type localLease struct {
	local *Local
	room  string
	file  *os.File
	fence uint64
}

func (l *localLease) Fence() uint64 { return l.fence }

// Release closes the room's log and gives the lease back.
func (l *localLease) Release() error {
	l.local.mu.Lock()
	f := l.local.log[l.room]
	delete(l.local.log, l.room)
	l.local.mu.Unlock()
	var err error
	if f != nil {
		err = f.file.Close()
	}
	return errors.Join(err, l.file.Close())
}
