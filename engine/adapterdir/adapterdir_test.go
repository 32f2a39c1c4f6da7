package adapterdir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// TestRespell holds spellings that public reports and the tools name against PEFT's.
func TestRespell(t *testing.T) {
	const q = "base_model.model.model.layers.0.self_attn.q_proj"
	for _, c := range []struct{ key, want, adapter string }{
		{q + ".lora_A.weight", q + ".lora_A.weight", ""},
		{q + ".lora_A.default.weight", q + ".lora_A.weight", "default"},
		{q + ".lora_B.my.adapter.weight", q + ".lora_B.weight", "my.adapter"},
		{q + ".lora_B.default.bias", q + ".lora_B.bias", "default"},
		{q + ".lora_B.bias", q + ".lora_B.bias", ""},
		{"base_model.model.layers.0.self_attn.q_proj.lora_A.weight", q + ".lora_A.weight", ""},
		{"model.layers.0.self_attn.q_proj.lora_A.weight", q + ".lora_A.weight", ""},
		{"layers.0.self_attn.q_proj.lora_A.weight", q + ".lora_A.weight", ""},
		{"module.base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", q + ".lora_A.weight", ""},
		{"_orig_mod.base_model.model.model.layers.0._checkpoint_wrapped_module.self_attn.q_proj.lora_A.default.weight", q + ".lora_A.weight", "default"},
		{q + ".lora_magnitude_vector", q + ".lora_magnitude_vector", ""},
		{q + ".lora_magnitude_vector.weight", q + ".lora_magnitude_vector", ""},
		{q + ".lora_magnitude_vector.default.weight", q + ".lora_magnitude_vector", "default"},
		{q + ".lora_magnitude_vector.default", q + ".lora_magnitude_vector", "default"},
		{q + ".ia3_l", q + ".ia3_l", ""},
		{q + ".ia3_l.default", q + ".ia3_l", "default"},
		{q + ".base_layer.bias", q + ".base_layer.bias", ""},
		{"base_model.model.model.embed_tokens.lora_embedding_A", "base_model.model.model.embed_tokens.lora_embedding_A", ""},
		{"base_model.model.model.embed_tokens.lora_embedding_B.default", "base_model.model.model.embed_tokens.lora_embedding_B", "default"},
		{"base_model.model.lm_head.weight", "base_model.model.lm_head.weight", ""},
		{"lm_head.weight", "base_model.model.lm_head.weight", ""},
		{"base_model.model.lm_head.modules_to_save.default.weight", "base_model.model.lm_head.weight", "default"},
		{"base_model.model.lm_head.original_module.weight", "base_model.model.lm_head.base_layer.weight", ""},
		{"base_model.model.score.modules_to_save.default.weight", "base_model.model.score.weight", "default"},
		{"base_model.model.model.norm.weight", "base_model.model.model.norm.weight", ""},
		{"prompt_embeddings", "prompt_embeddings", ""},
		{"base_model.model.model.layers.3.self_attn.adaption_gate", "base_model.model.model.layers.3.self_attn.adaption_gate", ""},
		{"transformer.h.0.attn.c_attn.lora_A.weight", "transformer.h.0.attn.c_attn.lora_A.weight", ""},
		{"", "", ""},
		{"model", "model", ""},
	} {
		if got, adapter := respell(c.key); got != c.want || adapter != c.adapter {
			t.Errorf("%q is %q of %q, want %q of %q", c.key, got, adapter, c.want, c.adapter)
		}
	}
}

func TestRespellAll(t *testing.T) {
	const q = "base_model.model.model.layers.0.self_attn.q_proj"
	got, err := respellAll([]string{q + ".lora_A.weight", q + ".bias", "base_model.model.model.layers.0.self_attn.o_proj.bias"})
	if err != nil || got[q+".bias"] != q+".base_layer.bias" || got["base_model.model.model.layers.0.self_attn.o_proj.bias"] != "base_model.model.model.layers.0.self_attn.o_proj.bias" {
		t.Errorf("biases: %v, %v", got, err)
	}
	for _, c := range []struct {
		keys []string
		want string
	}{
		{[]string{q + ".lora_A.a.weight", q + ".lora_A.b.weight"}, "several adapters (a, b)"},
		{[]string{q + ".lora_A.weight", q + ".lora_A.default.weight"}, "two spellings of one tensor"},
	} {
		if _, err := respellAll(c.keys); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want one that says %q", c.keys, err, c.want)
		}
	}
}

