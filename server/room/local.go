package room

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Local is Storage in a folder: for each room a folder with its log and its blobs.
//
//	ROOM/log          entries, see parseEntries
//	ROOM/log.cut.N    what was cut off at byte N of the log and was more than a torn write
//	ROOM/lease        the number of the last lease, locked while it is held
//	ROOM/blobs/HASH   one file each
type Local struct {
	dir   string
	files files

	mu   sync.Mutex
	log  map[string]*logFile
	sums map[string]*blobSums // by path, of blobs whose SHA-256 was computed in this life
}

type logFile struct {
	file file
	end  int64
	seq  int
	tail Tail  // to be cut off before the next entry is written
	err  error // of a write that may have left half an entry
}

// OpenLocal opens the folder, which is made where needed.
func OpenLocal(dir string) (*Local, error) { return newLocal(dir, disk{}) }

func newLocal(dir string, files files) (*Local, error) {
	if err := files.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	return &Local{dir: dir, files: files, log: map[string]*logFile{}, sums: map[string]*blobSums{}}, nil
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
	entries, err := l.files.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	var rooms []string
	for _, e := range entries {
		if !ValidID(e.Name) {
			continue
		}
		if _, err := l.files.Size(l.path(e.Name, "log")); err == nil {
			rooms = append(rooms, e.Name)
		}
	}
	return rooms, nil
}

// Forget implements Storage. The log goes first: what is left without one is no room.
func (l *Local) Forget(room string) error {
	if !ValidID(room) {
		return fmt.Errorf("room: %q cannot name a room", room)
	}
	if err := l.files.Remove(l.path(room, "log")); err != nil {
		return fmt.Errorf("room: %w", err)
	}
	if err := l.files.RemoveAll(l.path(room)); err != nil {
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
	if err := l.files.MkdirAll(l.path(room, "blobs")); err != nil {
		return nil, Tail{}, fmt.Errorf("room: %w", err)
	}
	file, err := l.files.Open(l.path(room, "log"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, Tail{}, fmt.Errorf("room: %w", err)
	}
	all, err := readAll(file)
	if err == nil {
		err = l.files.SyncDir(l.path(room)) // the log may be new
	}
	if err != nil {
		file.Close()
		return nil, Tail{}, fmt.Errorf("room: reading the log: %w", err)
	}
	entries, tail := parseEntries(all)
	l.log[room] = &logFile{file: file, end: tail.Offset, seq: len(entries), tail: tail}
	return entries, tail, nil
}

func readAll(f file) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	all := make([]byte, size)
	n, err := f.ReadAt(all, 0)
	if err == io.EOF && int64(n) == size {
		err = nil
	}
	return all[:n], err
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
	entry := appendEntry(nil, text)
	_, err := f.file.WriteAt(entry, f.end)
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		f.err = fmt.Errorf("room: writing the log: %w", err)
		return f.err
	}
	f.seq, f.end = f.seq+1, f.end+int64(len(entry))
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
	f.tail = Tail{}
	return nil
}

// Put implements Blobs.
func (l *Local) Put(room string, data []byte) (string, error) {
	hash := hashOf(data)
	place := l.path(room, "blobs", hash)
	if err := l.write(place, data); err != nil {
		return "", fmt.Errorf("room: keeping a blob: %w", err)
	}
	sums := &blobSums{size: int64(len(data))}
	for block := range slices.Chunk(data, sumBlock) {
		sums.blocks = append(sums.blocks, crc32.Checksum(block, castagnoli))
	}
	l.remember(place, sums)
	return hash, nil
}

// write makes a file that is there whole or not at all: beside its place, synced, renamed.
func (l *Local) write(place string, data []byte) error {
	var random [8]byte
	rand.Read(random[:])
	unfinished := place + "." + hex.EncodeToString(random[:])
	file, err := l.files.Open(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(data, 0)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = l.files.Rename(unfinished, place)
	}
	if err == nil {
		err = l.files.SyncDir(filepath.Dir(place))
	}
	if err != nil {
		l.files.Remove(unfinished)
	}
	return err
}

// sumBlock is how many bytes of a blob have a checksum of their own.
const sumBlock = 64 << 10

// blobSums are the CRC-32Cs of a blob's blocks, computed together with its SHA-256. With them a part of a blob is verified
// without reading all of it.
type blobSums struct {
	size   int64
	blocks []uint32
}

