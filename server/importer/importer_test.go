package importer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"llamatab/engine/config"
)

// imported is a run and the notes of an import, one a line.
func imported(t *testing.T, data []byte, o Options) (c *config.Config, from, notes string) {
	t.Helper()
	run, from, all, err := Import(data, o)
	if err != nil {
		t.Fatalf("%.200s: %v", data, err)
	}
	c, err = config.Parse(run, "run.json")
	if err != nil {
		t.Fatalf("llamatab refuses what was imported: %v\n%s", err, run)
	}
	for _, n := range all {
		notes += n.String() + "\n"
	}
	return c, from, notes
}

// TestSamples imports a file of each trainer and compares all that is written.
func TestSamples(t *testing.T) {
	const decay = `"no_decay": ["\\.bias$", "norm\\.weight$"]`
	for _, c := range []struct {
		file, from, run string
		notes           []string // parts of the notes, in their order
	}{
		{"axolotl.yml", "axolotl", `{"model": "models/my-llama", "quantization": "nf4",
			"dataset": {"path": "data/instructions.jsonl", "format": "alpaca", "max_length": 2048, "packing": true, "train_on_prompt": false, "validation_split": 0.05},
			"peft": {"peft_type": "LORA", "r": 32, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": "all-linear"},
			"precision": {"param_dtype": "bfloat16"},
			"training": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "num_train_epochs": 3, "lr_scheduler_type": "cosine", "learning_rate": 2e-4,
				"weight_decay": 0, "warmup_steps": 10, "gradient_checkpointing": true, "eval_steps": 50, ` + decay + `}}`,
			[]string{"line 3: tokenizer_type: ", "line 11: datasets: only the first of 2",
				"line 24: optimizer: the optimizer's moments", "line 32: flash_attention: left out: it is not needed", "line 34: saves_per_epoch: ", "line 35: wandb_project: ", "line 36: special_tokens: "}},
		{"llamafactory.yml", "llama-factory", `{"model": "models/my-qwen",
			"dataset": {"path": "identity", "max_length": 1024, "validation_split": 0.1},
			"peft": {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "lora_dropout": 0, "target_modules": "all-linear"},
			"precision": {"param_dtype": "bfloat16"},
			"training": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8, "num_train_epochs": 3, "lr_scheduler_type": "cosine", "learning_rate": 1e-4,
				"weight_decay": 0, "warmup_ratio": 0.1, "neftune_noise_alpha": 5, "eval_steps": 500, "save_steps": 500, ` + decay + `}}`,
			[]string{"do_train", "set it to a file", "dataset_info.json is not read", "only the first of 2", "template: left out", "max_samples", "preprocessing_num_workers", "output_dir", "logging_steps", "overwrite_output_dir"}},
		{"trl.json", "trl", `{"model": "models/my-llama",
			"dataset": {"path": "data/texts.jsonl", "format": "text", "columns": {"text": "content"}, "max_length": 512, "packing": true},
			"peft": {"peft_type": "LORA", "r": 8, "lora_alpha": 32, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"]},
			"precision": {"param_dtype": "bfloat16"},
			"training": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_train_epochs": 1, "lr_scheduler_type": "cosine_with_min_lr",
				"lr_scheduler_kwargs": {"min_lr_rate": 0.1}, "learning_rate": 2e-4, "weight_decay": 0, "warmup_ratio": 0.03, "label_smoothing_factor": 0.1, "group_by_length": true,
				"save_steps": 100, "seed": 7, ` + decay + `}}`,
			[]string{"optim: left out: the optimizer is AdamW, not adafactor", "logging_steps: ", "my_own_setting: left out: llamatab has no such setting", "output_dir: ", "report_to: "}},
	} {
		data, err := os.ReadFile(filepath.Join("testdata", c.file))
		if err != nil {
			t.Fatal(err)
		}
		got, from, notes := imported(t, data, Options{})
		want, err := config.Parse([]byte(c.run), "")
		if err != nil {
			t.Fatal(err)
		}
		a, _ := json.MarshalIndent(got, "", " ")
		b, _ := json.MarshalIndent(want, "", " ")
		if from != c.from || string(a) != string(b) {
			t.Errorf("%s, read as %s:\n%s\nwant, as %s:\n%s", c.file, from, a, c.from, b)
		}
		rest := notes
		for _, part := range c.notes {
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Errorf("%s: no note about %q, in its order:\n%s", c.file, part, notes)
				break
			}
			rest = after
		}
		if n := strings.Count(notes, "\n"); n != len(c.notes) {
			t.Errorf("%s: %d notes, want %d:\n%s", c.file, n, len(c.notes), notes)
		}
	}
}

