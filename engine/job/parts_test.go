//go:build !js

package job_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/weights"
)

// gradients are the gradients of the mean loss that eval dumps, by name.
func gradients(t testing.TB, files report.Files, parts ...string) map[string][]float32 {
	t.Helper()
	h := must(t, &job.Job{
		Job:   message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto", DumpGradients: "g.safetensors", Trainable: parts}},
		Files: files, Host: newHost(), Open: exact,
	})
	return values(t, h.folder(""), "g.safetensors")
}

// values are all tensors of a safetensors file.
func values(t testing.TB, fsys fs.FS, file string) map[string][]float32 {
	t.Helper()
	c, err := weights.OpenFile(fsys, file)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all := map[string][]float32{}
	for _, name := range c.Names() {
		x, _ := c.Tensor(name)
		h, err := c.ReadF32(x)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = h.Data
	}
	return all
}

func names[T any](m map[string]T) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// nudged is a folder with one element of one tensor changed by a small amount.
func nudged(t testing.TB, folder fstest.MapFS, file, name string, i int, by float32) fstest.MapFS {
	t.Helper()
	c, err := weights.OpenFile(folder, file)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x := values(t, folder, file)
	x[name][i] += by
	var specs []weights.Spec
	for _, n := range c.Names() {
		s, _ := c.Tensor(n)
		specs = append(specs, weights.Spec{Name: n, Shape: s.Shape})
	}
	moved := fstest.MapFS{}
	for n, f := range folder {
		moved[n] = f
	}
	moved[file] = &fstest.MapFile{Data: safetensors(t, specs, x, c.Files[0].Metadata)}
	return moved
}

// differences compares the gradients of named tensors with central differences of the loss. The elements are changed in the
// tensors' file.
func differences(t testing.TB, got map[string][]float32, folder fstest.MapFS, file string, inFile func(name string) string, loss func(fstest.MapFS) float64) {
	t.Helper()
	const eps = 1.0 / 1024
	for _, name := range names(got) {
		g := got[name]
		for _, i := range []int{0, len(g) / 2, len(g) - 1} {
			want := (loss(nudged(t, folder, file, inFile(name), i, eps)) - loss(nudged(t, folder, file, inFile(name), i, -eps))) / (2 * eps)
			if !(math.Abs(float64(g[i])-want) <= 2e-4*max(1, math.Abs(want))) {
				t.Errorf("%s[%d]: gradient %v, by differences %v", name, i, g[i], want)
			}
		}
	}
}

// block are the parameters of layer i of the tiny model with biases.
func block(i int) (all []string) {
	for _, n := range []string{"input_layernorm.weight", "post_attention_layernorm.weight"} {
		all = append(all, fmt.Sprintf("model.layers.%d.%s", i, n))
	}
	for _, n := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
		all = append(all, fmt.Sprintf("model.layers.%d.%s.weight", i, n), fmt.Sprintf("model.layers.%d.%s.bias", i, n))
	}
	return all
}

const (
	embedding = "model.embed_tokens.weight"
	lmHead    = "lm_head.weight"
	lastNorm  = "model.norm.weight"
)

// parts are entries of trainable with the parameters that they select in the tiny model with biases.
var parts = []struct {
	entries []string
	tied    bool
	want    []string
}{
	{[]string{"all"}, false, slices.Concat(block(0), block(1), []string{embedding, lmHead, lastNorm})},
	{[]string{"all"}, true, slices.Concat(block(0), block(1), []string{embedding, lastNorm})},
	{[]string{"all", "lm_head"}, true, slices.Concat(block(0), block(1), []string{embedding, lmHead, lastNorm})},
	{[]string{"lm_head"}, true, []string{lmHead}},
	{[]string{"lm_head"}, false, []string{lmHead}},
	{[]string{"embed_tokens"}, true, []string{embedding}},
	{[]string{"embed_tokens"}, false, []string{embedding}},
	{[]string{"lm_head", "embed_tokens", "lm_head"}, true, []string{embedding, lmHead}},
	{[]string{"norm"}, true, []string{lastNorm}},
	{[]string{"layers:last:1"}, true, block(1)},
	{[]string{"layers:first:1"}, true, block(0)},
	{[]string{"layers:1"}, true, block(1)},
	{[]string{"layers:1,0", "layers:last:2"}, true, slices.Concat(block(0), block(1))},
	{[]string{`regex:layers\.1\.mlp`, "norm"}, false, slices.Concat(block(1)[10:], []string{lastNorm})},
	{[]string{`regex:up_proj\.bias$`, "lm_head"}, true, []string{"model.layers.0.mlp.up_proj.bias", "model.layers.1.mlp.up_proj.bias", lmHead}},
}

