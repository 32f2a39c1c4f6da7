package weights

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/tensor"
)

// raw makes a file of a header, as it stands, and size zero bytes of data.
func raw(header string, size int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, size)...)
}

func readBytes(b []byte) (*File, error) {
	return ReadHeader(bytes.NewReader(b), int64(len(b)), "f.safetensors")
}

// vector is the BF16 tensor w = [1, 2], without metadata.
func vector(t testing.TB) []byte {
	b, err := hex.DecodeString("3800000000000000" +
		"7b2277223a7b226474797065223a2242463136222c227368617065223a5b325d2c22646174615f6f666673657473223a5b302c345d7d7d20" +
		"803f0040")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVector(t *testing.T) {
	want := vector(t)
	f, err := readBytes(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(f.Tensors), "[{w BF16 BF16 (2) f.safetensors 64 4 none 0}]"; got != want || f.Metadata != nil {
		t.Errorf("%s, metadata %v; want %s and none", got, f.Metadata, want)
	}
	head, err := makeHeader([]Spec{{"w", tensor.BF16, tensor.Of(2)}}, nil)
	if err != nil || !bytes.Equal(head, want[:64]) {
		t.Errorf("wrote %q, %v", head, err)
	}
	c, err := OpenFile(fstest.MapFS{"v": {Data: want}}, "v")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, _ := c.Tensor("w")
	if h, err := c.ReadF32(w); err != nil || fmt.Sprint(h.Data) != "[1 2]" {
		t.Errorf("%v, %v", h, err)
	}
}

func TestAccepts(t *testing.T) {
	for _, c := range []struct {
		name, header string
		size         int
		want         string // tensors: name dtype raw shape offset-in-data bytes
	}{
		{"no tensors", `{}`, 0, ""},
		{"white space around", " \n{\t} \r\n", 0, ""},
		{"no metadata, as null", `{"__metadata__":null}`, 0, ""},
		{"metadata only", `{"__metadata__":{"format":"pt","n":"1"}}`, 0, ""},
		{"scalar", `{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 4, "s F32 F32 () 0 4;"},
		{"empty dimension", `{"e":{"dtype":"F16","shape":[3,0],"data_offsets":[0,0]}}`, 0, "e F16 F16 (3, 0) 0 0;"},
		{"sorted by offset", `{"a":{"dtype":"I32","shape":[1],"data_offsets":[2,6]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`,
			6, "b DType(255) U8 (2) 0 2;a I32 I32 (1) 2 4;"},
		{"empty between full", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"z":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"e":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}`,
			2, "a DType(255) U8 (1) 0 1;e DType(255) U8 (0) 1 0;z DType(255) U8 (1) 1 1;"},
		{"narrow elements", `{"q":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}}`, 3, "q DType(255) F4 (2, 3) 0 3;"},
		{"unknown field", `{"s":{"dtype":"BOOL","note":{"x":[null]},"shape":[1],"data_offsets":[0,1]}}`, 1, "s DType(255) BOOL (1) 0 1;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := readBytes(raw(c.header, c.size))
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, x := range f.Tensors {
				fmt.Fprintf(&got, "%s %s %s %s %d %d;", x.Name, x.DType, x.RawDType, x.Shape, x.Offset-8-int64(len(c.header)), x.Bytes)
			}
			if got.String() != c.want {
				t.Errorf("got %s want %s", &got, c.want)
			}
		})
	}
}

func TestRejects(t *testing.T) {
	one := func(dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"w":{"dtype":"%s","shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
	}
	two := func(a, b string) string {
		return fmt.Sprintf(`{"a":{"dtype":"U8","shape":[2],"data_offsets":%s},"b":{"dtype":"U8","shape":[2],"data_offsets":%s}}`, a, b)
	}
	prefix := func(n uint64) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), "{}"...) }
	good := one("F32", "[2]", "[0,8]")
	for _, c := range []struct {
		name string
		file []byte
		want error
		says string
	}{
		{"empty file", nil, ErrHeaderTooSmall, "f.safetensors"},
		{"seven bytes", make([]byte, 7), ErrHeaderTooSmall, "7"},
		{"N over the limit", prefix(MaxHeader + 1), ErrHeaderTooLarge, "100000001"},
		{"N over int64", prefix(1<<64 - 1), ErrHeaderTooLarge, "18446744073709551615"},
		{"LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\n"), ErrHeaderTooLarge, "git lfs pull"},
		{"N past the end", prefix(3), ErrHeaderLength, "file of 10"},
		{"not UTF-8", raw("{\"\xff\":1}", 0), ErrHeaderUTF8, ""},
		{"empty header", raw("", 0), ErrHeaderJSON, ""},
		{"not JSON", raw("hello", 0), ErrHeaderJSON, ""},
		{"cut JSON", raw(good[:len(good)-1], 8), ErrHeaderJSON, "unexpected EOF"},
		{"an array", raw("[]", 0), ErrHeaderJSON, ""},
		{"two objects", raw("{}{}", 0), ErrHeaderJSON, "follows"},
		{"trailing comma", raw(`{"__metadata__":{},}`, 0), ErrHeaderJSON, ""},
		{"NUL padding", raw("{}\x00", 0), ErrHeaderJSON, ""},
		{"entry is a number", raw(`{"w":1}`, 0), ErrHeaderJSON, `"w"`},
		{"entry is null", raw(`{"w":null}`, 0), ErrHeaderJSON, `"w"`},
		{"field missing", raw(`{"w":{"dtype":"F32","shape":[0]}}`, 0), ErrHeaderJSON, "data_offsets"},
		{"field case", raw(strings.Replace(good, "dtype", "DType", 1), 8), ErrHeaderJSON, "dtype"},
		{"unknown dtype", raw(one("F31", "[2]", "[0,8]"), 8), ErrHeaderJSON, `"F31"`},
		{"dtype is a number", raw(strings.Replace(good, `"F32"`, "32", 1), 8), ErrHeaderJSON, "32"},
		{"negative dimension", raw(one("F32", "[-2]", "[0,8]"), 8), ErrHeaderJSON, "-2"},
		{"fractional dimension", raw(one("F32", "[2.0]", "[0,8]"), 8), ErrHeaderJSON, "2.0"},
		{"exponent", raw(one("F32", "[2e0]", "[0,8]"), 8), ErrHeaderJSON, "2e0"},
		{"quoted dimension", raw(one("F32", `["2"]`, "[0,8]"), 8), ErrHeaderJSON, ""},
		{"nested dimension", raw(one("F32", `[[2]]`, "[0,8]"), 8), ErrHeaderJSON, ""},
		{"dimension over uint64", raw(one("F32", "[18446744073709551616]", "[0,8]"), 8), ErrHeaderJSON, ""},
		{"shape is a number", raw(one("F32", "2", "[0,8]"), 8), ErrHeaderJSON, ""},
		{"one offset", raw(one("F32", "[2]", "[8]"), 8), ErrHeaderJSON, "want 2"},
		{"metadata is a number", raw(`{"__metadata__":1}`, 0), ErrHeaderJSON, "__metadata__"},
		{"metadata value is a number", raw(`{"__metadata__":{"step":1}}`, 0), ErrHeaderJSON, "step"},
		{"metadata value is null", raw(`{"__metadata__":{"step":null}}`, 0), ErrHeaderJSON, "step"},
		{"duplicate tensor", raw(`{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), ErrDuplicate, `"w"`},
		{"duplicate by escape", raw(`{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0077":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), ErrDuplicate, `"w"`},
		{"duplicate field", raw(`{"w":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), ErrDuplicate, `"dtype"`},
		{"duplicate metadata", raw(`{"__metadata__":{},"__metadata__":{}}`, 0), ErrDuplicate, "__metadata__"},
		{"rank", raw(one("U8", "[1"+strings.Repeat(",1", MaxRank)+"]", "[0,1]"), 1), ErrLimit, "64"},
		{"first begins late", raw(one("F32", "[2]", "[4,12]"), 12), ErrOffsets, `"w"`},
		{"gap", raw(two("[0,2]", "[3,5]"), 5), ErrOffsets, `"b"`},
		{"overlap", raw(two("[0,2]", "[1,3]"), 3), ErrOffsets, `"b"`},
		{"backwards", raw(two("[0,2]", "[2,0]"), 2), ErrOffsets, `"b"`},
		{"elements overflow", raw(one("F32", "[4294967296,4294967296]", "[0,8]"), 8), ErrOverflow, `"w"`},
		{"overflow hidden by a zero", raw(one("F32", "[4294967296,4294967296,0]", "[0,0]"), 0), ErrOverflow, `"w"`},
		{"dimension over int", raw(one("U8", "[0,9223372036854775808]", "[0,0]"), 0), ErrOverflow, `"w"`},
		{"bits overflow", raw(one("F64", "[1152921504606846976]", "[0,8]"), 8), ErrOverflow, `"w"`},
		{"half a byte", raw(one("F4", "[3]", "[0,2]"), 2), ErrMisaligned, `"w"`},
		{"six bits", raw(one("F6_E2M3", "[1]", "[0,1]"), 1), ErrMisaligned, `"w"`},
		{"offsets too wide", raw(one("F32", "[2]", "[0,12]"), 12), ErrTensorSize, "takes 8 bytes"},
		{"offsets lose no bits", raw(one("U8", "[9007199254740992]", "[0,9007199254740993]"), 0), ErrTensorSize, "9007199254740993"},
		{"data cut", raw(good, 7), ErrFileSize, "8 bytes of data expected, 7 present"},
		{"trailing bytes", raw(good, 9), ErrFileSize, "9 present"},
		{"far past the end", raw(one("U8", "[9007199254740993]", "[0,9007199254740993]"), 0), ErrFileSize, "9007199254740993"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readBytes(c.file)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "f.safetensors") {
				t.Fatalf("got %v; want %v, saying %q", err, c.want, c.says)
			}
			for _, other := range []error{ErrHeaderTooSmall, ErrHeaderTooLarge, ErrHeaderLength, ErrHeaderUTF8, ErrHeaderJSON,
				ErrDuplicate, ErrLimit, ErrOffsets, ErrOverflow, ErrMisaligned, ErrTensorSize, ErrFileSize} {
				if other != c.want && errors.Is(err, other) {
					t.Errorf("%v is also %v", err, other)
				}
			}
		})
	}
}

// TestCutAnywhere cuts a good file at every byte, both honestly and with the old size still claimed.
func TestCutAnywhere(t *testing.T) {
	whole := write(t, []Spec{{"a", tensor.F32, tensor.Of(3)}, {"b", tensor.BF16, tensor.Of(2, 2)}}, nil)
	for n := range whole {
		if _, err := readBytes(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes were accepted", n, len(whole))
		}
		f, err := ReadHeader(bytes.NewReader(whole[:n]), int64(len(whole)), "f.safetensors")
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if headerEnd := len(whole) - 20; (f != nil) != (n >= headerEnd) {
			t.Errorf("%d bytes, header ends at %d: %v, %v", n, headerEnd, f, err)
		}
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add(vector(f))
	f.Add(raw(`{"__metadata__":{"format":"pt"},"s":{"dtype":"F4","shape":[2,1],"data_offsets":[0,1]}} `, 1))
	f.Add(raw(`{"a":{"dtype":"F32","shape":[0,4611686018427387904],"data_offsets":[0,0]},"b":{"dtype":"F16","shape":[],"data_offsets":[0,2]}}`, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := readBytes(b)
		if err != nil {
			return
		}
		c, err := OpenFile(fstest.MapFS{"f": {Data: b}}, "f")
		if err != nil {
			t.Fatalf("ReadHeader took what OpenFile refuses: %v", err)
		}
		defer c.Close()
		end := int64(8) + int64(binary.LittleEndian.Uint64(b))
		for _, x := range file.Tensors {
			if x.Offset != end {
				t.Fatalf("%q begins at %d, not at %d", x.Name, x.Offset, end)
			}
			end += x.Bytes
			x, ok := c.Tensor(x.Name)
			if !ok {
				t.Fatalf("%q is lost", x.Name)
			}
			if h, err := c.ReadF32(x); x.DType.IsFloat() && (err != nil || len(h.Data)*x.DType.Size() != int(x.Bytes)) {
				t.Fatalf("%q: %d elements, %v", x.Name, len(h.Data), err)
			}
		}
		if end != int64(len(b)) {
			t.Fatalf("tensors end at %d of %d", end, len(b))
		}
	})
}
