package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/tensor"
	"llamatab/engine/testfiles"
)

func file(t testing.TB, names ...string) *fstest.MapFile {
	var specs []Spec
	for _, n := range names {
		specs = append(specs, Spec{n, tensor.F32, tensor.Of(2)})
	}
	return &fstest.MapFile{Data: write(t, specs, nil)}
}

// different is a file with other values.
func different(t testing.TB, names ...string) *fstest.MapFile {
	f := file(t, names...)
	for i := len(f.Data) - 8*len(names); i < len(f.Data); i++ {
		f.Data[i] ^= 1
	}
	return f
}

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestOpen(t *testing.T) {
	const one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	index := text(`{"metadata":{"total_size":24,"total_parameters":6},"weight_map":{"model.a":"` + one + `","model.b":"` + two + `","model.c":"` + one + `"}}`)
	indexOf := func(file string) *fstest.MapFile { return text(`{"weight_map":{"w":"` + file + `"}}`) }
	for _, c := range []struct {
		name  string
		files fstest.MapFS
		want  string // names, then warnings
		err   error
		says  string
	}{
		{name: "single", files: fstest.MapFS{SingleName: file(t, "model.b", "model.a")}, want: "model.a model.b"},
		{name: "without model.", files: fstest.MapFS{SingleName: file(t, "layers.0.mlp.up_proj.weight", "embed_tokens.weight", "norm.weight", "lm_head.weight")},
			want: "lm_head.weight model.embed_tokens.weight model.layers.0.mlp.up_proj.weight model.norm.weight"},
		{name: "of a wrapped model", files: fstest.MapFS{SingleName: file(t, "module.model.layers.0._checkpoint_wrapped_module.mlp.up_proj.weight", "module.model.norm.weight", "module.lm_head.weight", "module.model.rotary")},
			want: "lm_head.weight model.layers.0.mlp.up_proj.weight model.norm.weight module.model.rotary | " +
				"names such as module.lm_head.weight are read as lm_head.weight: the weights were saved from a wrapped model"},
		{name: "of a compiled model", files: fstest.MapFS{SingleName: file(t, "_orig_mod.model.norm.weight")},
			want: "model.norm.weight | names such as _orig_mod.model.norm.weight are read as model.norm.weight: the weights were saved from a wrapped model"},
		{name: "of a PEFT model", files: fstest.MapFS{SingleName: file(t, "base_model.model.model.embed_tokens.weight", "base_model.model.score.weight")},
			want: "model.embed_tokens.weight score.weight | names such as base_model.model.model.embed_tokens.weight are read as model.embed_tokens.weight: the weights were saved from a wrapped model"},
		{name: "one wrapped name beside usual ones", files: fstest.MapFS{SingleName: file(t, "model.norm.weight", "module.model.embed_tokens.weight")},
			want: "model.norm.weight module.model.embed_tokens.weight"},
		{name: "two spellings of one tensor", files: fstest.MapFS{SingleName: file(t, "module.norm.weight", "_orig_mod.norm.weight")},
			want: "_orig_mod.norm.weight module.norm.weight"},
		{name: "shards", files: fstest.MapFS{IndexName: index, one: file(t, "model.a", "model.c"), two: file(t, "model.b")},
			want: "model.a model.b model.c"},
		{name: "single before shards, as in transformers", files: fstest.MapFS{IndexName: index, one: file(t, "model.a", "model.c"), two: file(t, "model.b"), SingleName: file(t, "old")},
			want: "old | model.safetensors and a whole set of 2 shards lie side by side: model.safetensors is read, as in transformers; move it away to read the shards"},
		{name: "index of the single file", files: fstest.MapFS{IndexName: text(`{"weight_map":{"w":"model.safetensors"}}`), SingleName: file(t, "w")}, want: "w"},
		{name: "single wins over a broken set", files: fstest.MapFS{IndexName: index, one: file(t, "model.a", "model.c"), SingleName: file(t, "model.a")},
			want: "model.a | model.safetensors.index.json names model-00002-of-00002.safetensors, which is missing: read model.safetensors instead"},
		{name: "unlisted tensor, wrong total", files: fstest.MapFS{IndexName: index, one: file(t, "model.a", "model.c", "model.d"), two: file(t, "model.b")},
			want: `model.a model.b model.c model.d | model.safetensors.index.json does not list "model.d", which its files hold: read all the same` +
				" | model.safetensors.index.json says 24 bytes of tensors, its files hold 32"},
		{name: "shard missing", files: fstest.MapFS{IndexName: index, one: file(t, "model.a", "model.c")}, err: ErrMissingShard, says: two},
		{name: "tensor in another shard", files: fstest.MapFS{IndexName: index, one: file(t, "model.a"), two: file(t, "model.b", "model.c")},
			want: `model.a model.b model.c | model.safetensors.index.json places "model.c" in other files than those that hold them: read from where they are`},
		{name: "all tensors in other shards", files: fstest.MapFS{IndexName: index, one: file(t, "model.b"), two: file(t, "model.a", "model.c")},
			want: `model.a model.b model.c | model.safetensors.index.json places "model.a", "model.b", "model.c" in other files than those that hold them: read from where they are`},
		{name: "tensor missing", files: fstest.MapFS{IndexName: index, one: file(t, "model.a"), two: file(t, "model.b")},
			err: ErrMissingTensor, says: `"model.c" in ` + one},
		{name: "a head and frequencies may be absent", files: fstest.MapFS{
			IndexName: text(`{"weight_map":{"model.a":"` + one + `","lm_head.weight":"` + one + `","model.layers.0.self_attn.rotary_emb.inv_freq":"` + one + `"}}`), one: file(t, "model.a")},
			want: "model.a"},
		{name: "one tensor in two shards", files: fstest.MapFS{IndexName: index, one: file(t, "model.a", "model.c"), two: file(t, "model.c", "model.b")},
			want: "model.a model.b model.c | model.safetensors.index.json places \"model.c\" in other files than those that hold them: read from where they are" +
				" | model.safetensors.index.json says 24 bytes of tensors, its files hold 32"},
		{name: "one name, two values", files: fstest.MapFS{IndexName: index, one: file(t, "model.a", "model.c"), two: different(t, "model.b", "model.c")},
			err: ErrDuplicate, says: `"model.c" is in ` + one},
		{name: "bad shard", files: fstest.MapFS{IndexName: index, one: text("x"), two: file(t, "model.b")}, err: ErrHeaderTooSmall, says: one},
		{name: "slash", files: fstest.MapFS{IndexName: indexOf("d/f.safetensors")}, err: ErrIndex, says: "d/f"},
		{name: "backslash", files: fstest.MapFS{IndexName: indexOf(`d\\f.safetensors`)}, err: ErrIndex, says: `d\\f`},
		{name: "parent", files: fstest.MapFS{IndexName: indexOf("..")}, err: ErrIndex, says: `".."`},
		{name: "no name", files: fstest.MapFS{IndexName: indexOf("")}, err: ErrIndex, says: `""`},
		{name: "index is not JSON", files: fstest.MapFS{IndexName: text("{"), SingleName: file(t, "w")}, err: ErrIndex},
		{name: "index without a map", files: fstest.MapFS{IndexName: text(`{"metadata":{}}`)}, err: ErrIndex, says: "weight_map"},
		{name: "index with two maps", files: fstest.MapFS{IndexName: text(`{"weight_map":{"w":"a","w":"b"}}`)}, err: ErrDuplicate, says: `"w"`},
		{name: "pickle", files: fstest.MapFS{"pytorch_model.bin": text("x"), "config.json": text("{}")}, err: ErrPickle, says: "save_pretrained"},
		{name: "trainer state is not weights", files: fstest.MapFS{"training_args.bin": text("x")}, err: ErrNoWeights, says: SingleName},
		{name: "nothing", files: fstest.MapFS{}, err: ErrNoWeights, says: IndexName},
		{name: "other names", files: fstest.MapFS{"adapter_model.safetensors": file(t, "w")}, err: ErrNoWeights, says: "adapter_model.safetensors"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ck, err := Open(c.files)
			if c.err != nil {
				if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("got %v; want %v, saying %q", err, c.err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer ck.Close()
			got := strings.Join(ck.Names(), " ")
			for _, r := range ck.Remarks {
				got += " | " + r.Message
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for _, n := range ck.Names() { // each must hold its own bytes, prefixed or not
				x, ok := ck.Tensor(n)
				h, err := ck.ReadF32(x)
				if !ok || x.Name != n || err != nil || len(h.Data) != 2 {
					t.Errorf("%s: %v, %v, %v", n, x, h, err)
				}
			}
		})
	}
}

func TestOpenFile(t *testing.T) {
	fsys := fstest.MapFS{"adapter_model.safetensors": file(t, "layers.0.x"), "d/adapter_model.bin": text("x")}
	c, err := OpenFile(fsys, "adapter_model.safetensors")
	if err != nil || fmt.Sprint(c.Names()) != "[layers.0.x]" || c.Files[0].Metadata["format"] != "pt" {
		t.Fatal(c, err)
	}
	c.Close()
	sub, _ := fs.Sub(fsys, "d")
	if _, err := OpenFile(sub, "adapter_model.safetensors"); !errors.Is(err, ErrPickle) {
		t.Error(err)
	}
	if _, err := OpenFile(fsys, "d"); !errors.Is(err, ErrNotReaderAt) {
		t.Error(err)
	}
	if _, err := OpenFile(wrapFS{fsys, func(f fs.File) fs.File { return struct{ fs.File }{f} }}, "adapter_model.safetensors"); !errors.Is(err, ErrNotReaderAt) {
		t.Error(err)
	}
}

func TestReadF32Widens(t *testing.T) {
	b := raw(`{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[4,8]},`+
		`"f":{"dtype":"F32","shape":[],"data_offsets":[8,12]},"d":{"dtype":"F64","shape":[1],"data_offsets":[12,20]},`+
		`"i":{"dtype":"I32","shape":[1],"data_offsets":[20,24]}}`, 0)
	b = append(b, 0x00, 0x3c, 0x00, 0xc0, 0x80, 0x3f, 0xc0, 0x7f)
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(math.Inf(-1))))
	b = append(b, make([]byte, 12)...)
	c, err := OpenFile(fstest.MapFS{"f": {Data: b}}, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, want := range map[string]string{"h": "[1 -2]", "b": "[1 NaN]", "f": "[-Inf]", "d": "[0]"} {
		x, _ := c.Tensor(name)
		if h, err := c.ReadF32(x); err != nil || fmt.Sprint(h.Data) != want || !h.Shape.Equal(x.Shape) {
			t.Errorf("%s: %v, %v", name, h, err)
		}
	}
	for _, name := range []string{"i"} {
		x, _ := c.Tensor(name)
		if _, err := c.ReadF32(x); !errors.Is(err, ErrNotFloat) || !strings.Contains(err.Error(), `tensor "`+name+`"`) {
			t.Errorf("%s: %v", name, err)
		}
		n := 0
		if err := c.ReadChunks(x, 4, func(_ int64, chunk []byte) error { n += len(chunk); return nil }); err != nil || n != int(x.Bytes) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

// TestF64 reads numbers of eight bytes as F32, whole and in chunks, and says that it does.
func TestF64(t *testing.T) {
	values := []float64{1, -2.5, math.Pi, 1e300, -1e300, 1e-300, math.NaN(), 0x1p-149, 1 + 0x1p-24, 3}
	b := raw(fmt.Sprintf(`{"w":{"dtype":"F64","shape":[2,5],"data_offsets":[0,80]},"v":{"dtype":"F32","shape":[2,5],"data_offsets":[80,120]},`+
		`"u":{"dtype":"F32","shape":[10],"data_offsets":[120,160]},"t":{"dtype":"F32","shape":[2,5],"data_offsets":[160,200]}}`), 0)
	var single []byte
	for _, x := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		single = binary.LittleEndian.AppendUint32(single, math.Float32bits(float32(x)))
	}
	b = append(append(append(b, single...), single...), single...)
	b[len(b)-1] ^= 1
	c, err := OpenFile(fstest.MapFS{"f": {Data: b}}, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, _ := c.Tensor("w")
	if w.DType != tensor.F32 || w.Bytes != 40 || w.CheckFloat() != nil {
		t.Errorf("%+v", w)
	}
	for _, maxBytes := range []int{4, 12, 40, 1 << 20} {
		var got []byte
		if err := c.ReadChunks(w, maxBytes, func(off int64, chunk []byte) error {
			if off != int64(len(got)) || len(chunk) > maxBytes {
				t.Errorf("%d bytes at %d after %d", len(chunk), off, len(got))
			}
			got = append(got, chunk...)
			return nil
		}); err != nil || !bytes.Equal(got, single) {
			t.Errorf("chunks of %d: %x, %v; want %x", maxBytes, got, err, single)
		}
	}
	for name, want := range map[string]bool{"w": true, "v": true, "u": false, "t": false} {
		x, _ := c.Tensor(name)
		for _, pair := range [][2]Tensor{{w, x}, {x, w}} {
			if same, err := c.Same(pair[0], pair[1]); same != want || err != nil {
				t.Errorf("w and %s are the same: %v, %v", name, same, err)
			}
		}
	}
	if len(c.Remarks) != 1 || c.Remarks[0].Code != "weights_f64" || !strings.Contains(c.Remarks[0].Message, `"w": stored as F64`) {
		t.Errorf("remarks %v", c.Remarks)
	}
}

// TestSameInManyChunks compares tensors that are longer than what is read at a time.
func TestSameInManyChunks(t *testing.T) {
	const n = 3*chunkBytes/4 + 5
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(i % 200)
	}
	changed := slices.Clone(values)
	changed[n-1] = 1000
	var b bytes.Buffer
	w, err := NewWriter(&b, []Spec{{"f32", tensor.F32, tensor.Of(n)}, {"bf16", tensor.BF16, tensor.Of(n)}, {"other", tensor.F32, tensor.Of(n)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Order() {
		x := values
		if s.Name == "other" {
			x = changed
		}
		if err := w.WriteF32(s.Name, x); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := OpenFile(fstest.MapFS{"f": {Data: b.Bytes()}}, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, pair := range [][2]string{{"f32", "bf16"}, {"bf16", "f32"}, {"f32", "other"}, {"other", "bf16"}} {
		x, _ := c.Tensor(pair[0])
		y, _ := c.Tensor(pair[1])
		if same, err := c.Same(x, y); err != nil || same != (pair[0] != "other" && pair[1] != "other") {
			t.Errorf("%v: %v, %v", pair, same, err)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":24},"weight_map":{"a":"x.safetensors","b":"y.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x"},"more":[1,{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ix, err := parseIndex(data)
		if err != nil {
			return
		}
		if len(ix.files) == 0 {
			t.Fatal("an index of nothing")
		}
		for _, name := range ix.files {
			if name != filepath.Base(name) || strings.Contains(name, "..") {
				t.Fatalf("%q is not a plain name", name)
			}
		}
	})
}

func TestReadChunks(t *testing.T) {
	data := write(t, []Spec{{"w", tensor.BF16, tensor.Of(11)}, {"v", tensor.F32, tensor.Of(1)}, {"e", tensor.F32, tensor.Of(0)}}, nil)
	c, err := OpenFile(fstest.MapFS{"f": {Data: data}}, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, _ := c.Tensor("w")
	v, _ := c.Tensor("v")
	for maxBytes, want := range map[int]string{4: "0+4 4+4 8+4 12+4 16+4 20+2", 11: "0+8 8+8 16+6", 22: "0+20 20+2", 24: "0+22", 1 << 40: "0+22"} {
		var got []string
		err := c.ReadChunks(w, maxBytes, func(off int64, chunk []byte) error {
			got = append(got, fmt.Sprintf("%d+%d", off, len(chunk)))
			// A read within a read must leave the outer chunk alone.
			if err := c.ReadChunks(v, 8, func(int64, []byte) error { return nil }); err != nil {
				return err
			}
			if !bytes.Equal(chunk, bytes.Repeat([]byte("w"), len(chunk))) {
				t.Errorf("chunk at %d is %q", off, chunk)
			}
			return nil
		})
		if s := strings.Join(got, " "); err != nil || s != want {
			t.Errorf("%d: %s, %v; want %s", maxBytes, s, err, want)
		}
	}
	fail := func(int64, []byte) error { return io.ErrClosedPipe }
	e, _ := c.Tensor("e")
	if err := c.ReadChunks(e, 4, fail); err != nil {
		t.Errorf("an empty tensor has a chunk: %v", err)
	}
	if err := c.ReadChunks(w, 4, fail); err != io.ErrClosedPipe {
		t.Error(err)
	}
	if err := c.ReadChunks(w, 3, fail); err == nil || err == io.ErrClosedPipe {
		t.Error(err)
	}
	if err := c.ReadChunks(Tensor{Name: "x", File: "other", Bytes: 4}, 4, fail); err == nil || err == io.ErrClosedPipe {
		t.Error(err)
	}
	allocs := testing.AllocsPerRun(10, func() { c.ReadChunks(w, 8, func(int64, []byte) error { return nil }) })
	if allocs > 1 {
		t.Errorf("%v allocations a read", allocs)
	}
}

// TestShortRead opens a file that shrinks before its tensors are read.
func TestShortRead(t *testing.T) {
	whole := file(t, "a", "b")
	cut := int64(len(whole.Data) - 3)
	fsys := wrapFS{fstest.MapFS{"f": whole}, func(f fs.File) fs.File { return &cutFile{f, cut} }}
	c, err := OpenFile(fsys, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, _ := c.Tensor("b")
	_, err = c.ReadF32(b)
	want := fmt.Sprintf(`weights: f: tensor "b": read 5 of 8 bytes at offset %d: unexpected EOF`, b.Offset)
	if err == nil || err.Error() != want || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want %s", err, want)
	}
}

type wrapFS struct {
	fs.FS
	wrap func(fs.File) fs.File
}

func (w wrapFS) Open(name string) (fs.File, error) {
	f, err := w.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return w.wrap(f), nil
}

// cutFile claims its full size but ends at cut.
type cutFile struct {
	fs.File
	cut int64
}

func (f *cutFile) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(f.File.(io.ReaderAt), 0, f.cut).ReadAt(p, off)
}

func TestSplit(t *testing.T) {
	var specs []Spec
	for _, n := range []int{1, 2, 9, 1, 1, 1} { // ×4 bytes
		specs = append(specs, Spec{fmt.Sprint("t", len(specs)), tensor.F32, tensor.Of(n)})
	}
	for _, c := range []struct {
		max  int64
		want string
	}{
		{60, "model.safetensors:6"},
		{16, "model-00001-of-00003.safetensors:2 model-00002-of-00003.safetensors:1 model-00003-of-00003.safetensors:3"},
		{12, "model-00001-of-00003.safetensors:2 model-00002-of-00003.safetensors:1 model-00003-of-00003.safetensors:3"},
		{59, "model-00001-of-00002.safetensors:5 model-00002-of-00002.safetensors:1"},
	} {
		var got []string
		shards := Split(specs, c.max)
		fsys := fstest.MapFS{}
		for _, s := range shards {
			got = append(got, fmt.Sprintf("%s:%d", s.Name, len(s.Specs)))
			fsys[s.Name] = &fstest.MapFile{Data: write(t, s.Specs, nil)}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%d: %s, want %s", c.max, s, c.want)
		}
		var index bytes.Buffer
		if err := WriteIndex(&index, shards); err != nil {
			t.Fatal(err)
		}
		fsys[IndexName] = &fstest.MapFile{Data: index.Bytes()}
		ck, err := Open(fsys) // what is written must open again, with no warning about the total
		if err != nil {
			t.Fatal(err)
		}
		if len(ck.Names()) != len(specs) || len(ck.Remarks) > 0 || len(ck.Files) != len(shards) {
			t.Errorf("%d: %v, %v", c.max, ck.Names(), ck.Remarks)
		}
		ck.Close()
	}
	if err := WriteIndex(io.Discard, []Shard{{"a", specs[:1], 4}, {"b", specs[:1], 4}}); !errors.Is(err, ErrDuplicate) {
		t.Error(err)
	}
	if s := Split(nil, ShardBytes); len(s) != 1 || s[0].Name != SingleName {
		t.Error(s)
	}
}

// TestStories reads one small model that was saved in three ways.
func TestStories(t *testing.T) {
	single := openShared(t, "stories260k")
	if len(single.Names()) != 47 {
		t.Errorf("%d tensors", len(single.Names()))
	}
	sharded, bf16 := openShared(t, "stories260k-sharded"), openShared(t, "stories260k-bf16")
	for _, other := range []*Checkpoint{sharded, bf16} {
		if !slices.Equal(other.Names(), single.Names()) || len(other.Remarks) > 0 {
			t.Fatalf("%v, %v", other.Names(), other.Remarks)
		}
	}
	for _, name := range single.Names() {
		want := readShared(t, single, name)
		got, half := readShared(t, sharded, name), readShared(t, bf16, name)
		if !got.Shape.Equal(want.Shape) || !slices.Equal(got.Data, want.Data) {
			t.Errorf("%s: the shards hold other values", name)
		}
		for i, f := range want.Data {
			if half.Data[i] != tensor.F32FromBF16(tensor.BF16FromF32(f)) {
				t.Errorf("%s[%d]: %v in BF16, %v in F32", name, i, half.Data[i], f)
				break
			}
		}
	}
}

func openShared(t *testing.T, model string) *Checkpoint {
	t.Helper()
	c, err := Open(os.DirFS(testfiles.Shared(t, "models/"+model)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func readShared(t *testing.T, c *Checkpoint, name string) tensor.Host {
	t.Helper()
	x, ok := c.Tensor(name)
	h, err := c.ReadF32(x)
	if !ok || err != nil {
		t.Fatal(name, ok, err)
	}
	return h
}