// TestSettings: single settings of each trainer, with what they become. A path without a value is one that is not set.
func TestSettings(t *testing.T) {
	base := map[string]string{
		"axolotl":       "base_model: m\nlearning_rate: 1e-3\ndatasets: [{path: d.jsonl}]\n",
		"llama-factory": "model_name_or_path: m\nstage: sft\ndataset: d.jsonl\n",
		"trl":           "model_name_or_path: m\ndataset_name: d.jsonl\n",
	}
	for _, c := range []struct {
		from, text string
		path       string
		want       any
		note       string
	}{
		// Defaults of the trainers.
		{"trl", "", "training.learning_rate", 2e-5, ""},
		{"trl", "", "training.per_device_train_batch_size", 8.0, ""},
		{"trl", "", "training.num_train_epochs", 3.0, ""},
		{"trl", "", "dataset.max_length", 1024.0, ""},
		{"trl", "", "trainable", []any{"all"}, ""},
		{"trl", "use_peft: true", "peft.r", 16.0, ""},
		{"llama-factory", "", "training.learning_rate", 5e-5, ""},
		{"llama-factory", "", "peft.lora_alpha", 16.0, ""},
		{"llama-factory", "", "peft.target_modules", "all-linear", ""},
		{"axolotl", "", "training.lr_scheduler_type", "cosine", ""},
		{"axolotl", "", "training.warmup_ratio", 0.03, ""},
		{"axolotl", "", "trainable", []any{"all"}, ""},
		// Spellings.
		{"trl", "learning_rate: 2e-4", "training.learning_rate", 2e-4, ""},
		{"trl", "learning_rate: '2e-4'", "training.learning_rate", 2e-4, ""},
		{"trl", "learning_rate: 1.0e-4", "training.learning_rate", 1e-4, ""},
		{"trl", "warmup_steps: 0.1", "training.warmup_ratio", 0.1, ""},
		{"trl", "warmup_steps: 7", "training.warmup_steps", 7.0, ""},
		{"trl", "warmup_steps: 7\nwarmup_ratio: 0.5", "training.warmup_steps", 7.0, ""},
		{"trl", "bf16: yes", "precision.param_dtype", "bfloat16", ""},
		{"trl", "fp16: true", "precision.param_dtype", "float16", ""},
		{"trl", "lora_r: 4\nlora_target_modules: q_proj,v_proj", "peft.target_modules", []any{"q_proj", "v_proj"}, ""},
		{"trl", "lora_r: 4\nlora_target_modules: all-linear", "peft.target_modules", "all-linear", ""},
		{"trl", "use_peft: false\nlora_r: 4", "trainable", []any{"all"}, "-"},
		{"trl", "completion_only_loss: false", "dataset.train_on_prompt", true, ""},
		{"trl", "base: &b {seed: 3}\n<<: *b", "training.seed", 3.0, ""},
		{"trl", "packing: true", "dataset.packing", true, "-"},
		{"trl", "packing: true\npacking_strategy: bfd", "dataset.packing", true, "-"},
		{"trl", "packing: true\npacking_strategy: wrapped", "dataset.packing", true, "packed whole"},
		{"trl", "packing: false", "dataset.packing", false, "-"},
		{"axolotl", "sample_packing: true", "dataset.packing", true, "-"},
		{"llama-factory", "packing: true", "dataset.packing", true, "as neat_packing does"},
		{"llama-factory", "packing: true\nneat_packing: true", "dataset.packing", true, "-"},
		{"llama-factory", "neat_packing: true", "dataset.packing", true, "-"},
		{"llama-factory", "neat_packing: false", "dataset.packing", false, "-"},
		// What llamatab does not have.
		{"trl", "lr_scheduler_type: reduce_lr_on_plateau", "training.lr_scheduler_type", "linear", "reduce_lr_on_plateau"},
		{"trl", "lr_scheduler_kwargs: {min_lr: 1e-6}", "training.lr_scheduler_kwargs", nil, "min_lr: is no setting of the schedule linear"},
		{"trl", "optim: sgd", "training.seed", 42.0, "AdamW, not sgd"},
		{"trl", "optim: adamw_torch_fused", "training.seed", 42.0, "-"},
		{"trl", "eval_steps: 5", "training.eval_steps", 0.0, "nothing is held out"},
		{"trl", "save_strategy: epoch\nsave_steps: 5", "training.save_steps", 0.0, "a number of steps"},
		{"trl", "save_strategy: 'no'\nsave_steps: 5", "training.save_steps", 0.0, "-"},
		{"trl", "max_grad_norm: -1", "training.max_grad_norm", 1.0, "max_grad_norm: is -1"},
		{"trl", "seed: many", "training.seed", 42.0, "seed: wants an integer"},
		{"trl", "unheard_of: 1", "training.seed", 42.0, "unheard_of: left out: llamatab has no such setting"},
		{"trl", "unheard_of: null\nother: ''\nthird: []\nfourth: false", "training.seed", 42.0, "-"},
		{"llama-factory", "finetuning_type: full", "peft", nil, ""},
		{"llama-factory", "finetuning_type: freeze\nfreeze_trainable_layers: 3", "trainable", []any{"layers:last:3"}, ""},
		{"llama-factory", "finetuning_type: freeze\nfreeze_trainable_layers: -3", "trainable", []any{"layers:first:3"}, ""},
		{"llama-factory", "finetuning_type: oft", "trainable", []any{"all"}, "oft is not available"},
		{"llama-factory", "lora_rank: 4", "peft.lora_alpha", 8.0, ""},
		{"llama-factory", "lora_target: q_proj", "peft.target_modules", []any{"q_proj"}, ""},
		{"llama-factory", "quantization_bit: 4", "quantization", "nf4", ""},
		{"llama-factory", "quantization_bit: 3", "training.seed", 42.0, "in 4 or 8 bits, not in 3"},
		{"llama-factory", "quantization_bit: 8\nfinetuning_type: full", "training.seed", 42.0, "all weights train"},
		{"axolotl", "load_in_4bit: true\nadapter: qlora", "quantization", "nf4", ""},
		{"trl", "load_in_8bit: true\nuse_peft: true", "quantization", "int8", ""},
		{"llama-factory", "stage: dpo", "training.seed", 42.0, "dpo is not available"},
		{"llama-factory", "dataset_dir: data", "dataset.path", "data/d.jsonl", ""},
		{"llama-factory", "val_size: 0.2\neval_strategy: epoch", "training.eval_steps", 0.0, "a number of steps"},
		{"axolotl", "adapter: lora\nlora_r: 4\nlora_target_modules: [q_proj, o_proj]\npeft_use_dora: true", "peft.use_dora", true, ""},
		{"axolotl", "adapter: ia4", "trainable", []any{"all"}, "ia4 is not known"},
		{"axolotl", "val_set_size: 100", "dataset.validation_split", 0.0, "validation_split: is 100"},
		{"axolotl", "eval_steps: 5\nval_set_size: 0.1", "training.eval_steps", 5.0, ""},
		{"axolotl", "eval_steps: 0.1\nval_set_size: 0.1", "training.eval_steps", 0.0, "a whole number of steps"},
		{"axolotl", "max_steps: 12", "training.max_steps", 12.0, ""},
		{"axolotl", "load_best_model_at_end: true\neval_steps: 5\nval_set_size: 0.1", "training.load_best_model_at_end", true, "-"},
		{"axolotl", "early_stopping_patience: 3\neval_steps: 5\nval_set_size: 0.1", "training.early_stopping_patience", 3.0, "-"},
		{"axolotl", "early_stopping_patience: 3", "training.early_stopping_patience", 0.0, "there are none"},
		{"axolotl", "warmup_steps: 0", "training.warmup_ratio", nil, "-"},
		{"axolotl", "bf16: full", "precision.param_dtype", "bfloat16", "taken over as true"},
		{"axolotl", "lora_r: 4", "trainable", []any{"all"}, "asks for no LoRA adapter"},
		{"axolotl", "datasets: [{path: d, data_files: [a.jsonl, b.jsonl]}]", "dataset.path", "a.jsonl", "only the first of 2 data_files"},
		{"axolotl", "datasets: [{path: d.jsonl, split: train}]", "dataset.path", "d.jsonl", "split of the first entry"},
		{"axolotl", "datasets: [{path: d.jsonl, type: {field_output: x}}]", "dataset.format", "auto", "dataset.columns"},
	} {
		text := base[c.from]
		for line := range strings.Lines(c.text) { // a key of the case replaces the same key of the base
			if key, _, _ := strings.Cut(line, ":"); strings.Contains(text, "\n"+key+":") {
				before, rest, _ := strings.Cut(text, "\n"+key+":")
				_, after, _ := strings.Cut(rest, "\n")
				text = before + "\n" + after
			}
		}
		run, from, notes := imported(t, []byte(text+c.text+"\n"), Options{})
		tree := map[string]any{}
		raw, _ := json.Marshal(run)
		if err := json.Unmarshal(raw, &tree); err != nil {
			t.Fatal(err)
		}
		section, key, nested := strings.Cut(c.path, ".")
		got := tree[section]
		if object, ok := got.(map[string]any); nested && ok {
			got = object[key]
		}
		if from != c.from || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s, %q: %s is %v, want %v", from, c.text, c.path, got, c.want)
		}
		if c.note == "-" && notes != "" || c.note != "-" && !strings.Contains(notes, c.note) {
			t.Errorf("%s, %q: notes %q, want %q", c.from, c.text, notes, c.note)
		}
	}
}

