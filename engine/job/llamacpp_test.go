//go:build !js

package job_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/gguf"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/quant"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/testfiles"
	"llamatab/engine/tokenizer"
	"llamatab/engine/weights"
)

const llamaCpp = "../export/references"

// question is what llama.cpp is asked about one model, answered in the fields of seen.
type question struct {
	name    string
	Model   string   `json:"model"`
	Lora    string   `json:"lora"`
	Texts   []string `json:"texts"`
	Prompts [][]int  `json:"prompts"`
	Stops   []int    `json:"stops"`
	Tokens  int      `json:"tokens"`
}

type seen struct {
	Error        string  `json:"error"`
	IDs          [][]int `json:"ids"`
	Architecture string  `json:"architecture"`
	Template     string  `json:"template"`
	BOS          *int    `json:"bos"`
	EOS          *int    `json:"eos"`
	PrependsBOS  bool    `json:"prependsBOS"`
	Stops        []bool  `json:"stops"`
	Outputs      [][]int `json:"outputs"`
}

// askLlamaCpp opens models with llama.cpp. It skips the test where its program is not there for this system.
func askLlamaCpp(t *testing.T, questions []question) []seen {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the tests have llama.cpp for Linux on x64 only")
	}
	if _, err := os.Stat(filepath.Join(llamaCpp, "node_modules")); err != nil {
		t.Skip("llama.cpp is not installed: make llamacpp")
	}
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	cmd := exec.Command("node", "llamacpp.mjs")
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = llamaCpp, bytes.NewReader(in), &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("node: %v\n%s\n%s", err, problems.String(), out.String())
	}
	var answers []seen
	if err := json.Unmarshal(out.Bytes(), &answers); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

var llamaTexts = []string{
	"Once upon a time", " two  spaces and\ta tab", "Lily said, \"I don't know!\"", "1234 and 5.6 or 2024-11-29", "line\nbreak\n\n\nthree",
	"Ünïcödé, 中文 and 😀", "", "a", "   ", "The end.</s> and <s>more",
}

// randomLoRA is an adapter for all projections of a model, with two ranks and two alphas.
func randomLoRA(t *testing.T, model fstest.MapFS) fstest.MapFS {
	t.Helper()
	var c struct {
		Layers int  `json:"num_hidden_layers"`
		Hidden int  `json:"hidden_size"`
		Inner  int  `json:"intermediate_size"`
		Heads  int  `json:"num_attention_heads"`
		KV     int  `json:"num_key_value_heads"`
		Dim    *int `json:"head_dim"`
	}
	if err := json.Unmarshal(model["config.json"].Data, &c); err != nil {
		t.Fatal(err)
	}
	dim := c.Hidden / c.Heads
	if c.Dim != nil {
		dim = *c.Dim
	}
	r := rand.New(rand.NewPCG(3, 4))
	values := map[string][]float32{}
	var specs []weights.Spec
	for i := range c.Layers {
		for path, size := range map[string][2]int{
			"self_attn.q_proj": {c.Heads * dim, c.Hidden}, "self_attn.k_proj": {c.KV * dim, c.Hidden}, "self_attn.v_proj": {c.KV * dim, c.Hidden},
			"self_attn.o_proj": {c.Hidden, c.Heads * dim}, "mlp.gate_proj": {c.Inner, c.Hidden}, "mlp.up_proj": {c.Inner, c.Hidden}, "mlp.down_proj": {c.Hidden, c.Inner},
		} {
			rank := 4
			if path == "mlp.up_proj" {
				rank = 6
			}
			add := func(name string, shape tensor.Shape) {
				key := "base_model.model.model.layers." + string(rune('0'+i)) + "." + path + name
				x := make([]float32, shape.Size())
				for j := range x {
					x[j] = float32(r.NormFloat64() * 0.03)
				}
				specs, values[key] = append(specs, weights.Spec{Name: key, DType: tensor.F32, Shape: shape}), x
			}
			add(".lora_A.weight", tensor.Of(rank, size[1]))
			add(".lora_B.weight", tensor.Of(size[0], rank))
		}
	}
	return fstest.MapFS{
		"adapter_model.safetensors": {Data: safetensorsOf(t, specs, values)},
		"adapter_config.json": {Data: []byte(`{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base", "r": 4, "lora_alpha": 8, "use_rslora": true,
			"rank_pattern": {"up_proj": 6}, "alpha_pattern": {"down_proj": 3},
			"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}`)},
	}
}

