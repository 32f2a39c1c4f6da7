package gguf

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"llamatab/engine/tensor"
)

// A written file is read back with the same keys, tensors and bytes.
func TestWrittenFileIsRead(t *testing.T) {
	keys := []KeyValue{
		{KeyArchitecture, "llama"}, {"a.u16", uint16(7)}, {"a.u32", uint32(1 << 31)}, {"a.i32", int32(-3)}, {"a.f32", float32(1.5)}, {"a.yes", true},
		{"a.no", false}, {KeyTokens, []string{"a", "", "ü"}}, {KeyScores, []float32{0, -1}}, {KeyTokenTypes, []int32{1, 3}},
	}
	tensors := []Spec{
		{"one", tensor.Of(3), F32}, {"two", tensor.Of(2, 64), Q8_0}, {"three", tensor.Of(5, 7), F16}, {"four", tensor.Of(1, 256), Q4_K},
	}
	var b bytes.Buffer
	w, err := NewWriter(&b, keys, tensors)
	if err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{}
	for i, s := range tensors {
		n, err := s.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		data[s.Name] = bytes.Repeat([]byte{byte(i + 1)}, int(n))
		if err := w.WriteTensor(s.Name, func(w io.Writer) error { _, err := w.Write(data[s.Name]); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := FileBytes(keys, tensors); err != nil || n != int64(b.Len()) {
		t.Errorf("the size was foretold as %d (%v), the file has %d", n, err, b.Len())
	}
	f, err := Read(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Tensors) != len(tensors) {
		t.Fatalf("%d tensors, want %d", len(f.Tensors), len(tensors))
	}
	for i, got := range f.Tensors {
		s := tensors[i]
		if got.Name != s.Name || got.Type != s.Type || !got.Shape.Equal(s.Shape) || !bytes.Equal(b.Bytes()[got.Offset:got.Offset+got.Bytes], data[s.Name]) {
			t.Errorf("tensor %q came back as %+v", s.Name, got)
		}
	}
	if got := f.Values[KeyTokens]; !reflect.DeepEqual(got, []string{"a", "", "ü"}) {
		t.Errorf("the tokens came back as %v", got)
	}
}

// What no reader could make sense of is not written.
func TestWriterRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		keys    []KeyValue
		tensors []Spec
		want    error
	}{
		"a key twice":      {[]KeyValue{{"a", true}, {"a", true}}, nil, ErrDuplicate},
		"a tensor twice":   {nil, []Spec{{"a", tensor.Of(1), F32}, {"a", tensor.Of(1), F32}}, ErrDuplicate},
		"no name":          {nil, []Spec{{"", tensor.Of(1), F32}}, ErrName},
		"an unknown value": {[]KeyValue{{"a", 1.5}}, nil, ErrType},
		"no dimensions":    {nil, []Spec{{"a", tensor.Of(), F32}}, ErrShape},
		"an unknown type":  {nil, []Spec{{"a", tensor.Of(1), TensorType(9)}}, ErrUnsupported},
	} {
		if _, err := NewWriter(io.Discard, c.keys, c.tensors); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := NewWriter(io.Discard, nil, []Spec{{"a", tensor.Of(2, 172), Q8_0}}); err == nil {
		t.Error("rows of parts of blocks were accepted")
	}
	w, err := NewWriter(io.Discard, nil, []Spec{{"a", tensor.Of(4), F32}, {"b", tensor.Of(4), F32}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteTensor("a", func(w io.Writer) error { _, err := w.Write(make([]byte, 12)); return err }); err == nil || w.Close() == nil {
		t.Error("a tensor of 12 of 16 bytes was accepted")
	}
}
