package weights

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/tensor"
)

// write makes a file whose data bytes are the name's first letter, so that a misplaced tensor shows.
func write(t testing.TB, specs []Spec, metadata map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, specs, metadata)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Order() {
		err := w.WriteTensor(s.Name, func(out io.Writer) error {
			_, err := out.Write(bytes.Repeat([]byte(s.Name[:1]), int(s.Bytes())))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	specs := []Spec{
		{"model.norm.weight", tensor.BF16, tensor.Of(3)},
		{"z", tensor.F32, nil},
		{"half", tensor.F16, tensor.Of(1, 5)},
		{"empty", tensor.F32, tensor.Of(0, 7)},
		{"<é\"\\>", tensor.U32, tensor.Of(2)},
		{"a", tensor.I32, tensor.Of(2, 2)},
	}
	b := write(t, specs, map[string]string{"step": "12", "format": "other"})
	f, err := readBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, x := range f.Tensors {
		names = append(names, x.Name)
		i := slices.IndexFunc(specs, func(s Spec) bool { return s.Name == x.Name })
		if s := specs[i]; s.DType != x.DType || !s.Shape.Equal(x.Shape) || s.Bytes() != x.Bytes {
			t.Errorf("wrote %v, read %v", s, x)
		}
		if want := bytes.Repeat([]byte(x.Name[:1]), int(x.Bytes)); !bytes.Equal(b[x.Offset:x.Offset+x.Bytes], want) {
			t.Errorf("%s holds %q", x.Name, b[x.Offset:x.Offset+x.Bytes])
		}
	}
	if want := []string{"<é\"\\>", "a", "empty", "z", "half", "model.norm.weight"}; !slices.Equal(names, want) {
		t.Errorf("order %q, want %q", names, want)
	}
	if got := fmt.Sprint(f.Metadata); got != "map[format:pt step:12]" {
		t.Error(got)
	}
	if f.Tensors[0].Offset%8 != 0 {
		t.Errorf("data begins at %d", f.Tensors[0].Offset)
	}
}

func TestWriteF32(t *testing.T) {
	long := make([]float32, chunkBytes/4+3) // more than one chunk
	for i := range long {
		long[i] = float32(i % 256)
	}
	for _, d := range []tensor.DType{tensor.F32, tensor.BF16} {
		var b bytes.Buffer
		w, err := NewWriter(&b, []Spec{{"w", d, tensor.Of(len(long))}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.WriteF32("w", long), w.Close()); err != nil {
			t.Fatal(err)
		}
		c, err := OpenFile(fstest.MapFS{"f": {Data: b.Bytes()}}, "f")
		if err != nil {
			t.Fatal(err)
		}
		x, _ := c.Tensor("w")
		if h, err := c.ReadF32(x); err != nil || !slices.Equal(h.Data, long) {
			t.Errorf("%s: values changed, %v", d, err)
		}
		c.Close()
	}
}

func TestNewWriterRejects(t *testing.T) {
	for _, c := range []struct {
		name  string
		specs []Spec
		says  string
	}{
		{"duplicate", []Spec{{"w", tensor.F32, nil}, {"w", tensor.BF16, nil}}, "twice"},
		{"reserved", []Spec{{"__metadata__", tensor.F32, nil}}, "name"},
		{"not UTF-8", []Spec{{"\xff", tensor.F32, nil}}, "name"},
		{"opaque", []Spec{{"w", Opaque, nil}}, "DType(255)"},
		{"negative", []Spec{{"w", tensor.F32, tensor.Of(-1)}}, "negative"},
		{"tensor overflows", []Spec{{"w", tensor.F32, tensor.Of(math.MaxInt)}}, "overflow"},
		{"sum overflows", []Spec{{"a", tensor.F32, tensor.Of(1 << 60)}, {"b", tensor.F32, tensor.Of(1 << 60)}}, "overflow"},
	} {
		var b bytes.Buffer
		if _, err := NewWriter(&b, c.specs, nil); err == nil || !strings.Contains(err.Error(), c.says) || b.Len() > 0 {
			t.Errorf("%s: %v after %d bytes", c.name, err, b.Len())
		}
	}
}

func TestWriterRejects(t *testing.T) {
	fill := func(n int) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(make([]byte, n)); return err }
	}
	for _, c := range []struct {
		name string
		use  func(w *Writer)
		says string
	}{
		{"nothing written", func(w *Writer) {}, `2 of 2 tensors not written, the first is "a"`},
		{"out of order", func(w *Writer) { w.WriteTensor("b", fill(8)) }, `the next is "a"`},
		{"too few", func(w *Writer) { w.WriteTensor("a", fill(7)) }, `"a": 1 of 8 bytes not written`},
		{"too many", func(w *Writer) { w.WriteTensor("a", fill(9)) }, `"a": 1 bytes more`},
		{"one too many tensors", func(w *Writer) {
			w.WriteTensor("a", fill(8))
			w.WriteTensor("b", fill(4))
			w.WriteTensor("c", fill(0))
		}, "already"},
		{"not a float", func(w *Writer) { w.WriteTensor("a", fill(8)); w.WriteF32("b", make([]float32, 1)) }, "U32"},
		{"wrong count", func(w *Writer) { w.WriteF32("a", make([]float32, 3)) }, "more"},
		{"the disk", func(w *Writer) { w.w = failing{}; w.WriteTensor("a", fill(8)) }, "no room"},
	} {
		w, err := NewWriter(io.Discard, []Spec{{"b", tensor.U32, tensor.Of(1)}, {"a", tensor.F32, tensor.Of(2)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.use(w)
		if err := w.Close(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no room") }
