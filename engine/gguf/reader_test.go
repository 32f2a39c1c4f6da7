package gguf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"runtime"
	"testing"

	"llamatab/engine/gguf"
	"llamatab/engine/gguf/gguftest"
	"llamatab/engine/tensor"
)

// small is a file with a key of most types and two tensors.
func small() []byte {
	return gguftest.File([]gguftest.Key{
		{Name: gguf.KeyArchitecture, Value: "llama"}, {Name: "a.number", Value: uint32(7)}, {Name: "a.negative", Value: int32(-7)}, {Name: "a.wide", Value: uint64(1 << 40)},
		{Name: "a.float", Value: float32(0.5)}, {Name: "a.bool", Value: true}, {Name: "a.words", Value: []string{"x", "", "é"}},
		{Name: "a.numbers", Value: []int32{1, -2}}, {Name: "a.floats", Value: []float32{0.25}},
	}, []gguftest.Tensor{
		{Name: "t", Type: gguf.F32, Shape: tensor.Of(2, 3), Data: make([]byte, 24)},
		{Name: "q", Type: gguf.Q4_0, Shape: tensor.Of(2, 64), Data: make([]byte, 72)},
	})
}

func read(b []byte) (*gguf.File, error) { return gguf.Read(bytes.NewReader(b), int64(len(b))) }

func TestRead(t *testing.T) {
	for _, version := range []uint32{2, 3} {
		b := small()
		binary.LittleEndian.PutUint32(b[4:], version)
		f, err := read(b)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			gguf.KeyArchitecture: "llama", "a.number": uint64(7), "a.negative": int64(-7), "a.wide": uint64(1 << 40), "a.float": 0.5, "a.bool": true,
			"a.words": []string{"x", "", "é"}, "a.numbers": []int64{1, -2}, "a.floats": []float64{0.25},
		}
		if !reflect.DeepEqual(f.Values, want) {
			t.Errorf("keys %v, want %v", f.Values, want)
		}
		if f.Version != version || len(f.Tensors) != 2 || f.Data%32 != 0 {
			t.Fatalf("header %+v", f)
		}
		q := f.Tensors[1]
		if q.Name != "q" || !q.Shape.Equal(tensor.Of(2, 64)) || q.Bytes != 72 || q.Offset != f.Data+32 {
			t.Errorf("tensor %+v, data at %d", q, f.Data)
		}
	}
}

// A file that is cut at any byte is refused, except where only the padding of the last tensor is gone.
func TestCutFiles(t *testing.T) {
	b := small()
	padding := 24 // behind the 72 bytes of the last tensor
	for n := range len(b) {
		if _, err := read(b[:n]); (err == nil) != (n >= len(b)-padding) {
			t.Fatalf("the first %d of %d bytes: error %v", n, len(b), err)
		}
	}
}

// raw builds a header of numbers (uint32 and uint64) and strings, followed by room for data.
func raw(parts ...any) []byte {
	var b bytes.Buffer
	for _, p := range parts {
		if s, ok := p.(string); ok {
			gguftest.String(&b, s)
		} else {
			binary.Write(&b, binary.LittleEndian, p)
		}
	}
	b.Write(make([]byte, 256))
	return b.Bytes()
}

type hostile struct {
	name string
	file []byte
	want error
}

