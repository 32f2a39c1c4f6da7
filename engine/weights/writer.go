package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"llamatab/engine/tensor"
)

// Spec is a tensor to be written.
type Spec struct {
	Name  string
	DType tensor.DType
	Shape tensor.Shape
}

// Bytes is the size of the tensor's data.
func (s Spec) Bytes() int64 { return int64(s.Shape.Size()) * int64(s.DType.Size()) }

func (s Spec) check() error {
	n, err := s.Shape.CheckedSize()
	_, known := tensor.ParseDType(s.DType.String())
	switch {
	case err != nil:
		return err
	case !known:
		return fmt.Errorf("%s cannot be written", s.DType)
	case n > math.MaxInt64/s.DType.Size():
		return ErrOverflow
	case s.Name == "" || s.Name == metadataKey || !utf8.ValidString(s.Name):
		return errors.New("not a usable name")
	}
	return nil
}

// Writer writes one safetensors file as a stream. Write to a temporary file and rename it after Close has succeeded:
// the header promises tensors that come later.
type Writer struct {
	w     io.Writer
	order []Spec
	next  int   // index into order
	err   error // the first failure, after which the file is invalid
}

// NewWriter writes the header of a file of the given tensors. To metadata it adds "format": "pt", without which
// transformers refuses to load a file.
func NewWriter(w io.Writer, tensors []Spec, metadata map[string]string) (*Writer, error) {
	order := slices.Clone(tensors)
	for _, s := range order {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("weights: tensor %q: %w", s.Name, err)
		}
	}
	// Wide elements first keep every tensor aligned to its own element.
	slices.SortFunc(order, func(a, b Spec) int {
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), cmp.Compare(a.Name, b.Name))
	})
	meta := maps.Clone(metadata)
	if meta == nil {
		meta = map[string]string{}
	}
	meta["format"] = "pt"
	head, err := makeHeader(order, meta)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	if _, err := w.Write(head); err != nil {
		return nil, fmt.Errorf("weights: header: %w", err)
	}
	return &Writer{w: w, order: order}, nil
}

// FileBytes is the size of the file that a Writer makes of the given tensors.
func FileBytes(tensors []Spec, metadata map[string]string) (n int64, err error) {
	var head bytes.Buffer
	if _, err := NewWriter(&head, tensors, metadata); err != nil {
		return 0, err
	}
	for _, s := range tensors {
		n += s.Bytes()
	}
	return n + int64(head.Len()), nil
}

// makeHeader is the bytes before the data, padded so that the data begin at a multiple of 8.
func makeHeader(order []Spec, metadata map[string]string) ([]byte, error) {
	type info struct {
		DType   string       `json:"dtype"`
		Shape   tensor.Shape `json:"shape"`
		Offsets [2]int64     `json:"data_offsets"`
	}
	head := append(make([]byte, 8), '{')
	seen := map[string]bool{}
	field := func(name string, value any) error {
		if seen[name] {
			return fmt.Errorf("tensor %q: %w", name, ErrDuplicate)
		}
		seen[name] = true
		if len(seen) > 1 {
			head = append(head, ',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		head = append(append(append(head, key...), ':'), text...)
		return nil
	}
	if metadata != nil {
		if err := field(metadataKey, metadata); err != nil {
			return nil, err
		}
	}
	var end int64
	for _, s := range order {
		begin := end
		if end += s.Bytes(); end < begin {
			return nil, fmt.Errorf("tensor %q: %w", s.Name, ErrOverflow)
		}
		shape := append(tensor.Shape{}, s.Shape...) // a nil shape must become [], not null
		if err := field(s.Name, info{s.DType.String(), shape, [2]int64{begin, end}}); err != nil {
			return nil, err
		}
	}
	head = append(head, '}')
	for len(head)%8 != 0 {
		head = append(head, ' ')
	}
	n := len(head) - 8
	if n > MaxHeader {
		return nil, fmt.Errorf("%w: %d bytes", ErrHeaderTooLarge, n)
	}
	binary.LittleEndian.PutUint64(head, uint64(n))
	return head, nil
}

// Order lists the tensors as they must be written: wide elements first, then by name.
func (w *Writer) Order() []Spec { return slices.Clone(w.order) }

// WriteTensor writes the next tensor of Order. name must be its name. The function fill must write exactly its bytes,
// little-endian, in pieces of any size.
func (w *Writer) WriteTensor(name string, fill func(io.Writer) error) error {
	if w.err == nil {
		w.err = w.writeTensor(name, fill)
	}
	return w.err
}

func (w *Writer) writeTensor(name string, fill func(io.Writer) error) error {
	if w.next == len(w.order) {
		return fmt.Errorf("weights: tensor %q: all %d tensors are written already", name, w.next)
	}
	s := w.order[w.next]
	if s.Name != name {
		return fmt.Errorf("weights: tensor %q: out of order: the next is %q", name, s.Name)
	}
	b := &bounded{w.w, s.Bytes()}
	if err := fill(b); err != nil {
		return fmt.Errorf("weights: tensor %q: %w", name, err)
	}
	if b.left != 0 {
		return fmt.Errorf("weights: tensor %q: %d of %d bytes not written", name, b.left, s.Bytes())
	}
	w.next++
	return nil
}

// WriteF32 writes the next tensor of Order from float32 values, rounded if its type is BF16.
func (w *Writer) WriteF32(name string, data []float32) error {
	return w.WriteTensor(name, func(out io.Writer) error {
		d := w.order[w.next].DType
		if d != tensor.F32 && d != tensor.BF16 {
			return fmt.Errorf("floats cannot be written as %s", d)
		}
		buf := make([]byte, 0, min(chunkBytes, len(data)*d.Size()))
		for part := range slices.Chunk(data, chunkBytes/d.Size()) {
			if _, err := out.Write(tensor.EncodeF32(buf, part, d)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Close returns the first error met, or one if tensors are missing. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.err == nil && w.next < len(w.order) {
		w.err = fmt.Errorf("weights: %d of %d tensors not written, the first is %q",
			len(w.order)-w.next, len(w.order), w.order[w.next].Name)
	}
	return w.err
}

// bounded is a writer that accepts at most left bytes.
type bounded struct {
	w    io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		return 0, fmt.Errorf("%d bytes more than the tensor holds", int64(len(p))-b.left)
	}
	n, err := b.w.Write(p)
	b.left -= int64(n)
	return n, err
}