// TestOptions: the command's options count more than the file.
func TestOptions(t *testing.T) {
	c, from, _ := imported(t, []byte("learning_rate: 1e-3\n"), Options{Model: "m", Dataset: "d.jsonl"})
	if c.Model.Path != "m" || c.Dataset.Path != "d.jsonl" || from != "trl" {
		t.Errorf("read as %s: model %q, dataset %q", from, c.Model.Path, c.Dataset.Path)
	}
	c, _, notes := imported(t, []byte("base_model: a\ndatasets: [{path: hub/b}]\n"), Options{Model: "m", Dataset: "d.jsonl"})
	if c.Model.Path != "m" || c.Dataset.Path != "d.jsonl" || notes != "" {
		t.Errorf("model %q, dataset %q, notes %q", c.Model.Path, c.Dataset.Path, notes)
	}
	if _, from, _ = imported(t, []byte("learning_rate: 1e-3\n"), Options{From: "axolotl", Model: "m", Dataset: "d"}); from != "axolotl" {
		t.Errorf("read as %s", from)
	}
}

func TestErrors(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 8 {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", 'b'+i, 'b'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i)
	}
	for text, want := range map[string]string{
		"":                    "holds no settings",
		"just words":          "holds no settings",
		"[1, 2]":              "holds no settings",
		"a: [":                "neither JSON nor YAML",
		"a: b":                "none of its keys",
		"learning_rate: 1e-3": "names no model",
		"base_model: m":       "names no dataset",
		"base_model: m\nbase_model: n\ndatasets: [{path: d}]":              "line 2: the key base_model occurs twice",
		"base_model: m\ndatasets: [{path: d, path: e}]":                    "the key path occurs twice",
		`{"base_model": "m", "base_model": "n"}`:                           "the key base_model occurs twice",
		"base_model: " + strings.Repeat("[", 40) + strings.Repeat("]", 40): "nested deeper",
		"base_model: m\n" + bomb:                                           "more than 50000 values",
		"x: " + strings.Repeat("y", maxBytes):                              "more than the limit",
		`{"base_model": ["m"], "dataset": "d"}`:                            "names no dataset",
		"base_model: [m]\ndatasets: [{path: d}]":                           "model",
	} {
		if _, _, _, err := Import([]byte(text), Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want an error about %q", text, err, want)
		}
	}
	if _, _, _, err := Import([]byte("a: b"), Options{From: "other"}); err == nil || !strings.Contains(err.Error(), "axolotl, llama-factory, trl") {
		t.Errorf("an unknown trainer: %v", err)
	}
}

// FuzzImport: whatever a file holds, what is imported from it is a run.json that llamatab accepts.
func FuzzImport(f *testing.F) {
	for _, name := range []string{"axolotl.yml", "llamafactory.yml", "trl.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("base_model: m\nx: &a [1]\ny: *a\n<<: {seed: 1}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		run, _, notes, err := Import(data, Options{Model: "m", Dataset: "d.jsonl"})
		if err != nil {
			return
		}
		if _, err := config.Parse(run, ""); err != nil {
			t.Fatalf("llamatab refuses %s: %v", run, err)
		}
		for _, n := range notes {
			if len(n.String()) > 4000 {
				t.Errorf("a note of %d bytes", len(n.String()))
			}
		}
	})
}