// Each entry trains what it names and nothing else: gradients agree with differences of the loss, exactly these tensors change in
// the run's model, and the model that is read back has the same loss.
func TestParts(t *testing.T) {
	for _, c := range parts {
		t.Run(fmt.Sprintf("%v tied %v", c.entries, c.tied), func(t *testing.T) {
			data := rows(8, 11, 9, 16)
			base := tiny(t, c.tied, true, nil)
			want := slices.Clone(c.want)
			slices.Sort(want)

			got := gradients(t, report.Files{Model: base, Dataset: data}, c.entries...)
			if g := names(got); !slices.Equal(g, want) {
				t.Errorf("gradients of %v, want %v", g, want)
			}
			// An untied head has no tensor of its own in the base, so its differences are taken on an untied copy.
			origin := base
			if slices.Contains(c.entries, "lm_head") {
				origin = must(t, newJob(t, report.Files{Model: base, Dataset: data}, `trainable=["lm_head"]`, "training.learning_rate=0", "training.weight_decay=0", steps(1))).folder("model")
			}
			differences(t, got, origin, "model.safetensors", func(name string) string { return name }, func(m fstest.MapFS) float64 {
				return loss(t, report.Files{Model: m, Dataset: data})
			})

			entries, _ := json.Marshal(c.entries)
			h := must(t, newJob(t, report.Files{Model: base, Dataset: data}, "trainable="+string(entries), "training.save_steps=3"))
			model := h.folder("model")
			before, after := values(t, origin, "model.safetensors"), values(t, model, "model.safetensors")
			if !slices.Equal(names(before), names(after)) {
				t.Errorf("the model has %v, want %v", names(after), names(before))
			}
			for name, x := range after {
				if trained := slices.Contains(want, name); slices.Equal(x, before[name]) == trained {
					t.Errorf("%s: trained %v, changed %v", name, trained, !trained)
				}
			}
			var cfg struct {
				Tied bool `json:"tie_word_embeddings"`
			}
			if err := json.Unmarshal(model["config.json"].Data, &cfg); err != nil || cfg.Tied == (after[lmHead] != nil) {
				t.Errorf("tie_word_embeddings is %v with a head of its own %v, %v", cfg.Tied, after[lmHead] != nil, err)
			}
			if n := h.summary(t).Trainable; n != count(got) {
				t.Errorf("%d parameters train, want %d", n, count(got))
			}
			resumed := must(t, newJob(t, report.Files{Model: base, Dataset: data, Resume: h.folder("checkpoint-3")}, "trainable="+string(entries), "training.save_steps=3"))
			sameFiles(t, resumed, h, "model/")
			sameFiles(t, resumed, h, "checkpoint-5/model.safetensors")
			sameFiles(t, resumed, h, "checkpoint-5/optimizer.safetensors")
		})
	}
}

func count(m map[string][]float32) (n int64) {
	for _, x := range m {
		n += int64(len(x))
	}
	return n
}

// loss is the mean loss over the dataset in float64.
func loss(t testing.TB, files report.Files) float64 {
	t.Helper()
	return evaluation(t, files, exact).Loss
}

// Frozen parameters keep the type of their file. Trained ones are written in float32.
func TestPartsKeepFormat(t *testing.T) {
	model := halved(t, tiny(t, true, false, nil))
	h := must(t, newJob(t, report.Files{Model: model, Dataset: rows(8, 11, 9, 16)}, `trainable=["layers:last:1", "norm"]`))
	c, err := weights.OpenFile(h.folder("model"), "model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, name := range c.Names() {
		x, _ := c.Tensor(name)
		want := tensor.BF16
		if strings.Contains(name, "layers.1.") || name == lastNorm {
			want = tensor.F32
		}
		if x.DType != want {
			t.Errorf("%s is %v, want %v", name, x.DType, want)
		}
	}
}