func (l *Local) remember(place string, sums *blobSums) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sums == nil {
		delete(l.sums, place)
	} else {
		l.sums[place] = sums
	}
}

// Get implements Blobs. The first time it reads the whole blob and compares its SHA-256 with its name; later it compares the
// checksums of the blocks that the part lies in.
func (l *Local) Get(room, hash string, off, n int64) ([]byte, error) {
	fault := func(err error) error { return &BlobError{Hash: hash, Err: err} }
	place := l.path(room, "blobs", hash)
	file, err := l.files.Open(place, os.O_RDONLY)
	if err != nil {
		return nil, fault(err)
	}
	defer file.Close()
	l.mu.Lock()
	sums := l.sums[place]
	l.mu.Unlock()
	if sums == nil {
		if sums, err = sumBlob(file, hash); err != nil {
			return nil, fault(err)
		}
		l.remember(place, sums)
	}
	if off < 0 || n < 0 || off+n > sums.size {
		return nil, fault(fmt.Errorf("it has %d bytes, %d at %d are wanted", sums.size, n, off))
	}
	first, last := off/sumBlock, (off+n+sumBlock-1)/sumBlock
	data := make([]byte, min(last*sumBlock, sums.size)-first*sumBlock)
	if k, err := file.ReadAt(data, first*sumBlock); k < len(data) {
		return nil, fault(fmt.Errorf("reading %d bytes at %d: %w", n, off, err))
	}
	i := first
	for block := range slices.Chunk(data, sumBlock) {
		if crc32.Checksum(block, castagnoli) != sums.blocks[i] {
			l.remember(place, nil)
			return nil, fault(fmt.Errorf("%w: its bytes from %d on", errChanged, i*sumBlock))
		}
		i++
	}
	return data[off-first*sumBlock:][:n], nil
}

var errChanged = errors.New("it has changed since it was written")

// sumBlob reads a whole blob and compares it with its hash.
func sumBlob(f file, hash string) (*blobSums, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	sums, whole := &blobSums{size: size}, sha256.New()
	block := make([]byte, sumBlock)
	for at := int64(0); at < size; at += sumBlock {
		block = block[:min(sumBlock, size-at)]
		if n, err := f.ReadAt(block, at); n < len(block) {
			return nil, fmt.Errorf("reading %d bytes at %d: %w", len(block), at, err)
		}
		whole.Write(block)
		sums.blocks = append(sums.blocks, crc32.Checksum(block, castagnoli))
	}
	if got := hex.EncodeToString(whole.Sum(nil)); got != hash {
		return nil, fmt.Errorf("%w: the SHA-256 of its %d bytes is %s", errChanged, size, got)
	}
	return sums, nil
}

// List implements Blobs.
func (l *Local) List(room string) ([]Blob, error) {
	list, err := l.files.ReadDir(l.path(room, "blobs"))
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	return list, nil
}

// Delete implements Blobs.
func (l *Local) Delete(room string, hashes ...string) error {
	var errs []error
	for _, hash := range hashes {
		place := l.path(room, "blobs", filepath.Base(hash))
		l.remember(place, nil)
		if err := l.files.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
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
	if err := errors.Join(l.files.MkdirAll(l.path(room)), l.files.SyncDir(l.dir)); err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	file, err := l.files.Open(l.path(room, "lease"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	lease := &localLease{local: l, room: room, file: file}
	if err := lease.take(); err != nil {
		file.Close()
		return nil, fmt.Errorf("room: the lease of %s: %w", room, err)
	}
	return lease, nil
}

type localLease struct {
	local *Local
	room  string
	file  file
	fence uint64
}

// take locks the file and counts its number up. A file that is too short to hold one counts from 0.
func (l *localLease) take() error {
	if err := l.file.Lock(); err != nil {
		return err
	}
	var number [8]byte
	n, err := l.file.ReadAt(number[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	if n == len(number) {
		l.fence = binary.LittleEndian.Uint64(number[:])
	}
	return l.Raise(l.fence + 1)
}

func (l *localLease) Fence() uint64 { return l.fence }

// Raise implements Lease.
func (l *localLease) Raise(fence uint64) error {
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], fence)
	if _, err := l.file.WriteAt(number[:], 0); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.fence = fence
	return nil
}

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
