package adapterdir

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"time"

	"llamatab/engine/weights"
)

// renamed makes the header of a safetensors file with other names for its tensors, which stay where they are. from is where
// they begin in the file.
func renamed(f *weights.File, names map[string]string) (head []byte, from int64, err error) {
	if len(f.Tensors) == 0 {
		return nil, 0, fmt.Errorf("holds no tensors")
	}
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	from = f.Tensors[0].Offset // they are in the order of their offsets
	header := map[string]any{}
	if f.Metadata != nil {
		header["__metadata__"] = f.Metadata
	}
	for _, t := range f.Tensors {
		at := t.Offset - from
		header[names[t.Name]] = entry{t.RawDType, append([]int{}, t.Shape...), [2]int64{at, at + t.Bytes}}
	}
	raw, err := json.Marshal(header)
	if err != nil {
		return nil, 0, err
	}
	raw = append(raw, bytes.Repeat([]byte(" "), (8-len(raw)%8)%8)...)
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(raw))), raw...), from, nil
}

// openRenamed opens a file whose header, up to the byte from, is replaced by head.
func openRenamed(fsys fs.FS, name string, head []byte, from int64) (fs.File, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	r, ok := f.(io.ReaderAt)
	if !ok {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, weights.ErrNotReaderAt)
	}
	size := int64(len(head)) + info.Size() - from
	return &file{io.NewSectionReader(joined{head, r, from}, 0, size), fileInfo{weightsName, size}, f}, nil
}

// memoryFile opens bytes as a file.
func memoryFile(name string, data []byte) fs.File {
	return &file{io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), fileInfo{name, int64(len(data))}, nil}
}

// joined reads head, then what follows the byte from of rest.
type joined struct {
	head []byte
	rest io.ReaderAt
	from int64
}

// ReadAt implements io.ReaderAt.
func (j joined) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(j.head)) {
		n = copy(p, j.head[off:])
		if n == len(p) {
			return n, nil
		}
	}
	m, err := j.rest.ReadAt(p[n:], j.from+off+int64(n)-int64(len(j.head)))
	return n + m, err
}

// fileInfo is the fs.FileInfo of a file of an overlay.
type fileInfo struct {
	name string
	size int64
}

func (i fileInfo) Name() string     { return i.name }
func (i fileInfo) Size() int64      { return i.size }
func (fileInfo) Mode() fs.FileMode  { return 0o444 }
func (fileInfo) ModTime() time.Time { return time.Time{} }
func (fileInfo) IsDir() bool        { return false }
func (fileInfo) Sys() any           { return nil }
