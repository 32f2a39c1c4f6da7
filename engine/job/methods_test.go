//go:build !js

package job_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/engine/weights"
)

// methods are the adapters. Each but LLaMA-Adapter is set so that it differs from the base model before training.
var methods = []struct {
	name   string
	sets   []string
	merges bool   // into the base model
	file   string // of the tensors that train
}{
	{"lora", []string{lora, "peft.init_lora_weights=false"}, true, "adapter_model.safetensors"},
	{"lora with a bias of B", []string{lora, "peft.init_lora_weights=false", "peft.lora_bias=true", "peft.target_modules=all-linear"}, true, "adapter_model.safetensors"},
	{"dora", []string{lora, "peft.init_lora_weights=false", "peft.use_dora=true", "peft.target_modules=all-linear"}, true, "adapter_model.safetensors"},
	{"pissa", []string{lora, "peft.init_lora_weights=pissa"}, true, "adapter_model.safetensors"},
	{"olora with dora", []string{lora, "peft.init_lora_weights=olora", "peft.use_dora=true", "peft.target_modules=all-linear"}, true, "adapter_model.safetensors"},
	{"ia3", []string{`peft={"peft_type": "IA3", "init_ia3_weights": false}`}, true, "adapter_model.safetensors"},
	{"ia3 feed-forward", []string{`peft={"peft_type": "IA3", "init_ia3_weights": false, "target_modules": "all-linear", "feedforward_modules": ".*(down|o|q)_proj"}`},
		true, "adapter_model.safetensors"},
	{"prefix", []string{`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}`}, false, "adapter_model.safetensors"},
	{"projected prefix", []string{`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": true, "encoder_hidden_size": 7}`},
		false, "prefix_encoder.safetensors"},
	{"prompt", []string{`peft={"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "prompt_tuning_init": "SAMPLE_VOCAB"}`}, false, "adapter_model.safetensors"},
	{"adaption prompt", []string{`peft={"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 2}`}, false, "adapter_model.safetensors"},
	{"adaption prompt at the top", []string{`peft={"peft_type": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": 1}`}, false, "adapter_model.safetensors"},
}

// masked is a dataset of rows of many lengths whose labels are masked in places, also at the start and the end.
func masked() fstest.MapFS {
	raw := rows(8, 11, 3, 16, 9, 2, 12, 7)
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimSpace(string(raw["data.jsonl"].Data)), "\n") {
		var row struct {
			IDs    []int `json:"input_ids"`
			Labels []int `json:"labels"`
		}
		json.Unmarshal([]byte(line), &row)
		row.Labels = slices.Clone(row.IDs)
		for t := range row.Labels {
			if (t+i)%3 == 0 && (i != 1 || t > 0) {
				row.Labels[t] = -100
			}
		}
		line, _ := json.Marshal(row)
		fmt.Fprintf(&b, "%s\n", line)
	}
	return lines(b.String())
}

