package job_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/plan"
	"llamatab/engine/quant"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// quantizable is a model whose matrices fit every format.
const quantizable = `{"architectures": ["LlamaForCausalLM"], "vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
	"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": true}`

// A run over a quantised base is, to the bit, the run over a base whose files hold what the quantised weights stand for: for each
// format, with every method, and with checkpointing.
func TestQuantizedBaseIsTheUnpackedBase(t *testing.T) {
	m, err := plan.Describe("tiny", []byte(quantizable))
	if err != nil {
		t.Fatal(err)
	}
	base := folder(t, m)
	for _, c := range []struct {
		name   string
		format quant.Format
		sets   []string
	}{
		{"int8, LoRA", quant.Int8, []string{`quantization="int8"`, lora}},
		{"nf4, DoRA", quant.NF4, []string{`quantization="nf4"`, `peft={"peft_type": "LORA", "r": 2, "use_dora": true}`, `training.gradient_checkpointing=true`}},
		{"nf4 with double quantisation, LoRA", quant.NF4Double, []string{`quantization={"type": "nf4", "double_quant": true}`, lora}},
		{"q4_0, prefix", quant.PackedQ4_0, []string{`quantization="q4_0"`, `peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}`}},
		{"q8_0, IA3", quant.PackedQ8_0, []string{`quantization="q8_0"`, `peft={"peft_type": "IA3"}`}},
		{"q8_0, prompt", quant.PackedQ8_0, []string{`quantization="q8_0"`, `peft={"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3}`}},
		{"int8, LLaMA-Adapter", quant.Int8, []string{`quantization="int8"`, `peft={"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 2}`}},
		{"nf4, the last block", quant.NF4, []string{`quantization="nf4"`, `trainable=["layers:last:1"]`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			last := c.name == "nf4, the last block"
			unpacked := rewritten(t, base, func(name string, x []float32, shape tensor.Shape) {
				if len(shape) != 2 || name == "model.embed_tokens.weight" || last && strings.Contains(name, "layers.2.") {
					return
				}
				packed, err := c.format.Pack(x, shape[0], shape[1])
				if err != nil {
					t.Fatal(err)
				}
				c.format.UnpackBytes(x, packed, shape[0], shape[1])
			})
			data := rows(9, 7, 12)
			sets := append(slices.Clone(c.sets[1:]), steps(4))
			plain := must(t, newJob(t, report.Files{Model: unpacked, Dataset: data}, sets...))
			packed := must(t, newJob(t, report.Files{Model: base, Dataset: data}, append(sets, c.sets[0])...))
			if got, want := packed.losses(), plain.losses(); !slices.Equal(got, want) {
				t.Errorf("losses %v, over the unpacked base %v", got, want)
			}
			for name, want := range plain.files {
				if got := packed.files[name]; !bytes.Equal(got, want) && name == "adapter/adapter_model.safetensors" {
					t.Errorf("%s differs", name)
				}
			}
			if a, b := packed.summary(t).Allocated["weights"], plain.summary(t).Allocated["weights"]; a >= b {
				t.Errorf("the quantised base takes %d bytes, the plain one %d", a, b)
			}
		})
	}
}

// rewritten is a model folder with other values.
func rewritten(t *testing.T, model fstest.MapFS, change func(name string, x []float32, shape tensor.Shape)) fstest.MapFS {
	t.Helper()
	c, err := weights.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var specs []weights.Spec
	values := map[string][]float32{}
	for _, name := range c.Names() {
		tensor, _ := c.Tensor(name)
		h, err := c.ReadF32(tensor)
		if err != nil {
			t.Fatal(err)
		}
		change(name, h.Data, h.Shape)
		specs, values[name] = append(specs, weights.Spec{Name: name, Shape: h.Shape}), h.Data
	}
	return fstest.MapFS{"config.json": model["config.json"], "model.safetensors": {Data: safetensors(t, specs, values, nil)}}
}

// Full training has nothing to quantise, which it says.
func TestQuantizationNeedsFrozenWeights(t *testing.T) {
	m, err := plan.Describe("tiny", []byte(quantizable))
	if err != nil {
		t.Fatal(err)
	}
	files := report.Files{Model: folder(t, m), Dataset: rows(9)}
	mustFail(t, newJob(t, files, `trainable=["all"]`, `quantization="nf4"`), "config", 2, "quantization", "nf4", "frozen")
}
