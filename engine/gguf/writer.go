package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"

	"llamatab/engine/tensor"
)

// KeyValue is a key of a file with its value: a uint16, uint32, int32, float32, bool or string, or a slice of int32, float32 or string.
type KeyValue struct {
	Key   string
	Value any
}

// Spec is a tensor to be written. Its shape is in the order of Hugging Face; the file has it in reverse.
type Spec struct {
	Name  string
	Shape tensor.Shape
	Type  TensorType
}

// Bytes is the size of the tensor's data. It is an error if a row is not whole blocks of the type.
func (s Spec) Bytes() (int64, error) {
	n, err := s.Shape.CheckedSize()
	if err != nil {
		return 0, err
	}
	if len(s.Shape) < 1 || len(s.Shape) > MaxRank || n == 0 {
		return 0, fmt.Errorf("%w: %v", ErrShape, s.Shape)
	}
	if _, known := s.Type.DType(); !known {
		return 0, fmt.Errorf("%w: %v", ErrUnsupported, s.Type)
	}
	values, size := s.Type.block()
	if row := int64(s.Shape[len(s.Shape)-1]); row%values != 0 {
		return 0, fmt.Errorf("rows of %d values are not whole blocks of %v, which hold %d", row, s.Type, values)
	}
	if int64(n)/values > math.MaxInt64/2/size {
		return 0, fmt.Errorf("%w: %v", ErrShape, s.Shape)
	}
	return int64(n) / values * size, nil
}

// Writer writes one GGUF file as a stream: the sizes of all tensors are known before the first byte. Rename the file to its final
// name after Close has succeeded: the header promises tensors that come later.
type Writer struct {
	w       io.Writer
	tensors []Spec
	next    int
	err     error // the first failure, after which the file is invalid
}

// NewWriter writes the header of a file: keys and tensors in the given order, aligned to DefaultAlignment.
func NewWriter(w io.Writer, keys []KeyValue, tensors []Spec) (*Writer, error) {
	head, err := header(keys, tensors)
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	if _, err := w.Write(head); err != nil {
		return nil, fmt.Errorf("gguf: header: %w", err)
	}
	return &Writer{w: w, tensors: slices.Clone(tensors)}, nil
}

// padded is n rounded up to the alignment.
func padded(n int64) int64 { return (n + DefaultAlignment - 1) / DefaultAlignment * DefaultAlignment }

// FileBytes is the size of the file that a Writer makes.
func FileBytes(keys []KeyValue, tensors []Spec) (int64, error) {
	head, err := header(keys, tensors)
	if err != nil {
		return 0, err
	}
	n := int64(len(head))
	for _, t := range tensors {
		size, err := t.Bytes()
		if err != nil {
			return 0, err
		}
		n += padded(size)
	}
	return n, nil
}

// header is the bytes before the data.
func header(keys []KeyValue, tensors []Spec) ([]byte, error) {
	order := binary.LittleEndian
	head := order.AppendUint32([]byte(Magic), Version)
	head = order.AppendUint64(order.AppendUint64(head, uint64(len(tensors))), uint64(len(keys)))
	seen := map[string]bool{}
	name := func(s string) error {
		if s == "" || len(s) > MaxName || !utf8.ValidString(s) {
			return fmt.Errorf("%w: %.80q", ErrName, s)
		}
		if seen[s] {
			return fmt.Errorf("%q: %w", s, ErrDuplicate)
		}
		seen[s] = true
		head = appendString(head, s)
		return nil
	}
	for _, k := range keys {
		if err := name(k.Key); err != nil {
			return nil, err
		}
		var err error
		if head, err = appendValue(head, k.Value); err != nil {
			return nil, fmt.Errorf("%s: %w", k.Key, err)
		}
	}
	clear(seen)
	var offset int64
	for _, t := range tensors {
		if err := name(t.Name); err != nil {
			return nil, err
		}
		size, err := t.Bytes()
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		head = order.AppendUint32(head, uint32(len(t.Shape)))
		for _, n := range slices.Backward(t.Shape) {
			head = order.AppendUint64(head, uint64(n))
		}
		head = order.AppendUint64(order.AppendUint32(head, uint32(t.Type)), uint64(offset))
		if offset += padded(size); offset < 0 {
			return nil, fmt.Errorf("tensor %q: %w: more bytes than a file can have", t.Name, ErrShape)
		}
	}
	return append(head, make([]byte, padded(int64(len(head)))-int64(len(head)))...), nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue writes the type of a value, then the value.
func appendValue(b []byte, v any) ([]byte, error) {
	order := binary.LittleEndian
	kind := func(t ValueType) []byte { return order.AppendUint32(b, uint32(t)) }
	list := func(t ValueType, n int) []byte {
		return order.AppendUint64(order.AppendUint32(kind(Array), uint32(t)), uint64(n))
	}
	switch v := v.(type) {
	case uint16:
		return order.AppendUint16(kind(Uint16), v), nil
	case uint32:
		return order.AppendUint32(kind(Uint32), v), nil
	case int32:
		return order.AppendUint32(kind(Int32), uint32(v)), nil
	case float32:
		return order.AppendUint32(kind(Float32), math.Float32bits(v)), nil
	case bool:
		b = kind(Bool)
		if v {
			return append(b, 1), nil
		}
		return append(b, 0), nil
	case string:
		return appendString(kind(String), v), nil
	case []string:
		b = list(String, len(v))
		for _, s := range v {
			b = appendString(b, s)
		}
		return b, nil
	case []int32:
		b = list(Int32, len(v))
		for _, n := range v {
			b = order.AppendUint32(b, uint32(n))
		}
		return b, nil
	case []float32:
		b = list(Float32, len(v))
		for _, x := range v {
			b = order.AppendUint32(b, math.Float32bits(x))
		}
		return b, nil
	}
	return nil, fmt.Errorf("%w: %T", ErrType, v)
}

// WriteTensor writes the next tensor, which must have the given name. The function fill must write exactly its bytes, in pieces of
// any size.
func (w *Writer) WriteTensor(name string, fill func(io.Writer) error) error {
	if w.err == nil {
		w.err = w.writeTensor(name, fill)
	}
	return w.err
}

func (w *Writer) writeTensor(name string, fill func(io.Writer) error) error {
	if w.next == len(w.tensors) {
		return fmt.Errorf("gguf: tensor %q: all %d tensors are written already", name, w.next)
	}
	s := w.tensors[w.next]
	if s.Name != name {
		return fmt.Errorf("gguf: tensor %q: out of order: the next is %q", name, s.Name)
	}
	size, err := s.Bytes()
	if err != nil {
		return err
	}
	c := &counted{w: w.w}
	if err := fill(c); err != nil {
		return fmt.Errorf("gguf: tensor %q: %w", name, err)
	}
	if c.n != size {
		return fmt.Errorf("gguf: tensor %q: %d bytes written, want %d", name, c.n, size)
	}
	if _, err := w.w.Write(make([]byte, padded(size)-size)); err != nil {
		return fmt.Errorf("gguf: tensor %q: %w", name, err)
	}
	w.next++
	return nil
}

// Close returns the first error met, or one if tensors are missing. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.err == nil && w.next < len(w.tensors) {
		w.err = errors.Join(ErrShort, fmt.Errorf("gguf: %d of %d tensors not written, the first is %q", len(w.tensors)-w.next, len(w.tensors), w.tensors[w.next].Name))
	}
	return w.err
}

// counted counts the bytes that pass through it.
type counted struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