// halved is a model folder with its weights rounded to bfloat16.
func halved(t testing.TB, folder fstest.MapFS) fstest.MapFS {
	t.Helper()
	c, err := weights.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	x := values(t, folder, "model.safetensors")
	var specs []weights.Spec
	for _, n := range c.Names() {
		s, _ := c.Tensor(n)
		specs = append(specs, weights.Spec{Name: n, DType: tensor.BF16, Shape: s.Shape})
	}
	return fstest.MapFS{"config.json": folder["config.json"], "model.safetensors": {Data: safetensors(t, specs, x, nil)}}
}

func TestPartsRefused(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8)}
	for entry, say := range map[string][]string{
		"layers:last:3":                {"trainable[0]", "3 layers", "the model has 2"},
		"layers:first:9":               {"trainable[0]", "the model has 2"},
		"layers:0,2":                   {"trainable[0]", "layer 2", "the model has 2"},
		`regex:layers\.0\.mlp\.up_prj`: {"trainable[0]", "matches no parameter", "model.layers.0.mlp.up_proj.weight"},
	} {
		set, _ := json.Marshal([]string{entry})
		if f := mustFail(t, newJob(t, files, "trainable="+string(set)), "config", 2, say...); f.Path != "trainable[0]" {
			t.Errorf("%s: the error is about %q", entry, f.Path)
		}
		mustFail(t, &job.Job{
			Job:   message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "auto", DumpGradients: "g", Trainable: []string{entry}}},
			Files: files, Host: newHost(), Open: reference,
		}, "config", 2, append([]string{"--trainable[0]"}, say[1:]...)...)
	}
}

// The folder of an adapter with trained base parameters reproduces the run: evaluated, continued and merged.
func TestHybrid(t *testing.T) {
	for _, c := range []struct {
		name      string
		tied      bool
		trainable string
		modules   []string // modules_to_save
		saved     []string // tensors of the base
	}{
		{"norm and a block", false, `["norm", "layers:last:1"]`, []string{
			"model.layers.1.input_layernorm", "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.v_proj",
			"model.layers.1.self_attn.o_proj", "model.layers.1.post_attention_layernorm", "model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj",
			"model.layers.1.mlp.down_proj", "model.norm"}, append(block(1), lastNorm)},
		{"head of a tied model", true, `["lm_head"]`, []string{"lm_head"}, []string{lmHead}},
		{"embedding of a tied model", true, `["embed_tokens"]`, []string{"model.embed_tokens", "lm_head"}, []string{embedding, lmHead}}, // which stay one tensor
		{"both", true, `["embed_tokens", "lm_head"]`, []string{"model.embed_tokens", "lm_head"}, []string{embedding, lmHead}},
		{"a tensor of a module", false, `["regex:layers.0.mlp.up_proj.bias"]`, []string{"model.layers.0.mlp.up_proj"},
			[]string{"model.layers.0.mlp.up_proj.bias", "model.layers.0.mlp.up_proj.weight"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := rows(8, 11, 9, 16)
			files := report.Files{Model: tiny(t, c.tied, true, nil), Dataset: data}
			sets := []string{lora, "peft.init_lora_weights=false", "trainable=" + c.trainable, steps(4), "training.save_steps=2"}
			h := must(t, newJob(t, files, sets...))
			adapter := h.folder("adapter")
			if got := folders(h); !slices.Contains(got, "adapter") || slices.Contains(got, "model") {
				t.Errorf("the run left %v", got)
			}
			var cfg struct {
				Modules []string `json:"modules_to_save"`
			}
			if err := json.Unmarshal(adapter["adapter_config.json"].Data, &cfg); err != nil || !slices.Equal(cfg.Modules, c.modules) {
				t.Errorf("modules_to_save %v, want %v, %v", cfg.Modules, c.modules, err)
			}
			before, after := values(t, files.Model, "model.safetensors"), values(t, adapter, "adapter_model.safetensors")
			if c.tied {
				before[lmHead] = before[embedding]
			}
			var saved []string
			for name, x := range after {
				if name, ok := strings.CutPrefix(name, "base_model.model."); ok && before[name] != nil {
					saved = append(saved, name)
					if frozen := strings.HasSuffix(name, "up_proj.weight") && len(c.saved) == 2 && !c.tied; slices.Equal(x, before[name]) != frozen {
						t.Errorf("%s: frozen %v, changed %v", name, frozen, frozen)
					}
				} else if slices.ContainsFunc(c.modules, func(m string) bool { return strings.HasPrefix(name, m+".lora") }) {
					t.Errorf("%s trains in full and is adapted", name)
				}
			}
			want := slices.Clone(c.saved)
			slices.Sort(saved)
			slices.Sort(want)
			if !slices.Equal(saved, want) {
				t.Errorf("saved %v, want %v", saved, want)
			}

			trained := evaluate(t, files.Model, adapter, data)
			files.Adapter = adapter
			near(t, "continued", must(t, newJob(t, files, append(sets[:3:3], steps(1))...)).losses(), []float64{trained}, 1e-6)
			export := must(t, &job.Job{Job: message.Job{Command: message.Export, Export: &message.ExportJob{Format: "merged"}},
				Files: files, Host: newHost(), Open: reference})
			near(t, "merged", []float64{evaluate(t, export.folder(""), nil, data)}, []float64{trained}, 1e-5)

			files.Adapter = nil
			files.Resume = h.folder("checkpoint-2")
			sameFiles(t, must(t, newJob(t, files, sets...)), h, "adapter/")
		})
	}
}