// An adapter computes the same after training, read back from its folder, exported, merged and continued. One micro-batch of 4
// rows gives the same step as four of 1 row, and a resumed run has the bits of one that was not interrupted.
func TestMethods(t *testing.T) {
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			data := masked()
			files := report.Files{Model: tiny(t, true, true, nil), Dataset: data}
			base := evaluate(t, files.Model, nil, data)
			sets := append(slices.Clone(m.sets), steps(4), "training.save_steps=2", "dataset.shuffle=false", "training.max_grad_norm=0.5")
			h := must(t, newJob(t, files, sets...))
			adapter := h.folder("adapter")
			attached := evaluate(t, files.Model, adapter, data)
			if math.Abs(attached-base) < 1e-3 {
				t.Errorf("loss %v with the adapter, %v without", attached, base)
			}

			four := must(t, newJob(t, files, append(sets, "training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=4")...))
			near(t, "losses of small micro-batches", four.losses(), h.losses(), 1e-5)
			near(t, "gradient norms of small micro-batches", norms(four), norms(h), 1e-4)
			recomputed := must(t, newJob(t, files, append(sets, checkpointing+"true")...))
			near(t, "losses with activations computed again", recomputed.losses(), h.losses(), 0)
			near(t, "gradient norms with activations computed again", norms(recomputed), norms(h), 0)

			resumed := files
			resumed.Resume = h.folder("checkpoint-2")
			again := must(t, newJob(t, resumed, sets...))
			near(t, "resumed", again.losses(), h.losses()[2:], 0)
			sameFiles(t, again, h, "adapter/")
			sameFiles(t, again, h, "checkpoint-4/"+m.file)

			// The checkpoint holds all that training goes on from; the folder that PEFT reads need not.
			from := files
			from.Adapter = h.folder("checkpoint-4")
			next := must(t, newJob(t, from, append(m.sets, steps(1), "training.per_device_train_batch_size=8", "dataset.shuffle=false")...))
			near(t, "continued", next.losses(), []float64{evaluate(t, files.Model, from.Adapter, data)}, 1e-5)

			files.Adapter = adapter
			export := func(format string) *job.Job {
				return &job.Job{Job: message.Job{Command: message.Export, Export: &message.ExportJob{Format: format}}, Files: files, Host: newHost(), Open: reference}
			}
			if got := evaluate(t, files.Model, must(t, export("peft")).folder(""), data); got != attached {
				t.Errorf("exported as PEFT: loss %v, want %v", got, attached)
			}
			if m.merges {
				near(t, "merged", []float64{evaluate(t, must(t, export("merged")).folder(""), nil, data)}, []float64{attached}, 1e-5)
			} else {
				mustFail(t, export("merged"), "adapter", 2, "merged", "no weight can hold")
			}
		})
	}
}

// The gradients of all trained tensors, by their keys in files, agree with differences of the loss.
func TestMethodGradients(t *testing.T) {
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			files := report.Files{Model: tiny(t, true, true, nil), Dataset: masked()}
			start := must(t, newJob(t, files, append(slices.Clone(m.sets), steps(3), "training.save_steps=3")...)).folder("checkpoint-3")
			files.Adapter = start
			got := gradients(t, files)
			if want := names(values(t, start, m.file)); !slices.Equal(names(got), want) {
				t.Fatalf("gradients of %v, want %v", names(got), want)
			}
			kept := map[string][]float32{} // DoRA's norms count as constants, so only the lengths follow the loss
			for name, g := range got {
				if !strings.Contains(m.name, "dora") || strings.HasSuffix(name, "magnitude_vector") {
					kept[name] = g
				}
			}
			differences(t, kept, start, m.file, func(name string) string { return name }, func(folder fstest.MapFS) float64 {
				return evaluateOn(t, report.Files{Model: files.Model, Adapter: folder, Dataset: files.Dataset})
			})
		})
	}
}

// evaluateOn is the mean loss in float64.
func evaluateOn(t testing.TB, files report.Files) float64 {
	t.Helper()
	h := must(t, &job.Job{Job: message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "tokens"}}, Files: files, Host: newHost(), Open: exact})
	var r struct{ Loss float64 }
	for _, m := range h.sent {
		if m.Result != nil {
			if err := json.Unmarshal(m.Result, &r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r.Loss
}

// logits are the logits of a dataset that eval dumps.
func logits(t testing.TB, files report.Files) []float32 {
	t.Helper()
	h := must(t, &job.Job{
		Job:   message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "tokens", DumpLogits: "l.safetensors"}},
		Files: files, Host: newHost(), Open: reference,
	})
	return values(t, h.folder(""), "l.safetensors")["logits"]
}

// A new LLaMA-Adapter changes no bit, because its gates are 0. At first only the gates have a gradient.
func TestNewAdaptionPromptIsBase(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 11, 9)}
	base := logits(t, files)
	const method = `peft={"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 2}`
	h := must(t, newJob(t, files, method, "training.learning_rate=0", "training.weight_decay=0", steps(1)))
	files.Adapter = h.folder("adapter")
	if got := logits(t, files); !slices.Equal(got, base) {
		t.Error("a gate of 0 changes logits")
	}
	for name, g := range gradients(t, files) {
		zero := !slices.ContainsFunc(g, func(x float32) bool { return x != 0 })
		if gate := strings.HasSuffix(name, "gate"); zero == gate {
			t.Errorf("%s: gradient %v", name, g)
		}
	}
}

