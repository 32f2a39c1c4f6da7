// Package weights reads and writes model weights as safetensors: one file, or the shards of a Hugging Face folder.
//
// Readers work through io.ReaderAt and touch one slice of one tensor at a time, so that a shard of several gigabytes
// never has to fit in memory. Everything in a file is checked before a tensor of it is offered.
//
// A safetensors file is
//
//	N       8 bytes, unsigned, little-endian
//	header  N bytes of JSON: {"name": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}, …}
//	data    the tensors, row-major, little-endian, without gaps; offsets count from here
package weights

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"

	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// Limits on what a file may claim. The header's is the format's own; the others are far above any real model.
const (
	MaxHeader  = 100_000_000 // bytes
	MaxTensors = 1 << 20     // in one file
	MaxRank    = 64          // dimensions of one tensor
)

// What can be wrong with a safetensors file. Errors wrap one of these and name the file and the tensor.
var (
	ErrHeaderTooSmall = errors.New("file is shorter than the 8 bytes of the header's length")
	ErrHeaderTooLarge = errors.New("header is longer than the format allows")
	ErrHeaderLength   = errors.New("header runs past the end of the file")
	ErrHeaderUTF8     = errors.New("header is not UTF-8")
	ErrHeaderJSON     = errors.New("header is not the JSON it should be")
	ErrDuplicate      = errors.New("name appears twice")
	ErrLimit          = errors.New("more than this reader accepts")
	ErrOffsets        = errors.New("data offsets leave a gap, overlap or run backwards")
	ErrOverflow       = errors.New("size overflows")
	ErrMisaligned     = errors.New("tensor does not end on a whole byte")
	ErrTensorSize     = errors.New("data offsets disagree with dtype and shape")
	ErrFileSize       = errors.New("file is not as long as its header says: cut short, or followed by other bytes")
	ErrNotFloat       = errors.New("not stored as F32, F16 or BF16")
)

// Opaque is the DType of tensors whose elements this package can carry but not interpret. See Tensor.RawDType.
const Opaque tensor.DType = 0xff

// dtypeBits is the width of every element type that the format knows.
var dtypeBits = map[string]uint64{
	"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
	"F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
	"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
	"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}

// File is the header of one safetensors file.
type File struct {
	Name     string
	Metadata map[string]string // the strings of "__metadata__"; nil if there is none
	Tensors  []Tensor          // by offset
}

// Tensor says what a tensor is and where its bytes are.
type Tensor struct {
	Name     string
	DType    tensor.DType // Opaque for those that tensor.DType has no name for
	RawDType string       // as the file spells it
	Shape    tensor.Shape
	File     string // the name of the file that holds it
	Offset   int64  // of its first byte, from the start of the file
	Bytes    int64  // of what ReadChunks passes on

	// Blocks is how a GGUF file packs the values, quant.None for values that stand alone. ReadChunks unpacks blocks to F32, which is
	// the DType of such a tensor; ReadBlocks reads them as they are.
	Blocks quant.Type
	// Interleaved is the number of attention heads whose rows the file holds in another order than Hugging Face, 0 for none: that of a
	// rotation of neighbours. Everything that is read has the order of Hugging Face.
	Interleaved int
}

// CheckFloat returns an error that wraps ErrNotFloat, unless t holds floats that can be widened to float32.
func (t Tensor) CheckFloat() error {
	if !t.DType.IsFloat() {
		return fmt.Errorf("weights: %s: tensor %q is %s: %w", t.File, t.Name, t.RawDType, ErrNotFloat)
	}
	return nil
}

// ReadHeader reads and checks the header of a safetensors file of size bytes. The name is for messages and Tensor.File.
func ReadHeader(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{Name: name}
	if err := f.read(r, size); err != nil {
		return nil, fmt.Errorf("weights: %s: %w", name, err)
	}
	return f, nil
}

func (f *File) read(r io.ReaderAt, size int64) error {
	var prefix [8]byte
	if size < 8 {
		return fmt.Errorf("%w: it has %d", ErrHeaderTooSmall, max(size, 0))
	}
	if err := readFull(r, prefix[:], 0); err != nil {
		return err
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	switch {
	case string(prefix[:]) == "version ":
		return fmt.Errorf("%w: this is a Git LFS pointer, not the weights; fetch them with git lfs pull", ErrHeaderTooLarge)
	case n > MaxHeader:
		return fmt.Errorf("%w: %d bytes, at most %d; is this a safetensors file?", ErrHeaderTooLarge, n, MaxHeader)
	case n > uint64(size-8):
		return fmt.Errorf("%w: %d bytes after the first 8, in a file of %d", ErrHeaderLength, n, size)
	}
	raw := make([]byte, n)
	if err := readFull(r, raw, 8); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if !utf8.Valid(raw) {
		return ErrHeaderUTF8
	}
	h, err := parseHeader(raw)
	if err != nil {
		return err
	}
	f.Metadata = h.metadata
	return f.layOut(h.entries, 8+int64(n), size)
}

// layOut turns header entries into tensors, which must fill the file from data to size without gaps.
func (f *File) layOut(entries []entry, data, size int64) error {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.name, b.name))
	})
	var end uint64
	for _, e := range entries {
		if e.begin != end || e.end < e.begin {
			return fmt.Errorf("tensor %q: %w: [%d, %d] where %d was next", e.name, ErrOffsets, e.begin, e.end, end)
		}
		bytes, err := e.bytes()
		if err != nil {
			return fmt.Errorf("tensor %q: %w: %s %v", e.name, err, e.dtype, e.dims)
		}
		if bytes != e.end-e.begin {
			return fmt.Errorf("tensor %q: %w: %s %v takes %d bytes, offsets give %d",
				e.name, ErrTensorSize, e.dtype, e.dims, bytes, e.end-e.begin)
		}
		end = e.end
	}
	if room := uint64(size - data); end != room {
		return fmt.Errorf("%w: %d bytes of data expected, %d present", ErrFileSize, end, room)
	}
	f.Tensors = make([]Tensor, len(entries))
	for i, e := range entries {
		f.Tensors[i] = Tensor{Name: e.name, DType: e.tensorDType(), RawDType: e.dtype, Shape: e.shape(),
			File: f.Name, Offset: data + int64(e.begin), Bytes: int64(e.end - e.begin)}
	}
	return nil
}

// bytes is the size that dtype and shape ask for.
func (e entry) bytes() (uint64, error) {
	total := uint64(1)
	for _, d := range e.dims {
		hi, lo := bits.Mul64(total, d)
		if hi != 0 || d > math.MaxInt {
			return 0, ErrOverflow
		}
		total = lo
	}
	hi, total := bits.Mul64(total, dtypeBits[e.dtype])
	if hi != 0 {
		return 0, ErrOverflow
	}
	if total%8 != 0 {
		return 0, ErrMisaligned
	}
	return total / 8, nil
}

func (e entry) tensorDType() tensor.DType {
	if d, ok := tensor.ParseDType(e.dtype); ok {
		return d
	}
	return Opaque
}

// shape converts the dimensions, which bytes has found to fit.
func (e entry) shape() tensor.Shape {
	s := make(tensor.Shape, len(e.dims))
	for i, d := range e.dims {
		s[i] = int(d)
	}
	return s
}

// readFull fills p from offset off, or says how far it came.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil // an EOF right behind the last byte wanted is no error
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d of %d bytes at offset %d: %w", n, len(p), off, err)
}
