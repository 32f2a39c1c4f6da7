package gguf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"

	"llamatab/engine/tensor"
)

// File is the header of a file.
type File struct {
	Version   uint32
	Values    map[string]any // by key: uint64, int64, float64, bool, string, or an array: []uint64, []int64, []float64, []bool, []string
	Tensors   []Tensor       // by offset
	Alignment int64
	Data      int64 // offset of the data in the file
}

// Tensor says what a tensor is and where its bytes are.
type Tensor struct {
	Name   string
	Type   TensorType
	Shape  tensor.Shape // in the order of Hugging Face, the reverse of the file's
	Offset int64        // of its first byte, from the start of the file
	Bytes  int64        // in the file
}

// Read reads and checks the header of a file of size bytes. It reads the file in ranges from the start, up to the data.
// A file without the tensors' data, as a header alone, is an error.
func Read(r io.ReaderAt, size int64) (*File, error) {
	s := &scanner{r: r, size: size}
	f := &File{Values: map[string]any{}, Alignment: DefaultAlignment}
	tensors, keys, err := f.counts(s)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		if err := f.key(s); err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i+1, keys, err)
		}
	}
	if v, ok := f.Values[KeyAlignment]; ok {
		n, isUint := v.(uint64)
		if !isUint || n == 0 || n%8 != 0 || n > MaxAlignment {
			return nil, fmt.Errorf("%w from 8 to %d: it is %v", ErrAlignment, MaxAlignment, v)
		}
		f.Alignment = int64(n)
	}
	relative := make([]uint64, 0, min(tensors, 1<<12))
	for i := range tensors {
		offset, err := f.tensor(s)
		if err != nil {
			return nil, fmt.Errorf("tensor %d of %d: %w", i+1, tensors, err)
		}
		relative = append(relative, offset)
	}
	f.Data = s.at + (f.Alignment-s.at%f.Alignment)%f.Alignment
	return f, f.place(relative, size)
}

// counts reads what stands before the keys.
func (f *File) counts(s *scanner) (tensors, keys uint64, err error) {
	head, err := s.bytes(4)
	if err != nil {
		return 0, 0, err
	}
	switch {
	case string(head) == "vers":
		return 0, 0, fmt.Errorf("%w: it is a Git LFS pointer; fetch the file itself with git lfs pull", ErrMagic)
	case string(head) == "FUGG":
		return 0, 0, ErrBigEndian
	case string(head) != Magic:
		return 0, 0, fmt.Errorf("%w: it begins with %q", ErrMagic, head)
	}
	version, err := s.u32()
	if err != nil {
		return 0, 0, err
	}
	if version != 0 && version&0xffff == 0 {
		return 0, 0, ErrBigEndian
	}
	if version != 2 && version != 3 {
		return 0, 0, fmt.Errorf("%w: it is version %d, and 2 and 3 are read; convert the model again with a newer llama.cpp", ErrVersion, version)
	}
	f.Version = version
	if tensors, err = s.u64(); err != nil {
		return 0, 0, err
	}
	if keys, err = s.u64(); err != nil {
		return 0, 0, err
	}
	if tensors > MaxTensors {
		return 0, 0, fmt.Errorf("%d tensors: %w, at most %d", tensors, ErrLimit, MaxTensors)
	}
	if keys > MaxKeys {
		return 0, 0, fmt.Errorf("%d keys: %w, at most %d", keys, ErrLimit, MaxKeys)
	}
	return tensors, keys, nil
}

// key reads one key and its value.
func (f *File) key(s *scanner) error {
	name, err := s.name()
	if err != nil {
		return err
	}
	if _, twice := f.Values[name]; twice {
		return fmt.Errorf("%q: %w", name, ErrDuplicate)
	}
	t, err := s.u32()
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	v, err := s.value(ValueType(t))
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	f.Values[name] = v
	return nil
}

