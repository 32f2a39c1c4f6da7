//go:build !js

package job_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/engine/weights"
)

// trainedPair is the built-in model and an adapter for it with one rank.
func trainedPair(t *testing.T, change func(config string) string) (model, adapter fstest.MapFS) {
	t.Helper()
	model = folderOf(t, "../../testdata/builtin/models/tales")
	adapter = randomLoRA(t, model)
	config := string(adapter["adapter_config.json"].Data)
	adapter["adapter_config.json"] = &fstest.MapFile{Data: []byte(change(config))}
	return model, adapter
}

// An adapter written for mlx-lm is read back as the same adapter, although its pairs have different alphas.
func TestMLXAdapterComesBack(t *testing.T) {
	model, adapter := trainedPair(t, func(config string) string {
		return strings.NewReplacer(`"rank_pattern": {"up_proj": 6}, `, "", `"up_proj", `, "").Replace(config)
	})
	adapter["adapter_model.safetensors"] = &fstest.MapFile{Data: withoutTensors(t, adapter["adapter_model.safetensors"].Data, "up_proj")}
	files := func(adapter fstest.MapFS) report.Files { return report.Files{Model: model, Adapter: adapter} }
	e := message.ExportJob{Format: "mlx"}
	written := must(t, &job.Job{Job: message.Job{Command: message.Export, Export: &e}, Files: files(adapter), Host: newHost(), Open: reference}).folder("")
	var config struct {
		Kind       string `json:"fine_tune_type"`
		Layers     int    `json:"num_layers"`
		Parameters struct{ Keys []string }
	}
	if err := json.Unmarshal(written["adapter_config.json"].Data, &config); err != nil || config.Kind != "lora" || config.Layers != 5 {
		t.Errorf("adapter_config.json: %+v, %v", config, err)
	}
	data := lines(`{"text": "Once upon a time there was a dog."}` + "\n")
	near(t, "as MLX", []float64{evaluate(t, model, written, data)}, []float64{evaluate(t, model, adapter, data)}, 1e-6)
	if evaluate(t, model, nil, data) == evaluate(t, model, adapter, data) {
		t.Error("the adapter changes nothing")
	}
}

// A merged model in another number format computes the same within its rounding.
func TestMergedTypes(t *testing.T) {
	model, adapter := trainedPair(t, func(config string) string { return config })
	data := lines(`{"text": "Once upon a time there was a dog."}` + "\n")
	want := evaluate(t, model, adapter, data)
	for dtype, bound := range map[string]float64{"f32": 1e-6, "f16": 2e-3, "bf16": 2e-2} {
		e := message.ExportJob{Format: "merged", DType: dtype}
		written := must(t, &job.Job{Job: message.Job{Command: message.Export, Export: &e}, Files: report.Files{Model: model, Adapter: adapter}, Host: newHost(), Open: reference}).folder("")
		near(t, dtype, []float64{evaluate(t, written, nil, data)}, []float64{want}, bound)
		if name := map[string]string{"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[dtype]; !strings.Contains(string(written["config.json"].Data), name) {
			t.Errorf("%s: config.json does not say %s", dtype, name)
		}
	}
}

// What a form cannot express is refused by name, with what to do instead.
func TestExportRefuses(t *testing.T) {
	model, adapter := trainedPair(t, func(config string) string { return config })
	sliding := fstest.MapFS{}
	for name, f := range model {
		sliding[name] = f
	}
	sliding["config.json"] = &fstest.MapFile{Data: []byte(strings.NewReplacer("LlamaForCausalLM", "MistralForCausalLM", `"model_type": "llama"`, `"model_type": "mistral", "sliding_window": 64`).
		Replace(string(model["config.json"].Data)))}
	other := fstest.MapFS{}
	for name, f := range model {
		other[name] = f
	}
	other["tokenizer.json"] = &fstest.MapFile{Data: []byte(strings.Replace(string(model["tokenizer.json"].Data), `"pre_tokenizer": {`,
		`"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Punctuation"}, {"type": "ByteLevel", "add_prefix_space": false}]}, "unused": {`, 1))}
	for name, c := range map[string]struct {
		model, adapter fstest.MapFS
		e              message.ExportJob
		words          []string
	}{
		"two ranks as MLX":        {model, adapter, message.ExportJob{Format: "mlx"}, []string{"rank"}},
		"a window":                {sliding, nil, message.ExportJob{Format: "gguf"}, []string{"sliding", "64"}},
		"an unknown pre-splitter": {other, nil, message.ExportJob{Format: "gguf"}, []string{"pre-tokenizer", "Punctuation"}},
		"an unknown type":         {model, nil, message.ExportJob{Format: "gguf", DType: "q2_k"}, []string{"q2_k"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := report.Files{Model: c.model}
			if c.adapter != nil {
				files.Adapter = c.adapter
			}
			mustFail(t, &job.Job{Job: message.Job{Command: message.Export, Export: &c.e}, Files: files, Host: newHost()}, "export", 2, c.words...)
		})
	}
}

// withoutTensors is a safetensors file without the tensors whose names hold a part.
func withoutTensors(t *testing.T, file []byte, part string) []byte {
	t.Helper()
	c, err := weights.OpenFile(fstest.MapFS{"x": {Data: file}}, "x")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var specs []weights.Spec
	values := map[string][]float32{}
	for _, name := range c.Names() {
		if strings.Contains(name, part) {
			continue
		}
		info, _ := c.Tensor(name)
		h, err := c.ReadF32(info)
		if err != nil {
			t.Fatal(err)
		}
		specs, values[name] = append(specs, weights.Spec{Name: name, DType: info.DType, Shape: info.Shape}), h.Data
	}
	return safetensorsOf(t, specs, values)
}