// adapter is a folder with tensors whose values count up from the length of their names.
func adapter(t testing.TB, file, config string, shapes map[string]tensor.Shape) fstest.MapFS {
	t.Helper()
	var specs []weights.Spec
	for name, s := range shapes {
		specs = append(specs, weights.Spec{Name: name, Shape: s})
	}
	var b bytes.Buffer
	w, err := weights.NewWriter(&b, specs, map[string]string{"step": "7"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Order() {
		if err := w.WriteF32(s.Name, count(s.Name, s.Shape.Size())); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"adapter_config.json": {Data: []byte(config)}, file: {Data: b.Bytes()}}
}

func count(name string, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(len(name) + i)
	}
	return x
}

func read(t *testing.T, fsys fs.FS) *weights.Checkpoint {
	t.Helper()
	c, err := weights.OpenFile(fsys, "adapter_model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestOpen(t *testing.T) {
	const q = "base_model.model.model.layers.0.self_attn.q_proj"
	keys := []string{q + ".lora_A.default.weight", q + ".lora_B.default.weight"}
	fsys := adapter(t, "adapter_model.safetensors", "{}", map[string]tensor.Shape{keys[0]: tensor.Of(2, 3), keys[1]: tensor.Of(5, 2)})
	opened, remarks, err := Open(fsys)
	if err != nil || len(remarks) != 1 || remarks[0].Code != "adapter_respelled" || !strings.Contains(remarks[0].Message, q+".lora_A.weight") {
		t.Fatal(remarks, err)
	}
	c := read(t, opened)
	if got := c.Names(); !slices.Equal(got, []string{q + ".lora_A.weight", q + ".lora_B.weight"}) || c.Files[0].Metadata["step"] != "7" {
		t.Errorf("names %v, metadata %v", got, c.Files[0].Metadata)
	}
	for i, name := range c.Names() {
		x, _ := c.Tensor(name)
		h, err := c.ReadF32(x)
		if want := count(keys[i], x.Shape.Size()); err != nil || !slices.Equal(h.Data, want) {
			t.Errorf("%s: %v, %v, want %v", name, h.Data, err, want)
		}
	}

	plain := adapter(t, "adapter_model.safetensors", "{}", map[string]tensor.Shape{q + ".lora_A.weight": tensor.Of(2, 3)})
	if opened, remarks, err := Open(plain); err != nil || remarks != nil || fmt.Sprintf("%T", opened) != fmt.Sprintf("%T", plain) {
		t.Errorf("PEFT's own folder: %T, %v, %v", opened, remarks, err)
	}
	prefix := adapter(t, "adapter_model.safetensors", `{"peft_type": "PREFIX_TUNING"}`, map[string]tensor.Shape{"base_model.model.norm.weight": tensor.Of(2), "prompt_embeddings": tensor.Of(2, 3)})
	if opened, remarks, err := Open(prefix); err != nil || remarks != nil || fmt.Sprintf("%T", opened) != fmt.Sprintf("%T", prefix) {
		t.Errorf("a prefix, whose method does not wrap modules: %T, %v, %v", opened, remarks, err)
	}
	for _, incomplete := range []fstest.MapFS{{}, {"adapter_config.json": {Data: []byte("{}")}}, {"adapter_config.json": {Data: []byte("{}")}, "adapter_model.safetensors": {Data: []byte("x")}}} {
		if _, remarks, err := Open(incomplete); err != nil || remarks != nil {
			t.Errorf("%v: %v, %v", incomplete, remarks, err)
		}
	}
	below := fstest.MapFS{}
	for name, f := range plain {
		below["default/"+name] = f
	}
	if _, _, err := Open(below); err == nil || !strings.Contains(err.Error(), "in default below it") {
		t.Errorf("an adapter in a folder of its own: %v", err)
	}
}

func TestMLX(t *testing.T) {
	a, b := "model.layers.1.self_attn.q_proj.lora_a", "model.layers.1.self_attn.q_proj.lora_b"
	shapes := map[string]tensor.Shape{a: tensor.Of(3, 2), b: tensor.Of(2, 5)}
	for _, file := range []string{"adapters.safetensors", "adapter_model.safetensors"} {
		fsys := adapter(t, file, `{"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 2, "scale": 4.5, "dropout": 0.25, "keys": ["self_attn.q_proj"]}}`, shapes)
		opened, remarks, err := Open(fsys)
		if err != nil || len(remarks) != 1 || remarks[0].Code != "adapter_mlx" {
			t.Fatal(remarks, err)
		}
		c := read(t, opened)
		const q = "base_model.model.model.layers.1.self_attn.q_proj"
		for name, want := range map[string]struct {
			shape tensor.Shape
			of    string
		}{q + ".lora_A.weight": {tensor.Of(2, 3), a}, q + ".lora_B.weight": {tensor.Of(5, 2), b}} {
			x, ok := c.Tensor(name)
			if !ok || !x.Shape.Equal(want.shape) {
				t.Fatalf("%s: %v, %v", name, x.Shape, c.Names())
			}
			h, err := c.ReadF32(x)
			if err != nil {
				t.Fatal(err)
			}
			from := count(want.of, x.Shape.Size())
			for i := range x.Shape[0] {
				for j := range x.Shape[1] {
					if h.Data[i*x.Shape[1]+j] != from[j*x.Shape[0]+i] {
						t.Errorf("%s is not transposed: %v of %v", name, h.Data, from)
					}
				}
			}
		}
		raw, err := fs.ReadFile(opened, "adapter_config.json")
		if err != nil {
			t.Fatal(err)
		}
		var config struct {
			Type    string   `json:"peft_type"`
			R       int      `json:"r"`
			Alpha   float64  `json:"lora_alpha"`
			Dropout float64  `json:"lora_dropout"`
			Targets []string `json:"target_modules"`
			DoRA    bool     `json:"use_dora"`
		}
		if err := json.Unmarshal(raw, &config); err != nil || config.Type != "LORA" || config.R != 2 || config.Alpha != 9 || config.Dropout != 0.25 || config.DoRA ||
			!slices.Equal(config.Targets, []string{"model.layers.1.self_attn.q_proj"}) {
			t.Errorf("%+v, %v", config, err)
		}
	}
	for config, want := range map[string]string{
		`{"fine_tune_type": "full"}`:        `fine_tune_type "full"`,
		`{"lora_parameters": {"rank": 8}}`:  "rank is 8, the pairs have rank 2",
		`{"lora_parameters": {"rank": ""}}`: "adapter_config.json",
	} {
		if _, _, err := Open(adapter(t, "adapters.safetensors", config, shapes)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "MLX") {
			t.Errorf("%s: error %v, want one that says %q", config, err, want)
		}
	}
	shapes["model.layers.1.mlp.weight"] = tensor.Of(1)
	if _, _, err := Open(adapter(t, "adapters.safetensors", "{}", shapes)); err == nil || !strings.Contains(err.Error(), "none of lora_a, lora_b and m") {
		t.Errorf("a tensor of another kind: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	fsys := adapter(f, "adapter_model.safetensors", "", map[string]tensor.Shape{"model.layers.1.self_attn.q_proj.lora_a": tensor.Of(3, 2), "model.layers.1.self_attn.q_proj.lora_b": tensor.Of(2, 5)})
	f.Add([]byte(`{"lora_parameters": {"rank": 2}}`), fsys["adapter_model.safetensors"].Data)
	fsys = adapter(f, "adapter_model.safetensors", "", map[string]tensor.Shape{"base_model.model.lm_head.modules_to_save.default.weight": tensor.Of(1), "x.lora_A.default.weight": tensor.Of(2, 0)})
	f.Add([]byte(`{}`), fsys["adapter_model.safetensors"].Data)
	f.Fuzz(func(t *testing.T, config, data []byte) {
		opened, _, err := Open(fstest.MapFS{"adapter_config.json": {Data: config}, "adapter_model.safetensors": {Data: data}})
		if err != nil {
			return
		}
		before, err := weights.OpenFile(fstest.MapFS{"f": {Data: data}}, "f")
		if err != nil {
			return
		}
		after, err := weights.OpenFile(opened, "adapter_model.safetensors")
		if err != nil {
			t.Fatalf("a file that was read no longer is: %v", err)
		}
		if len(before.Names()) != len(after.Names()) {
			t.Fatalf("%v became %v", before.Names(), after.Names())
		}
	})
}