// tensor reads one tensor and returns its offset in the data.
func (f *File) tensor(s *scanner) (offset uint64, err error) {
	t := Tensor{}
	if t.Name, err = s.name(); err != nil {
		return 0, err
	}
	rank, err := s.u32()
	if err != nil {
		return 0, fmt.Errorf("%q: %w", t.Name, err)
	}
	if rank > MaxRank {
		return 0, fmt.Errorf("%q: %d dimensions: %w, at most %d", t.Name, rank, ErrLimit, MaxRank)
	}
	t.Shape = make(tensor.Shape, rank)
	elements := uint64(1)
	for i := range rank {
		d, err := s.u64()
		if err != nil {
			return 0, fmt.Errorf("%q: %w", t.Name, err)
		}
		hi, lo := bits.Mul64(elements, d)
		if d == 0 || d > math.MaxInt32 || hi != 0 || lo > math.MaxInt64/8 {
			return 0, fmt.Errorf("%q: %w: dimension %d is %d", t.Name, ErrShape, i, d)
		}
		elements, t.Shape[rank-1-i] = lo, int(d)
	}
	kind, err := s.u32()
	if err != nil {
		return 0, fmt.Errorf("%q: %w", t.Name, err)
	}
	t.Type = TensorType(kind)
	if _, ok := t.Type.DType(); !ok {
		return 0, fmt.Errorf("%q is %s: %w; use a file with the types F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K, Q5_1, Q5_0, Q4_1 or Q4_0", t.Name, t.Type, ErrUnsupported)
	}
	values, bytes := t.Type.block()
	if values > 1 && rank < 2 {
		return 0, fmt.Errorf("%q: %w: %s is for matrices, and it has %d dimensions", t.Name, ErrShape, t.Type, rank)
	}
	row := uint64(1)
	if rank > 0 {
		row = uint64(t.Shape[rank-1])
	}
	if row%uint64(values) != 0 {
		return 0, fmt.Errorf("%q: %w: rows of %d values are not whole blocks of %s, which hold %d", t.Name, ErrShape, row, t.Type, values)
	}
	t.Bytes = int64(elements) / values * bytes // at most 4 bytes a value, so it fits
	if offset, err = s.u64(); err != nil {
		return 0, fmt.Errorf("%q: %w", t.Name, err)
	}
	if offset%uint64(f.Alignment) != 0 {
		return 0, fmt.Errorf("%q: %w: %d, alignment %d", t.Name, ErrOffset, offset, f.Alignment)
	}
	f.Tensors = append(f.Tensors, t)
	return offset, nil
}

// place turns offsets in the data into offsets in the file. Tensors must lie in the file and must not overlap.
func (f *File) place(relative []uint64, size int64) error {
	seen := make(map[string]bool, len(f.Tensors))
	for i := range f.Tensors {
		t := &f.Tensors[i]
		if seen[t.Name] {
			return fmt.Errorf("tensor %q: %w", t.Name, ErrDuplicate)
		}
		seen[t.Name] = true
		room := size - f.Data
		if room < 0 || relative[i] > uint64(room) || t.Bytes > room-int64(relative[i]) {
			return fmt.Errorf("tensor %q: %w: %d bytes at offset %d of the data, which has %d; fetch the file again", t.Name, ErrShort, t.Bytes, relative[i], max(room, 0))
		}
		t.Offset = f.Data + int64(relative[i])
	}
	slices.SortFunc(f.Tensors, func(a, b Tensor) int { return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Name, b.Name)) })
	for i := 1; i < len(f.Tensors); i++ {
		if a, b := f.Tensors[i-1], f.Tensors[i]; a.Offset+a.Bytes > b.Offset {
			return fmt.Errorf("tensors %q and %q: %w", a.Name, b.Name, ErrOverlap)
		}
	}
	return nil
}

// scanner reads the header in order. It fetches ranges that grow, as a header may be short or hold a large vocabulary.
type scanner struct {
	r    io.ReaderAt
	size int64
	at   int64 // offset in the file of what comes next

	buf   []byte // of the file from start on
	start int64
}

const (
	firstFetch = 64 << 10
	mostFetch  = 4 << 20
)

// bytes returns the next n bytes, which are valid until the next call.
func (s *scanner) bytes(n int64) ([]byte, error) {
	if n > s.size-s.at {
		return nil, fmt.Errorf("%w: %d bytes wanted at offset %d of %d", ErrShort, n, s.at, s.size)
	}
	if n > MaxHeader-s.at {
		return nil, fmt.Errorf("a header of over %d bytes: %w", MaxHeader, ErrLimit)
	}
	if have := s.start + int64(len(s.buf)) - s.at; n > have {
		fetch := min(max(n, min(max(firstFetch, s.at), mostFetch)), s.size-s.at)
		buf := make([]byte, fetch)
		kept := copy(buf, s.buf[int64(len(s.buf))-have:])
		if got, err := s.r.ReadAt(buf[kept:], s.at+int64(kept)); got < len(buf)-kept {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("reading %d bytes at offset %d: %w", len(buf)-kept, s.at+int64(kept), err)
		}
		s.buf, s.start = buf, s.at
	}
	from := s.at - s.start
	s.at += n
	return s.buf[from : from+n], nil
}