// A folder of PEFT for a prefix with a projection holds the projection's output. It computes the same, but training cannot continue
// from it.
func TestProjectedPrefixWithoutEncoder(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 11, 9)}
	const method = `peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": true}`
	whole := must(t, newJob(t, files, method)).folder("adapter")
	table := fstest.MapFS{}
	for name, f := range whole {
		if name != "prefix_encoder.safetensors" {
			table[name] = f
		}
	}
	near(t, "from the table", []float64{evaluate(t, files.Model, table, files.Dataset)}, []float64{evaluate(t, files.Model, whole, files.Dataset)}, 1e-6)
	if x := values(t, table, "adapter_model.safetensors")["prompt_embeddings"]; len(x) != 3*2*2*2*6 {
		t.Errorf("the table has %d elements", len(x))
	}
	var cfg map[string]any
	if err := json.Unmarshal(table["adapter_config.json"].Data, &cfg); err != nil || cfg["token_dim"] != 12.0 || cfg["num_attention_heads"] != 2.0 || cfg["encoder_hidden_size"] != 12.0 {
		t.Errorf("%v, %v", cfg, err)
	}
	files.Adapter = table
	mustFail(t, newJob(t, files, method), "adapter", 2, "prefix_encoder.safetensors", "projection")
}

// Prompts that start as embeddings of the base model are equal to them.
func TestPromptStarts(t *testing.T) {
	golden := os.DirFS("../../testdata/golden")
	files := report.Files{Model: sub(t, golden, "tiny/model"), Dataset: one(t, golden, "tiny/data/few.jsonl")}
	table := values(t, files.Model, "model.safetensors")["model.embed_tokens.weight"]
	still := []string{"training.learning_rate=0", "training.weight_decay=0", steps(1)}
	const prompt = `peft={"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 7, "tokenizer_name_or_path": "tiny", "prompt_tuning_init": `
	start := func(init string) []float32 {
		h := must(t, newJob(t, files, append(still, prompt+init+"}")...))
		return values(t, h.folder("adapter"), "adapter_model.safetensors")["prompt_embeddings"]
	}
	got := start(`"TEXT", "prompt_tuning_init_text": "abc"`)
	H := len(got) / 7
	if !slices.Equal(got[:3*H], got[4*H:]) || slices.Equal(got[:H], got[H:2*H]) { // begin of text, a, b, c
		t.Error("four tokens do not fill seven rows in turn")
	}
	for _, x := range [][]float32{got, start(`"SAMPLE_VOCAB"`)} {
		for i := range 7 {
			found := false
			for at := 0; at < len(table); at += H {
				found = found || slices.Equal(x[i*H:(i+1)*H], table[at:at+H])
			}
			if !found {
				t.Errorf("row %d is no embedding", i)
			}
		}
	}
}

// A method generates through its caches the text that follows from the logits of whole rows.
func TestMethodsGenerate(t *testing.T) {
	golden := os.DirFS("../../testdata/golden")
	entries, err := fs.ReadDir(golden, "tiny")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, name := range []string{"lora_all", "dora_all_masked", "ia3_feedforward", "prefix", "prefix_projection", "prompt", "adaption_prompt_last"} {
		if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name }) {
			t.Errorf("there is no golden %s", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := report.Files{Model: sub(t, golden, "tiny/model"), Adapter: sub(t, golden, "tiny/"+name+"/init")}
			h := must(t, &job.Job{
				Job:   message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: "a story", MaxNewTokens: 8, TopP: 1}},
				Files: files, Host: newHost(), Open: exact,
			})
			var text struct {
				Prompt []int `json:"prompt_ids"`
				Output []int `json:"output_ids"`
			}
			for _, m := range h.sent {
				if m.Result != nil {
					if err := json.Unmarshal(m.Result, &text); err != nil {
						t.Fatal(err)
					}
				}
			}
			if len(text.Output) <= len(text.Prompt) {
				t.Fatalf("nothing was written after %v", text.Prompt)
			}
			row, _ := json.Marshal(map[string]any{"input_ids": text.Output})
			files.Dataset = lines(string(row) + "\n")
			all := logits(t, files)
			V := len(all) / len(text.Output)
			for i := len(text.Prompt); i < len(text.Output); i++ {
				best := 0
				for v, x := range all[(i-1)*V : i*V] {
					if x > all[(i-1)*V+best] {
						best = v
					}
				}
				if best != text.Output[i] {
					t.Errorf("token %d is %d, the logits say %d", i, text.Output[i], best)
				}
			}
		})
		ran++
	}
	if ran == 0 {
		t.Error("nothing ran")
	}
}