func safetensorsOf(t *testing.T, specs []weights.Spec, values map[string][]float32) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := weights.NewWriter(&b, specs, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Order() {
		if err := w.WriteF32(s.Name, values[s.Name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpacked is a model folder with the values that a GGUF file of the same model holds, read with no code of the writer's.
func unpacked(t *testing.T, model fstest.MapFS, file []byte) fstest.MapFS {
	t.Helper()
	f, err := gguf.Read(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	heads := map[string]int{".attn_q.": int(f.Values["llama.attention.head_count"].(uint64)), ".attn_k.": int(f.Values["llama.attention.head_count_kv"].(uint64))}
	names := strings.NewReplacer("token_embd", "model.embed_tokens", "output_norm", "model.norm", "blk.", "model.layers.", "attn_norm", "input_layernorm", "ffn_norm", "post_attention_layernorm",
		"attn_q", "self_attn.q_proj", "attn_k", "self_attn.k_proj", "attn_v", "self_attn.v_proj", "attn_output", "self_attn.o_proj",
		"ffn_gate", "mlp.gate_proj", "ffn_up", "mlp.up_proj", "ffn_down", "mlp.down_proj")
	var specs []weights.Spec
	values := map[string][]float32{}
	for _, s := range f.Tensors {
		x, raw := make([]float32, s.Shape.Size()), file[s.Offset:s.Offset+s.Bytes]
		d, _ := s.Type.DType()
		if b := s.Type.Blocks(); b != quant.None {
			err = quant.Decode(x, raw, b)
		} else {
			err = tensor.DecodeF32(x, raw, d)
		}
		if err != nil {
			t.Fatal(err)
		}
		for part, n := range heads {
			if !strings.Contains(s.Name, part) {
				continue
			}
			width, size := s.Shape[1], s.Shape[0]/n
			y := make([]float32, len(x))
			for row := range s.Shape[0] { // row 2j+t of a head belongs at t·size/2 + j
				h, within := row/size*size, row%size
				to := h + within%2*size/2 + within/2
				copy(y[to*width:(to+1)*width], x[row*width:(row+1)*width])
			}
			x = y
		}
		name := names.Replace(s.Name)
		specs, values[name] = append(specs, weights.Spec{Name: name, DType: tensor.F32, Shape: s.Shape}), x
	}
	folder := fstest.MapFS{}
	for name, f := range model {
		folder[name] = f
	}
	folder["model.safetensors"] = &fstest.MapFile{Data: safetensorsOf(t, specs, values)}
	return folder
}

// greedy continues prompts with our own generate on the reference device.
func greedy(t *testing.T, model, adapter fstest.MapFS, prompts []string, tokens int) (ids, outputs [][]int) {
	t.Helper()
	for _, prompt := range prompts {
		var v struct {
			Prompt []int `json:"prompt_ids"`
			Output []int `json:"output_ids"`
		}
		files := report.Files{Model: model}
		if adapter != nil {
			files.Adapter = adapter
		}
		answer(t, &job.Job{Job: message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: prompt, MaxNewTokens: tokens, TopP: 1}}, Files: files, Host: newHost(), Open: reference}, &v)
		output := v.Output[len(v.Prompt):]
		if n := len(output); n > 0 && n < tokens { // a stop token ended it, and llama.cpp does not show that one
			output = output[:n-1]
		}
		ids, outputs = append(ids, v.Prompt), append(outputs, output)
	}
	return ids, outputs
}

// exported exports a model with its adapter, nil for none, into a folder of the disk.
func exported(t *testing.T, model, adapter fstest.MapFS, e message.ExportJob) (folder fstest.MapFS, dir string) {
	t.Helper()
	files := report.Files{Model: model}
	if adapter != nil {
		files.Adapter = adapter
	}
	e.Name = "it"
	folder = must(t, &job.Job{Job: message.Job{Command: message.Export, Export: &e}, Files: files, Host: newHost(), Open: reference}).folder("")
	dir = t.TempDir()
	for name, f := range folder {
		if err := os.WriteFile(filepath.Join(dir, name), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder, dir
}

// llama.cpp itself opens the files that are written. It makes our tokens of ten texts, sees the stop tokens, and continues three prompts as
// our own program does with the values of the file.
func TestLlamaCpp(t *testing.T) {
	for _, c := range []struct{ name, path string }{{"tales", "../../testdata/builtin/models/tales"}, {"stories", ""}} {
		t.Run(c.name, func(t *testing.T) {
			if c.path == "" {
				c.path = testfiles.Shared(t, "models/stories260k")
			}
			checkLlamaCpp(t, folderOf(t, c.path))
		})
	}
}

// folderOf reads the files of a model folder that an export needs.
func folderOf(t *testing.T, path string) fstest.MapFS {
	t.Helper()
	m := fstest.MapFS{}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
		data, err := os.ReadFile(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		m[name] = &fstest.MapFile{Data: data}
	}
	return m
}

func checkLlamaCpp(t *testing.T, model fstest.MapFS) {
	const tokens = 12
	template := "{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
	model["chat_template.jinja"] = &fstest.MapFile{Data: []byte(template)}
	vocabulary, err := tokenizer.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	var ids [][]int
	for _, text := range llamaTexts {
		list, err := vocabulary.Encode(text, false)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, list)
	}
	prompts := []string{"Once upon a time", "One day, a little", "Lily and her mom"}
	var questions []question
	var want [][][]int
	ask := func(name string, file, lora string, folder, adapter fstest.MapFS) {
		p, outputs := greedy(t, folder, adapter, prompts, tokens)
		questions = append(questions, question{name: name, Model: file, Lora: lora, Texts: llamaTexts, Prompts: p, Stops: vocabulary.Stops(), Tokens: tokens})
		want = append(want, outputs)
	}
	adapter := randomLoRA(t, model)
	for _, dtype := range []string{"f16", "q8_0", "q4_0", "q4_k_m", "bf16"} {
		with := adapter
		if strings.HasPrefix(dtype, "q") { // a random adapter leaves no token far ahead of the others, and rounded activations decide
			with = nil
		}
		folder, dir := exported(t, model, with, message.ExportJob{Format: "gguf", DType: dtype})
		name := "it-" + strings.ToUpper(dtype) + ".gguf"
		ask(dtype, filepath.Join(dir, name), "", unpacked(t, model, folder[name].Data), nil)
	}
	_, base := exported(t, model, nil, message.ExportJob{Format: "gguf", DType: "f32", SplitBytes: 200_000})
	parts, err := filepath.Glob(filepath.Join(base, "*-00001-of-*.gguf"))
	if err != nil || len(parts) != 1 {
		t.Fatalf("parts: %v, %v", parts, err)
	}
	ask("split", parts[0], "", model, nil)
	_, whole := exported(t, model, nil, message.ExportJob{Format: "gguf", DType: "f32"})
	_, lora := exported(t, model, adapter, message.ExportJob{Format: "gguf-lora"})
	ask("lora", filepath.Join(whole, "it-F32.gguf"), filepath.Join(lora, "it-lora.gguf"), model, adapter)
	for i, got := range askLlamaCpp(t, questions) {
		q := questions[i]
		if got.Error != "" {
			t.Errorf("%s: %s", q.name, got.Error)
			continue
		}
		for j, text := range llamaTexts {
			if !slices.Equal(got.IDs[j], ids[j]) {
				t.Errorf("%s: %q has tokens %v, ours are %v", q.name, text, got.IDs[j], ids[j])
			}
		}
		for j, prompt := range prompts {
			// llama.cpp rounds activations to 8 bits where weights are in blocks. With weights of 4 bits the texts part sooner.
			first := tokens
			if strings.HasPrefix(q.name, "q4") {
				first = 2
			}
			if a, b := got.Outputs[j], want[i][j]; !slices.Equal(a[:min(first, len(a))], b[:min(first, len(b))]) {
				t.Errorf("%s: %q goes on with %v, ours with %v", q.name, prompt, a, b)
			}
		}
		if got.Template != template || slices.Contains(got.Stops, false) || len(got.Stops) == 0 || !got.PrependsBOS {
			t.Errorf("%s: template %q, stops %v, BOS %v", q.name, got.Template, got.Stops, got.PrependsBOS)
		}
	}
}