// Such a run may start from an adapter that was trained alone. Its modules stay adapted, also if their own weights train now, and
// the folder still reproduces the run.
func TestHybridFromAdapter(t *testing.T) {
	files := report.Files{Model: tiny(t, true, true, nil), Dataset: rows(8, 11, 9, 16)}
	files.Adapter = must(t, newJob(t, files, lora, "peft.init_lora_weights=false")).folder("adapter")
	before := evaluate(t, files.Model, files.Adapter, files.Dataset)
	sets := []string{lora, "peft.init_lora_weights=false", `trainable=["norm", "layers:last:1"]`}
	h := must(t, newJob(t, files, append(sets, "training.save_steps=2")...))
	near(t, "first loss", h.losses()[:1], []float64{before}, 1e-6)

	saved := values(t, h.folder("adapter"), "adapter_model.safetensors")
	for _, name := range []string{"self_attn.q_proj.lora_A.weight", "self_attn.q_proj.base_layer.weight", "self_attn.q_proj.base_layer.bias", "mlp.up_proj.weight"} {
		if saved["base_model.model.model.layers.1."+name] == nil {
			t.Errorf("%s was not saved", name)
		}
	}
	resumed := files
	resumed.Resume = h.folder("checkpoint-4")
	sameFiles(t, must(t, newJob(t, resumed, append(sets, "training.save_steps=2")...)), h, "adapter/")

	files.Adapter = h.folder("adapter")
	after := evaluate(t, files.Model, files.Adapter, files.Dataset)
	near(t, "continued", must(t, newJob(t, files, append(sets, steps(1))...)).losses(), []float64{after}, 1e-6)
	export := must(t, &job.Job{Job: message.Job{Command: message.Export, Export: &message.ExportJob{Format: "merged"}},
		Files: files, Host: newHost(), Open: reference})
	near(t, "merged", []float64{evaluate(t, export.folder(""), nil, files.Dataset)}, []float64{after}, 1e-5)
}

// With an adapter whose scale is 0, the run equals a run of the base parameters alone.
func TestHybridWithEmptyAdapter(t *testing.T) {
	files := report.Files{Model: tiny(t, false, true, nil), Dataset: rows(8, 11, 9, 16)}
	parts := `trainable=["norm", "layers:first:1", "lm_head"]`
	alone := must(t, newJob(t, files, parts))
	hybrid := must(t, newJob(t, files, `peft={"peft_type": "LORA", "r": 4, "lora_alpha": 0}`, parts))
	near(t, "losses", hybrid.losses(), alone.losses(), 1e-6)
	near(t, "norms", norms(hybrid), norms(alone), 1e-5)
	want, got := values(t, alone.folder("model"), "model.safetensors"), values(t, hybrid.folder("adapter"), "adapter_model.safetensors")
	n := 0
	for name, x := range got {
		if w := want[strings.TrimPrefix(name, "base_model.model.")]; w != nil {
			n++
			for i := range w {
				if math.Abs(float64(w[i]-x[i])) > 1e-5 {
					t.Fatalf("%s[%d] is %v, want %v", name, i, x[i], w[i])
				}
			}
		}
	}
	if n != 18 {
		t.Errorf("%d tensors of the base were trained, want 18", n)
	}
}