// Combinations that are not possible are refused with the reason.
func TestMethodRefusals(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8)}
	for set, parts := range map[string][]string{
		`peft={"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 3}`:                                               {"adapter_layers is 3", "2 layers"},
		`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "num_layers": 3}`:                                              {"num_layers is 3", "is 2"},
		`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "token_dim": 13}`:                                              {"token_dim is 13", "is 12"},
		`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "num_attention_heads": 3}`:                                     {"num_attention_heads is 3", "is 2"},
		`peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 32}`:                                                              {"num_virtual_tokens is 32", "context of 32"},
		`peft={"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "token_dim": 12}`:                                              {"token_dim is 12", "is 16"},
		`peft={"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "a"}`: {"no tokenizer"},
		`peft={"peft_type": "IA3", "target_modules": ["lm_head"], "feedforward_modules": []}`:                                        {"lm_head"},
		`peft={"peft_type": "IA3", "target_modules": ["embed_tokens"], "feedforward_modules": []}`:                                   {"embed_tokens"},
		`peft={"peft_type": "IA3", "target_modules": ["query"], "feedforward_modules": []}`:                                          {"query", "self_attn.q_proj"},
		`peft={"peft_type": "LORA", "use_dora": true, "target_modules": ["lm_head"]}`:                                                {"use_dora", "lm_head"},
		`peft={"peft_type": "LORA", "use_dora": true, "target_modules": ["embed_tokens"]}`:                                           {"use_dora", "embed_tokens"},
		`peft={"peft_type": "LORA", "lora_bias": true, "target_modules": ["lm_head"]}`:                                               {"lora_bias", "lm_head"},
		`peft={"peft_type": "LORA", "lora_bias": true, "target_modules": ["embed_tokens"]}`:                                          {"lora_bias", "embed_tokens"},
	} {
		t.Run(set, func(t *testing.T) { mustFail(t, newJob(t, files, set), "peft", 2, parts...) })
	}
	// PEFT is told the width and the heads of the queries; both spellings are right.
	for _, keys := range []string{`"token_dim": 24, "num_attention_heads": 4`, `"token_dim": 16, "num_attention_heads": 4`, `"token_dim": 12, "num_attention_heads": 2, "num_layers": 2`} {
		must(t, newJob(t, files, `peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, `+keys+`}`, steps(1)))
	}
	// Rows and virtual tokens share the context.
	files.Dataset = rows(30, 8)
	mustFail(t, newJob(t, files, `peft={"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3}`), "data", 2, "30 tokens", "context of 29")
}

// The file of an adapter of another method, or of another shape, is refused.
func TestMethodFiles(t *testing.T) {
	files := report.Files{Model: tiny(t, true, false, nil), Dataset: rows(8, 8)}
	for _, m := range methods {
		h := must(t, newJob(t, files, append(slices.Clone(m.sets), steps(1))...))
		folder := h.folder("adapter")
		c, err := weights.OpenFile(folder, "adapter_model.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		all := values(t, folder, "adapter_model.safetensors")
		var specs []weights.Spec
		for _, n := range c.Names() {
			x, _ := c.Tensor(n)
			specs = append(specs, weights.Spec{Name: n, Shape: x.Shape})
		}
		c.Close()
		specs[0].Name += "x"
		all[specs[0].Name] = all[strings.TrimSuffix(specs[0].Name, "x")]
		broken := fstest.MapFS{"adapter_config.json": folder["adapter_config.json"], "adapter_model.safetensors": &fstest.MapFile{Data: safetensors(t, specs, all, nil)}}
		j := &job.Job{Job: message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "tokens"}}, Files: files, Host: newHost(), Open: reference}
		j.Files.Adapter = broken
		mustFail(t, j, "adapter", 2, "missing", "not part of this adapter")
	}
}