func hostiles() []hostile {
	magic, three := []byte(gguf.Magic), uint32(3)
	head := func(tensors, keys uint64, rest ...any) []byte {
		return raw(append([]any{magic, three, tensors, keys}, rest...)...)
	}
	one := func(rank uint32, rest ...any) []byte { return head(1, 0, append([]any{"t", rank}, rest...)...) }
	const huge = uint64(1) << 63
	return []hostile{
		{"empty", nil, gguf.ErrShort},
		{"other magic", []byte("GGMLxxxxxxxxxxxxxxxxxxxxxxxx"), gguf.ErrMagic},
		{"Git LFS pointer", []byte("version https://git-lfs.github.com/spec/v1"), gguf.ErrMagic},
		{"version 1", raw(magic, uint32(1), uint32(0), uint32(0)), gguf.ErrVersion},
		{"version 4", raw(magic, uint32(4), uint64(0), uint64(0)), gguf.ErrVersion},
		{"big-endian", raw(magic, []byte{0, 0, 0, 3}, uint64(0)), gguf.ErrBigEndian},
		{"too many tensors", head(huge, 0), gguf.ErrLimit},
		{"too many keys", head(0, huge), gguf.ErrLimit},
		{"more keys than bytes", head(0, 1000), gguf.ErrName},
		{"long name of a key", head(0, 1, huge), gguf.ErrLimit},
		{"empty name of a key", head(0, 1, ""), gguf.ErrName},
		{"name that is not UTF-8", head(0, 1, "\xff"), gguf.ErrName},
		{"unknown type of value", head(0, 1, "k", uint32(13)), gguf.ErrType},
		{"long string", head(0, 1, "k", uint32(8), uint64(1<<40)), gguf.ErrLimit},
		{"string past the end", head(0, 1, "k", uint32(8), uint64(1<<20)), gguf.ErrShort},
		{"key twice", head(0, 2, "k", uint32(4), uint32(1), "k", uint32(4), uint32(1)), gguf.ErrDuplicate},
		{"bool of 2", head(0, 1, "k", uint32(7), []byte{2}), gguf.ErrBool},
		{"array of arrays", head(0, 1, "k", uint32(9), uint32(9), uint64(1)), gguf.ErrNested},
		{"array of an unknown type", head(0, 1, "k", uint32(9), uint32(99), uint64(1)), gguf.ErrType},
		{"long array", head(0, 1, "k", uint32(9), uint32(0), huge), gguf.ErrLimit},
		{"array past the end", head(0, 1, "k", uint32(9), uint32(4), uint64(1000)), gguf.ErrShort},
		{"array of strings past the end", head(0, 1, "k", uint32(9), uint32(8), uint64(1<<20)), gguf.ErrShort},
		{"alignment 0", head(0, 1, gguf.KeyAlignment, uint32(4), uint32(0)), gguf.ErrAlignment},
		{"alignment 12", head(0, 1, gguf.KeyAlignment, uint32(4), uint32(12)), gguf.ErrAlignment},
		{"alignment of 1 GiB", head(0, 1, gguf.KeyAlignment, uint32(4), uint32(1<<30)), gguf.ErrAlignment},
		{"alignment that is a string", head(0, 1, gguf.KeyAlignment, uint32(8), "x"), gguf.ErrAlignment},
		{"five dimensions", one(5), gguf.ErrLimit},
		{"dimension 0", one(1, uint64(0)), gguf.ErrShape},
		{"dimension of 64 bits", one(1, huge), gguf.ErrShape},
		{"product of dimensions overflows", one(4, uint64(1<<30), uint64(1<<30), uint64(1<<30), uint64(1<<30)), gguf.ErrShape},
		{"rows that are not whole blocks", one(1, uint64(33), uint32(2), uint64(0)), gguf.ErrShape},
		{"unsupported type", one(1, uint64(256), uint32(16), uint64(0)), gguf.ErrUnsupported},
		{"unknown type", one(1, uint64(256), uint32(1<<31), uint64(0)), gguf.ErrUnsupported},
		{"offset off the alignment", one(1, uint64(1), uint32(0), uint64(1)), gguf.ErrOffset},
		{"offset past the end", one(1, uint64(1), uint32(0), uint64(1<<20)), gguf.ErrShort},
		{"offset that overflows", one(1, uint64(1), uint32(0), ^uint64(31)), gguf.ErrShort},
		{"data past the end", one(1, uint64(1<<20), uint32(0), uint64(0)), gguf.ErrShort},
		{"tensor twice", head(2, 0, "t", uint32(1), uint64(1), uint32(0), uint64(0), "t", uint32(1), uint64(1), uint32(0), uint64(32)), gguf.ErrDuplicate},
		{"tensors overlap", head(2, 0, "t", uint32(1), uint64(9), uint32(0), uint64(0), "u", uint32(1), uint64(1), uint32(0), uint64(32)), gguf.ErrOverlap},
	}
}

func TestHostileFiles(t *testing.T) {
	for _, h := range hostiles() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read(h.file)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, h.want) {
			t.Errorf("%s: error %v, want %v", h.name, err, h.want)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: a file of %d bytes took %d bytes of memory", h.name, len(h.file), got)
		}
	}
}

// FuzzRead checks that no file makes the reader panic or take memory beyond a multiple of the file, and that tensors lie in the file.
func FuzzRead(f *testing.F) {
	f.Add(small())
	for _, h := range hostiles() {
		f.Add(h.file)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := read(b)
		if err != nil {
			return
		}
		end := int64(0)
		for _, x := range file.Tensors {
			if x.Offset < max(end, file.Data) || x.Bytes < 0 || x.Offset+x.Bytes > int64(len(b)) || x.Offset%file.Alignment != 0 {
				t.Errorf("tensor %+v of a file of %d bytes", x, len(b))
			}
			end = x.Offset + x.Bytes
		}
	})
}