func (s *scanner) u32() (uint32, error) {
	b, err := s.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (s *scanner) u64() (uint64, error) {
	b, err := s.bytes(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// string reads a string of at most limit bytes.
func (s *scanner) string(limit uint64) (string, error) {
	n, err := s.u64()
	if err != nil {
		return "", err
	}
	if n > limit {
		return "", fmt.Errorf("a string of %d bytes: %w, at most %d", n, ErrLimit, limit)
	}
	b, err := s.bytes(int64(n))
	return string(b), err
}

// name reads the name of a key or a tensor.
func (s *scanner) name() (string, error) {
	name, err := s.string(MaxName)
	if err != nil {
		return "", fmt.Errorf("name: %w", err)
	}
	if name == "" || !utf8.ValidString(name) {
		return "", fmt.Errorf("%q: %w", name, ErrName)
	}
	return name, nil
}

// value reads a value. Numbers are widened to 64 bits.
func (s *scanner) value(t ValueType) (any, error) {
	switch {
	case int(t) >= len(valueNames):
		return nil, fmt.Errorf("%w: %d", ErrType, uint32(t))
	case t == Array:
		return s.array()
	case t == String:
		return s.string(MaxString)
	}
	b, err := s.bytes(valueBytes[t])
	if err != nil {
		return nil, err
	}
	switch t {
	case Uint8, Uint16, Uint32, Uint64:
		return unsigned(b), nil
	case Bool:
		return boolean(b)
	case Float32, Float64:
		return float(b), nil
	}
	return signed(b), nil
}

// array reads the elements of an array. Memory grows with what has been read, not with what the file claims.
func (s *scanner) array() (any, error) {
	kind, err := s.u32()
	if err != nil {
		return nil, err
	}
	n, err := s.u64()
	if err != nil {
		return nil, err
	}
	t := ValueType(kind)
	switch {
	case int(t) >= len(valueNames):
		return nil, fmt.Errorf("array: %w: %d", ErrType, kind)
	case t == Array:
		return nil, ErrNested
	case n > MaxArray:
		return nil, fmt.Errorf("an array of %d elements: %w, at most %d", n, ErrLimit, MaxArray)
	case int64(n) > (s.size-s.at)/valueBytes[t]:
		return nil, fmt.Errorf("an array of %d elements of %s: %w", n, t, ErrShort)
	}
	switch t {
	case String:
		return elements(n, func() (string, error) { return s.string(MaxString) })
	case Bool:
		return elements(n, func() (bool, error) { return next(s, t, boolean) })
	case Float32, Float64:
		return elements(n, func() (float64, error) { return next(s, t, func(b []byte) (float64, error) { return float(b), nil }) })
	case Uint8, Uint16, Uint32, Uint64:
		return elements(n, func() (uint64, error) { return next(s, t, func(b []byte) (uint64, error) { return unsigned(b), nil }) })
	}
	return elements(n, func() (int64, error) { return next(s, t, func(b []byte) (int64, error) { return signed(b), nil }) })
}

// elements reads n elements.
func elements[T any](n uint64, read func() (T, error)) ([]T, error) {
	all := make([]T, 0, min(n, 1<<12))
	for i := range n {
		x, err := read()
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		all = append(all, x)
	}
	return all, nil
}

// next reads one value of a type of fixed size.
func next[T any](s *scanner, t ValueType, convert func([]byte) (T, error)) (x T, err error) {
	b, err := s.bytes(valueBytes[t])
	if err != nil {
		return x, err
	}
	return convert(b)
}

func unsigned(b []byte) (n uint64) {
	for i, x := range b {
		n |= uint64(x) << (8 * i)
	}
	return n
}

func signed(b []byte) int64 {
	shift := 64 - 8*len(b)
	return int64(unsigned(b)<<shift) >> shift
}

func float(b []byte) float64 {
	if len(b) == 4 {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

func boolean(b []byte) (bool, error) {
	if b[0] > 1 {
		return false, fmt.Errorf("%w: %d", ErrBool, b[0])
	}
	return b[0] == 1, nil
}