// Compared adapters have the same bits as each adapter alone, and the base model the same as without adapters.
func TestCompare(t *testing.T) {
	golden := os.DirFS("../../testdata/golden")
	names := []string{"lora_all", "dora", "ia3", "prefix", "prefix_projection", "prompt", "adaption_prompt"}
	files := report.Files{Model: sub(t, golden, "tiny/model"), Dataset: one(t, golden, "tiny/data/few.jsonl"), Compare: map[string]fs.FS{}}
	for i, name := range names {
		files.Compare[report.AdapterMount(i)] = sub(t, golden, "tiny/"+name+"/init")
	}
	run := func(j message.Job, files report.Files) (raw json.RawMessage) {
		for _, m := range must(t, &job.Job{Job: j, Files: files, Host: newHost(), Open: reference}).sent {
			if m.Result != nil {
				raw = m.Result
			}
		}
		return raw
	}
	type result struct {
		Name   string
		Type   string `json:"peft_type"`
		Loss   float64
		Tokens int
		Output []int `json:"output_ids"`
		Text   string
	}
	type comparison struct {
		Base     result
		Adapters []result
	}
	each := func(got comparison, alone func(adapter fs.FS) result, same func(a, b result) bool) {
		t.Helper()
		if len(got.Adapters) != len(names) {
			t.Fatalf("%d results for %d adapters", len(got.Adapters), len(names))
		}
		if want := alone(nil); !same(got.Base, want) {
			t.Errorf("base: %+v, alone %+v", got.Base, want)
		}
		for i, a := range got.Adapters {
			if want := alone(files.Compare[report.AdapterMount(i)]); a.Name != names[i] || a.Type == "" || !same(a, want) {
				t.Errorf("%s: %+v, alone %+v", names[i], a, want)
			}
		}
	}
	parse := func(raw json.RawMessage, into any) {
		t.Helper()
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}

	evaluation := message.Job{Command: message.Eval, Eval: &message.EvalJob{Format: "tokens"}}
	compared := evaluation
	compared.Compare = names
	var losses comparison
	parse(run(compared, files), &losses)
	each(losses, func(adapter fs.FS) (r result) {
		parse(run(evaluation, report.Files{Model: files.Model, Adapter: adapter, Dataset: files.Dataset}), &r)
		return r
	}, func(a, b result) bool { return a.Loss == b.Loss && a.Tokens == b.Tokens && a.Loss > 0 })

	generation := message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: "a story", MaxNewTokens: 6, TopP: 1}}
	compared = generation
	compared.Compare = names
	var texts comparison
	parse(run(compared, files), &texts)
	each(texts, func(adapter fs.FS) (r result) {
		parse(run(generation, report.Files{Model: files.Model, Adapter: adapter}), &r)
		return r
	}, func(a, b result) bool {
		return slices.Equal(a.Output, b.Output) && a.Text == b.Text && len(a.Output) > 2
	})

	// What brings base modules along has no place beside others, and dumps are of one adapter.
	files.Compare[report.AdapterMount(1)] = sub(t, golden, "tiny/lora_saved_head/init")
	mustFail(t, &job.Job{Job: compared, Files: files, Host: newHost(), Open: reference}, "adapter", 2, "dora", "lm_head.weight", "base modules of its own")
	evaluation.Compare = names
	evaluation.Eval.DumpLogits = "l.safetensors"
	mustFail(t, &job.Job{Job: evaluation, Files: files, Host: newHost(), Open: reference}, "config", 2, "dumps are of one adapter")
}

// In two-byte types a method learns the same as in float32, to three digits.
func TestMethodsInBF16(t *testing.T) {
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			files := report.Files{Model: tiny(t, true, true, nil), Dataset: masked()}
			sets := append(slices.Clone(m.sets), steps(6), "dataset.shuffle=false", "training.max_grad_norm=0.5")
			wide := must(t, newJob(t, files, sets...))
			narrow := must(t, newJob(t, files, append(sets, bfloat16)...))
			if slices.Equal(narrow.losses(), wide.losses()) {
				t.Error("nothing is rounded")
			}
			near(t, "losses", narrow.losses(), wide.losses(), 2e-2)
			adapter := narrow.folder("adapter")
			near(t, "last loss", []float64{evaluate(t, files.Model, adapter, files.Dataset)}, []float64{evaluate(t, files.Model, wide.folder("adapter"), files.Dataset)}, 3e-2)
		})
	}
}
