package gguf_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/gguf"
	"llamatab/engine/gguf/gguftest"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
	"llamatab/engine/tokenizer"
	"llamatab/engine/weights"
)

const (
	golden = "../../testdata/golden/tiny/"
	tales  = "../../testdata/builtin/models/tales"
)

// folder shows the bytes of one file as a model's folder.
func folder(t *testing.T, file []byte) fs.FS {
	t.Helper()
	f, err := gguf.Open(fstest.MapFS{"m.gguf": {Data: file}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func checkpoint(t *testing.T, fsys fs.FS) *weights.Checkpoint {
	t.Helper()
	c, err := weights.Open(fsys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// The weights of each architecture come back under their names and in their order, in chunks of any size, rounded as the type rounds.
func TestWeightsOfEachArchitecture(t *testing.T) {
	for _, model := range []string{golden + "model", golden + "biased", golden + "mistral_window", golden + "qwen2", golden + "qwen3", tales} {
		from := os.DirFS(model)
		want := checkpoint(t, from)
		types := []gguf.TensorType{gguf.F32, gguf.F16, gguf.BF16}
		if model == tales {
			types = append(types, gguf.Q8_0, gguf.Q4_0)
		}
		for _, kind := range types {
			got := checkpoint(t, folder(t, gguftest.Convert(from, kind, "gpt-2")))
			if !slices.Equal(got.Names(), want.Names()) {
				t.Fatalf("%s: tensors %v, want %v", model, got.Names(), want.Names())
			}
			for _, name := range want.Names() {
				a, _ := want.Tensor(name)
				b, _ := got.Tensor(name)
				x, err := want.ReadF32(a)
				if err != nil {
					t.Fatal(err)
				}
				y, err := got.ReadF32(b)
				if err != nil || !b.Shape.Equal(a.Shape) {
					t.Fatalf("%s %v: %v, shape %v, want %v", name, kind, err, b.Shape, a.Shape)
				}
				if len(a.Shape) == 2 {
					rounded(x.Data, kind)
				}
				if i := differing(x.Data, y.Data); i >= 0 {
					t.Fatalf("%s, %s as %v: value %d is %v, want %v", model, name, kind, i, y.Data[i], x.Data[i])
				}
				var pieces []float32
				if err := got.ReadChunks(b, 100, func(off int64, chunk []byte) error {
					if int(off) != len(pieces)*b.DType.Size() {
						return fmt.Errorf("offset %d after %d values", off, len(pieces))
					}
					part := make([]float32, len(chunk)/b.DType.Size())
					pieces = append(pieces, part...)
					return tensor.DecodeF32(pieces[len(pieces)-len(part):], chunk, b.DType)
				}); err != nil {
					t.Fatal(err)
				}
				if i := differing(x.Data, pieces); i >= 0 {
					t.Fatalf("%s, %s as %v in small chunks: value %d differs", model, name, kind, i)
				}
				if kind == gguf.F32 {
					if same, err := weights.Same(want, a, got, b); !same && model != tales || err != nil {
						t.Errorf("%s: the tensors are called different (%v)", name, err)
					}
				}
			}
		}
	}
}

// rounded gives values what a type keeps of them.
func rounded(x []float32, t gguf.TensorType) {
	raw := gguftest.Encode(x, t)
	if b := t.Blocks(); b != quant.None {
		if err := quant.Decode(x, raw, b); err != nil {
			panic(err)
		}
		return
	}
	d, _ := t.DType()
	if err := tensor.DecodeF32(x, raw, d); err != nil {
		panic(err)
	}
}

// differing is the first place where two lists differ, −1 for none.
func differing(a, b []float32) int {
	if len(a) != len(b) {
		return 0
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return i
		}
	}
	return -1
}

// Blocks are read row by row in the order of Hugging Face, where the file has another.
func TestReadBlocks(t *testing.T) {
	c := checkpoint(t, folder(t, gguftest.Convert(os.DirFS(tales), gguf.Q8_0, "gpt-2")))
	for _, name := range []string{"model.layers.1.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"} {
		x, _ := c.Tensor(name)
		if x.Blocks != quant.Q8_0 || x.DType != tensor.F32 || (x.Interleaved > 0) != strings.Contains(name, "q_proj") {
			t.Fatalf("tensor %+v", x)
		}
		all, err := c.ReadF32(x)
		if err != nil {
			t.Fatal(err)
		}
		row := x.Shape[1]
		size, _ := x.Blocks.Bytes(row)
		for first := 0; first < x.Shape[0]; first += 3 {
			n := min(3, x.Shape[0]-first)
			raw, got := make([]byte, n*size), make([]float32, n*row)
			if err := c.ReadBlocks(x, first, raw); err != nil {
				t.Fatal(err)
			}
			if err := quant.Decode(got, raw, x.Blocks); err != nil {
				t.Fatal(err)
			}
			if i := differing(got, all.Data[first*row:(first+n)*row]); i >= 0 {
				t.Fatalf("%s, rows from %d on: value %d differs", name, first, i)
			}
		}
		if c.ReadBlocks(x, x.Shape[0], make([]byte, size)) == nil || c.ReadBlocks(x, 0, make([]byte, size-1)) == nil {
			t.Errorf("%s: rows that are not there were read", name)
		}
	}
}

// config.json says what the keys say.
func TestConfig(t *testing.T) {
	for _, c := range []struct {
		model string
		keys  []gguftest.Key
		want  string // keys of config.json
	}{
		{"model", nil, `{"model_type": "llama", "hidden_size": 24, "head_dim": 6, "num_key_value_heads": 2, "rms_norm_eps": 1e-05, "rope_theta": 10000, "tie_word_embeddings": true, "attention_bias": false, "vocab_size": 99, "eos_token_id": [2], "bos_token_id": 1, "max_position_embeddings": 64}`},
		{"biased", nil, `{"attention_bias": true, "mlp_bias": true}`},
		{"mistral_window", nil, `{"architectures": ["MistralForCausalLM"], "sliding_window": 7}`},
		{"qwen2", nil, `{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}`},
		{"qwen3", nil, `{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}`},
		{"model", []gguftest.Key{{Name: "llama.rope.scaling.type", Value: "linear"}, {Name: "llama.rope.scaling.factor", Value: float32(2)}}, `{"rope_scaling": {"rope_type": "linear", "factor": 2}}`},
		{"model", []gguftest.Key{{Name: "llama.rope.scale_linear", Value: float32(4)}}, `{"rope_scaling": {"rope_type": "linear", "factor": 4}}`},
		{"model", []gguftest.Key{{Name: "llama.rope.scaling.type", Value: "yarn"}, {Name: "llama.rope.scaling.factor", Value: float32(4)}, {Name: "llama.rope.scaling.original_context_length", Value: uint32(16)}},
			`{"rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 16}}`},
		{"model", []gguftest.Key{{Name: gguf.KeyEOSIDs, Value: []int32{2, 5, 7}}, {Name: gguf.KeyPadding, Value: uint32(3)}}, `{"eos_token_id": [2, 5, 7], "pad_token_id": 3}`},
	} {
		f := folder(t, gguftest.Convert(os.DirFS(golden+c.model), gguf.F32, "gpt-2", c.keys...))
		var got, want map[string]any
		data, err := fs.ReadFile(f, "config.json")
		if err == nil {
			err = errors.Join(json.Unmarshal(data, &got), json.Unmarshal([]byte(c.want), &want))
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.model == "mistral_window" {
			want["sliding_window"] = windowOf(t, golden+c.model)
		}
		for key, value := range want {
			if !reflect.DeepEqual(got[key], value) {
				t.Errorf("%s %v: %s is %v, want %v", c.model, c.keys, key, got[key], value)
			}
		}
	}
}

// windowOf is the sliding window of a folder's config.json.
func windowOf(t *testing.T, dir string) any {
	var c map[string]any
	data, err := os.ReadFile(dir + "/config.json")
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c["sliding_window"]
}

// Divisors of the rotary frequencies are llama3's scaling where its formula gives them, else they are kept as they are.
func TestRopeFrequencies(t *testing.T) {
	// Llama 3.2: head_dim 64, theta 500000, factor 32, original length 8192; the divisors are worked out from the published formula.
	divisors := make([]float32, 32)
	for j := range divisors {
		wave := 2 * math.Pi * math.Pow(500000, float64(j)/32)
		switch {
		case wave < 8192/4:
			divisors[j] = 1
		case wave > 8192:
			divisors[j] = 32
		default:
			smooth := (8192/wave - 1) / 3
			divisors[j] = float32(1 / ((1-smooth)/32 + smooth))
		}
	}
	config := func(divisors []float32) map[string]any {
		keys := []gguftest.Key{{Name: gguf.KeyArchitecture, Value: "llama"}, {Name: "llama.embedding_length", Value: uint32(64)}, {Name: "llama.block_count", Value: uint32(1)},
			{Name: "llama.feed_forward_length", Value: uint32(32)}, {Name: "llama.attention.head_count", Value: uint32(1)}, {Name: "llama.context_length", Value: uint32(131072)},
			{Name: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)}, {Name: "llama.rope.freq_base", Value: float32(500000)}}
		f := folder(t, gguftest.File(keys, []gguftest.Tensor{
			{Name: "token_embd.weight", Type: gguf.F32, Shape: tensor.Of(2, 64), Data: make([]byte, 512)},
			{Name: gguf.RopeFreqs, Type: gguf.F32, Shape: tensor.Of(32), Data: gguftest.Encode(divisors, gguf.F32)},
		}))
		data, err := fs.ReadFile(f, "config.json")
		var c map[string]any
		if err == nil {
			err = json.Unmarshal(data, &c)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c["rope_scaling"].(map[string]any)
	}
	want := map[string]any{"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192.0}
	if got := config(divisors); !reflect.DeepEqual(got, want) {
		t.Errorf("rope_scaling %v, want %v", got, want)
	}
	divisors[3] = 2
	if got := config(divisors); got["rope_type"] != "longrope" || got["short_factor"].([]any)[3] != 2.0 || got["attention_factor"] != 1.0 {
		t.Errorf("rope_scaling %v, want the divisors themselves", got)
	}
}

var texts = []string{
	"Once upon a time, there was a little girl.", "  two  spaces\n\n\tand a tab ", "don't you'll I've 12345 3.14", "naïve café 你好 🙂 \u00a0x", "<s>hi</s> there",
	"", "\r\nend", "a <0x0A> b", "UPPER lower ſ", "x=1;y+=2 // comment",
}

// A byte-level tokenizer gives the ids of the tokenizer.json that it was made of.
func TestByteLevelTokenizer(t *testing.T) {
	for _, model := range []string{tales, golden + "model"} {
		sameIDs(t, os.DirFS(model), folder(t, gguftest.Convert(os.DirFS(model), gguf.F32, "gpt-2")))
	}
}

func sameIDs(t *testing.T, a, b fs.FS) {
	t.Helper()
	want, err := tokenizer.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tokenizer.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		for _, special := range []bool{true, false} {
			x, err1 := want.Encode(text, special)
			y, err2 := got.Encode(text, special)
			if err1 != nil || err2 != nil || !slices.Equal(x, y) {
				t.Errorf("%q: ids %v, want %v (%v, %v)", text, y, x, err1, err2)
			}
			if p, q := want.Decode(x, true), got.Decode(x, true); p != q {
				t.Errorf("%q: %v decodes to %q, want %q", text, x, q, p)
			}
		}
	}
	if x, y := want.Stops(), got.Stops(); !slices.Equal(x, y) {
		t.Errorf("texts end with %v, want %v", y, x)
	}
}

// A token of many bytes is refused before its merges are looked for, which takes the square of its length.
func TestLongToken(t *testing.T) {
	keys := []gguftest.Key{
		{Name: gguf.KeyArchitecture, Value: "llama"}, {Name: "llama.embedding_length", Value: uint32(4)}, {Name: "llama.block_count", Value: uint32(1)},
		{Name: "llama.feed_forward_length", Value: uint32(4)}, {Name: "llama.attention.head_count", Value: uint32(1)}, {Name: "llama.context_length", Value: uint32(8)},
		{Name: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)}, {Name: gguf.KeyTokenizer, Value: "llama"},
		{Name: gguf.KeyTokens, Value: []string{"", strings.Repeat("a", 8<<20)}}, {Name: gguf.KeyScores, Value: []float32{0, 0}},
	}
	embedding := gguftest.Tensor{Name: "token_embd.weight", Type: gguf.F32, Shape: tensor.Of(1, 4), Data: gguftest.Encode([]float32{1, 2, 3, 4}, gguf.F32)}
	_, err := tokenizer.Open(folder(t, gguftest.File(keys, []gguftest.Tensor{embedding})))
	if err == nil || !strings.Contains(err.Error(), "token 1 has 8388608 bytes") {
		t.Errorf("error %v, want one that names the token", err)
	}
}

// The stem of a file's name is the same for all parts of a model.
func TestStem(t *testing.T) {
	for name, want := range map[string]string{"a-Q8_0.gguf": "a-Q8_0", "a.b-00002-of-00003.gguf": "a.b", "x.GGUF": "x"} {
		if got := gguf.Stem(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What cannot be read is refused by name.
func TestRefused(t *testing.T) {
	from := os.DirFS(golden + "model")
	tiny := func(more ...gguftest.Key) fstest.MapFS {
		return fstest.MapFS{"m.gguf": {Data: gguftest.Convert(from, gguf.F32, "gpt-2", more...)}}
	}
	other := gguftest.File([]gguftest.Key{{Name: gguf.KeyArchitecture, Value: "gemma3"}}, nil)
	for says, fsys := range map[string]fstest.MapFS{
		`"gemma3" is not supported`:         {"m.gguf": {Data: other}},
		"mixture of experts":                tiny(gguftest.Key{Name: "llama.expert_count", Value: uint32(8)}),
		"GGUF adapter":                      tiny(gguftest.Key{Name: gguf.KeyType, Value: "adapter"}),
		"eos_token_ids has 99, and there":   tiny(gguftest.Key{Name: gguf.KeyEOSIDs, Value: []int32{2, 99}}),
		"eos_token_ids has -1, and there":   tiny(gguftest.Key{Name: gguf.KeyEOSIDs, Value: []int32{-1}}),
		"llama.logit_scale":                 tiny(gguftest.Key{Name: "llama.logit_scale", Value: float32(2)}),
		`"longrope", which is not`:          tiny(gguftest.Key{Name: "llama.rope.scaling.type", Value: "longrope"}),
		"2 GGUF models: a.gguf, b.gguf":     {"a.gguf": {Data: other}, "b.gguf": {Data: other}},
		"b-00002-of-00003.gguf, b-00003-of": {"b-00001-of-00003.gguf": {Data: other}},
		"number 2 of 5 of a split model":    {"c.gguf": {Data: gguftest.File([]gguftest.Key{{Name: gguf.KeySplitCount, Value: uint32(5)}, {Name: gguf.KeySplitNo, Value: uint32(1)}}, nil)}},
	} {
		if _, err := gguf.Open(fsys); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
	for says, file := range map[string][]byte{
		`"joyai"`:                 gguftest.Convert(from, gguf.F32, "joyai"),
		"tokenizer.ggml.model is": gguftest.Convert(from, gguf.F32, "gpt-2", gguftest.Key{Name: "x", Value: "y"}),
	} {
		if strings.Contains(says, "model is") {
			file = []byte(strings.Replace(string(file), "\x04\x00\x00\x00\x00\x00\x00\x00gpt2", "\x04\x00\x00\x00\x00\x00\x00\x00bert", 1))
		}
		if _, err := tokenizer.Open(folder(t, file)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
	}
}

// A model may be split over several files, and a folder of safetensors or of nothing is shown as it is.
func TestFolders(t *testing.T) {
	from := os.DirFS(golden + "model")
	whole := folder(t, gguftest.Convert(from, gguf.F32, "gpt-2"))
	if _, err := fs.Stat(whole, "model.safetensors"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder seems to hold safetensors: %v", err)
	}
	for _, plain := range []fs.FS{from, fstest.MapFS{}, fstest.MapFS{"mmproj-x.gguf": {}}, fstest.MapFS{"m.gguf": {}, "model.safetensors": {}}} {
		if same, err := gguf.Open(plain); err != nil || !reflect.DeepEqual(same, plain) {
			t.Errorf("%v is shown as %v (%v)", plain, same, err)
		}
	}
	split := func(no uint32, tensors ...gguftest.Tensor) *fstest.MapFile {
		keys := []gguftest.Key{{Name: gguf.KeySplitCount, Value: uint32(2)}, {Name: gguf.KeySplitNo, Value: no}}
		if no == 0 {
			keys = append(keys, gguftest.Key{Name: gguf.KeyArchitecture, Value: "llama"}, gguftest.Key{Name: "llama.embedding_length", Value: uint32(4)}, gguftest.Key{Name: "llama.block_count", Value: uint32(1)},
				gguftest.Key{Name: "llama.feed_forward_length", Value: uint32(4)}, gguftest.Key{Name: "llama.attention.head_count", Value: uint32(1)}, gguftest.Key{Name: "llama.context_length", Value: uint32(8)},
				gguftest.Key{Name: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)})
		}
		return &fstest.MapFile{Data: gguftest.File(keys, tensors)}
	}
	ones := gguftest.Encode([]float32{1, 2, 3, 4}, gguf.F32)
	f, err := gguf.Open(fstest.MapFS{
		"m-00001-of-00002.gguf": split(0, gguftest.Tensor{Name: "token_embd.weight", Type: gguf.F32, Shape: tensor.Of(1, 4), Data: ones}),
		"m-00002-of-00002.gguf": split(1, gguftest.Tensor{Name: "output_norm.weight", Type: gguf.F32, Shape: tensor.Of(4), Data: ones}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if names := checkpoint(t, f).Names(); !slices.Equal(names, []string{"model.embed_tokens.weight", "model.norm.weight"}) {
		t.Errorf("a split model has the tensors %v", names)
	}
	if _, err := tokenizer.Open(f); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file without a tokenizer: error %v, want one like that of a folder without", err)
	}
}
