package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// least is the smallest config that runs; the tests add to it.
const least = `{"model": "m", "dataset": {"path": "d.jsonl"}, "trainable": ["all"]}`

func TestDefaults(t *testing.T) {
	got, err := Parse([]byte(least), "run.json")
	if err != nil {
		t.Fatal(err)
	}
	// The defaults are written out once more, as the contract has them, so that none changes unseen.
	const contract = `{
	  "model": "m", "quantization": null,
	  "dataset": {"path": "d.jsonl", "format": "auto", "columns": {}, "max_length": null, "packing": false,
	    "train_on_prompt": false, "template": "model", "on_bad_row": "stop", "shuffle": true, "validation_split": 0.0},
	  "peft": null, "init_adapter": null, "trainable": ["all"], "unfreeze": [],
	  "training": {
	    "learning_rate": 2e-4, "weight_decay": 0.01, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "no_decay": [],
	    "lr_scheduler_type": "linear", "warmup_steps": 0, "max_grad_norm": 1.0, "layer_lr_decay": 1.0,
	    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "num_train_epochs": 1, "max_steps": -1,
	    "gradient_checkpointing": false, "seed": 42,
	    "eval_on_start": false, "eval_steps": 0, "save_steps": 0, "save_total_limit": 2, "resume_from_checkpoint": null,
	    "early_stopping_patience": 0, "load_best_model_at_end": false, "on_nonfinite": "skip", "on_spike": "warn"},
	  "precision": {"param_dtype": "float32", "reduce_dtype": "bfloat16", "buffer_dtype": "float32", "stochastic_rounding": false},
	  "fsdp": null}`
	same(t, marshal(t, got), []byte(contract))
}

func TestRoundTrip(t *testing.T) {
	for _, src := range []string{
		least,
		`{"model": {"init": "random", "config": {"hidden_size": 64, "b": [1, {"z": 1, "a": null}]}, "tokenizer": null}, "dataset": {"path": "d"}, "trainable": ["all"]}`,
		`{"model": {"init": "random", "config": "c.json", "tokenizer": "t"}, "dataset": {"path": "d"}, "trainable": ["all"]}`,
		`{"model": "m", "dataset": {"path": "d", "format": "alpaca", "columns": {"output": "answer"}, "max_length": 64, "validation_split": 0.1},
		  "peft": {"peft_type": "LORA", "r": 4, "lora_alpha": 0.5, "target_modules": ["q_proj"], "exclude_modules": "x.*", "layers_to_transform": 3,
		  "layers_pattern": "layers", "rank_pattern": {"z": 2, "a": 3}, "alpha_pattern": {"b": 1.5}, "init_lora_weights": false, "use_rslora": true,
		  "revision": "main", "base_model_name_or_path": "x"}, "init_adapter": "a",
		  "training": {"max_grad_norm": null, "no_decay": ["norm"], "eval_steps": 5, "resume_from_checkpoint": "c", "max_steps": 2e1, "seed": 9007199254740991},
		  "kernels": {"matmul": "tile8"}}`,
		`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", "target_modules": "all-linear", "init_lora_weights": "gaussian", "layers_to_transform": null}}`,
		`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", "use_dora": true}}`,
		`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", "init_lora_weights": "olora"}}`,
		`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "prefix_projection": true, "encoder_hidden_size": 12, "init_weights": "zero"}}`,
		`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "token_dim": 32, "num_attention_heads": 4, "num_layers": 5}}`,
		`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Once", "tokenizer_name_or_path": "m"}}`,
		`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": 2}}`,
		`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ".*down_proj", "init_ia3_weights": false}}`,
	} {
		first, err := Parse([]byte(src), "run.json")
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		second, err := Parse(marshal(t, first), "resolved.json")
		if err != nil {
			t.Errorf("resolved: %v", err)
		} else if !reflect.DeepEqual(first, second) {
			t.Errorf("changed by a round trip:\n%s\n%s", marshal(t, first), marshal(t, second))
		}
	}
}

// Every refusal names the path it is about, and says what the user can act on.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		set  string // put into least
		want []string
	}{
		// Unknown keys name the nearest known one, also when it stands in another section.
		{`training.max_stepz=1`, []string{"training.max_stepz: unknown key", "nearest", "training.max_steps"}},
		{`training.warmup_step=3`, []string{"training.warmup_step: unknown key", "training.warmup_steps"}},
		{`learning_rate=1`, []string{"learning_rate: unknown key", "training.learning_rate"}},
		{`max_lenght=1`, []string{"max_lenght: unknown key", "dataset.max_length"}},
		{`dataset.shufle=1`, []string{"dataset.shuffle"}},
		{`pefft=1`, []string{"pefft: unknown key", "peft"}},
		{`fsdp={"slotz": 1}`, []string{"fsdp.slotz: unknown key", "fsdp.slots"}},
		{`peft={"peft_type": "LORA", "lora_alfa": 1}`, []string{"peft.lora_alfa: unknown key", "peft.lora_alpha"}},
		{`peft={"peft_type": "LORA", "use_dorra": false}`, []string{"peft.use_dora"}},
		{`unfreeze=[{"stepp": 1}]`, []string{"unfreeze[0].stepp: unknown key", "unfreeze[0].step"}},
		{`model={"init": "random", "confi": {}}`, []string{"model.confi: unknown key", "model.config"}},

		// Wrong types.
		{`model=3`, []string{"model: wants a string", "the number 3"}},
		{`training=[]`, []string{"training: wants an object, got a list"}},
		{`training.max_steps=1.5`, []string{"training.max_steps: wants an integer, got the number 1.5"}},
		{`training.max_steps="5"`, []string{"training.max_steps: wants an integer, got the string"}},
		{`training.max_steps=1e300`, []string{"training.max_steps: wants an integer"}},
		{`training.learning_rate=1e999`, []string{"training.learning_rate: wants a finite number"}},
		{`training.learning_rate=null`, []string{"training.learning_rate: wants a finite number, got null"}},
		{`training.seed=-1`, []string{"training.seed"}},
		{`training.no_decay="norm"`, []string{"training.no_decay: wants a list"}},
		{`training.no_decay=[1]`, []string{"training.no_decay[0]: wants a string"}},
		{`training.gradient_checkpointing="yes"`, []string{"training.gradient_checkpointing: wants true, false"}},
		{`dataset.shuffle=1`, []string{"dataset.shuffle: wants true or false, got the number 1"}},
		{`dataset.columns={"text": 1}`, []string{"dataset.columns.text: wants a string"}},
		{`trainable="all"`, []string{"trainable: wants a list"}},
		{`trainable=[1]`, []string{"trainable[0]: wants a string"}},
		{`peft=[]`, []string{"peft: wants an object"}},
		{`kernels={"a": 1}`, []string{"kernels.a: wants a string"}},

		// Ranges.
		{`training.learning_rate=-1`, []string{"training.learning_rate: is -1"}},
		{`training.adam_beta1=1`, []string{"training.adam_beta1"}},
		{`training.adam_beta2=-0.1`, []string{"training.adam_beta2"}},
		{`training.adam_epsilon=0`, []string{"training.adam_epsilon"}},
		{`training.adam_epsilon=1e-60`, []string{"training.adam_epsilon", "single precision"}},
		{`training.weight_decay=-1`, []string{"training.weight_decay"}},
		{`training.max_grad_norm=-1`, []string{"training.max_grad_norm"}},
		{`training.per_device_train_batch_size=0`, []string{"training.per_device_train_batch_size: is 0"}},
		{`training.gradient_accumulation_steps=0`, []string{"training.gradient_accumulation_steps"}},
		{`training.num_train_epochs=0`, []string{"training.num_train_epochs", "no step"}},
		{`training.max_steps=-2`, []string{"training.max_steps"}},
		{`training.warmup_steps=-1`, []string{"training.warmup_steps"}},
		{`training.lr_scheduler_type=step`, []string{"training.lr_scheduler_type", "cosine_with_restarts"}},
		{`training.eval_steps=10`, []string{"training.eval_steps", "dataset.validation_split"}},
		{`training.early_stopping_patience=3`, []string{"training.early_stopping_patience", "training.eval_steps"}},
		{`training.early_stopping_patience=-1`, []string{"training.early_stopping_patience: is -1"}},
		{`training.load_best_model_at_end=true`, []string{"training.load_best_model_at_end", "dataset.validation_split"}},
		{`training.on_nonfinite=warn`, []string{"training.on_nonfinite", "rollback"}},
		{`training.on_spike=skip`, []string{"training.on_spike", "warn"}},
		{`dataset.on_bad_row=drop`, []string{"dataset.on_bad_row", "skip"}},
		{`training.no_decay=["("]`, []string{"training.no_decay[0]", "regular expression"}},
		{`training.resume_from_checkpoint=`, []string{"training.resume_from_checkpoint"}},
		{`dataset.max_length=1`, []string{"dataset.max_length"}},
		{`dataset.validation_split=1`, []string{"dataset.validation_split"}},
		{`dataset.path=`, []string{"dataset.path", "missing"}},
		{`dataset.format=xml`, []string{"dataset.format", "prompt_completion"}},
		{`dataset.columns={"question": "q"}`, []string{"dataset.columns.question", "instruction"}},
		{`dataset.columns={"text": ""}`, []string{"dataset.columns.text", "empty"}},
		{`model=`, []string{"model: is missing"}},
		{`model={"init": "zero", "config": {}}`, []string{"model.init"}},
		{`model={"init": "random"}`, []string{"model.config: is missing"}},
		{`trainable=[]`, []string{"trainable: nothing would train"}},
		{`init_adapter=a`, []string{"init_adapter", "adapter_config.json"}},

		// Rows of several samples.
		{`dataset.packing=1`, []string{"dataset.packing"}},

		{`quantization={"type": "int8", "double_quant": true}`, []string{"quantization.double_quant", "nf4"}},
		{`quantization=int3`, []string{"quantization", "int8"}},
		{`fsdp={"sharding_strategy": "ZERO"}`, []string{"fsdp.sharding_strategy", "FULL_SHARD", "NO_SHARD"}},
		{`fsdp={"sharding_strategy": "HYBRID_SHARD", "shard_group_size": 1000}`, []string{"fsdp.shard_group_size: is 1000"}},
		{`fsdp={"sharding_strategy": "FULL_SHARD", "reproducible": false}`, []string{"fsdp.reproducible", "NO_SHARD"}},
		{`fsdp={"auto_wrap_policy": "size:0"}`, []string{"fsdp.auto_wrap_policy", "size:N"}},
		{`fsdp={"sharding_strategy": "NO_SHARD", "slots": 0, "world_size": 0}`, []string{"fsdp.world_size"}},
		{`dataset.format=shargpt`, []string{`dataset.format: "shargpt" is not one of`, "messages", "sharegpt"}},
		{`dataset.template=qwen`, []string{`dataset.template: "qwen" is not one of`, "chatml", "llama3"}},
		{`trainable=["all", "lm_haed"]`, []string{`trainable[1]: "lm_haed" is not one of`, "layers:last:N"}},
		{`trainable=["layers:last:0"]`, []string{`trainable[0]: "layers:last:0"`, "at least 1"}},
		{`trainable=["layers:first:-1"]`, []string{"trainable[0]", "at least 1"}},
		{`trainable=["layers:"]`, []string{"trainable[0]", "number"}},
		{`trainable=["layers:1,x"]`, []string{"trainable[0]", `"x" is no number`}},
		{`trainable=["layers:1,-2"]`, []string{"trainable[0]", `"-2" is no number`}},
		{`trainable=["layers:99999999999999999999"]`, []string{"trainable[0]", "is no number"}},
		{`trainable=["regex:("]`, []string{"trainable[0]", "regular expression", "RE2"}},
		{`trainable=[{"add": "mlp", "at": "classify"}]`, []string{`trainable[0].add: "mlp" is not one of fc`}},
		{`trainable=[{"add": "fc", "at": "top"}]`, []string{`trainable[0].at: "top" is not one of classify, between`}},
		{`trainable=[{"add": "fc", "at": "between", "activation": "swish"}]`, []string{`trainable[0].activation: "swish"`, "gelu"}},
		{`trainable=[{"add": "fc", "at": "between", "sizes": [0]}]`, []string{`trainable[0].sizes[0]: is 0`}},
		{`trainable=[{"add": "fc", "at": "classify", "num_labels": 1}]`, []string{`trainable[0].num_labels: is 1`}},
		{`trainable=[{"add": "fc", "at": "classify", "size": []}]`, []string{"trainable[0].size: unknown key", "sizes"}},
		{`unfreeze=[{"step": 0, "trainable": ["lm_head"]}]`, []string{"trainable", "beside unfreeze"}}, // least trains all
		{`training.layer_lr_decay=0`, []string{"training.layer_lr_decay: is 0"}},
		{`training.layer_lr_decay=1.1`, []string{"training.layer_lr_decay: is 1.1"}},
		{`precision.param_dtype=int8`, []string{"precision.param_dtype"}},
		{`precision.buffer_dtype=int8`, []string{"precision.buffer_dtype"}},
		{`precision.reduce_dtype=int8`, []string{"precision.reduce_dtype"}},
		{`precision.stochastic_rounding=true`, []string{"precision.stochastic_rounding", "param_dtype"}},

		// --set itself.
		{`=1`, []string{"is not a path"}},
		{`a..b=1`, []string{"a..b"}},
		{`model.x=1`, []string{"model.x: model is the string"}},
		{`trainable.7=1`, []string{"trainable.7", "index"}},
		{`training={"seed": 1, "seed": 2}`, []string{"training", "twice"}},
	} {
		_, err := ParseWithSets([]byte(least), "run.json", []string{c.set})
		wantError(t, c.set, err, c.want)
	}
	_, err := ParseWithSets([]byte(least), "run.json", []string{"novalue"})
	wantError(t, "novalue", err, []string{"path.to.key=value"})
}

func TestUnfreezeRefusals(t *testing.T) {
	for stages, want := range map[string][]string{
		`[{"step": 3, "trainable": ["norm"]}]`:                                                    {"unfreeze[0].step", "nothing trains before"},
		`[{"step": 0, "trainable": []}]`:                                                          {"unfreeze[0].trainable", "nothing to train"},
		`[{"step": 0, "trainable": ["norm"]}, {"step": 0, "trainable": ["all"]}]`:                 {"unfreeze[1].step", "is 0"},
		`[{"step": 0, "trainable": ["norm"]}, {"step": 9, "trainable": ["al"]}]`:                  {"unfreeze[1].trainable[0]", `"al" is not one of`},
		`[{"step": -1, "trainable": ["norm"]}]`:                                                   {"unfreeze[0].step"},
		`[{"step": 0, "trainable": ["norm"]}, {"step": 9, "trainable": ["norm", "layers:last"]}]`: {"unfreeze[1].trainable[1]", "layers:last"},
	} {
		_, err := ParseWithSets([]byte(least), "run.json", []string{"trainable=[]", "unfreeze=" + stages})
		wantError(t, stages, err, want)
	}
	if _, err := ParseWithSets([]byte(least), "", []string{"trainable=[]", `peft={"peft_type": "LORA"}`, `unfreeze=[{"step": 3, "trainable": ["norm"]}]`}); err != nil {
		t.Errorf("an adapter may train alone before the first stage: %v", err)
	}
}

func TestPositions(t *testing.T) {
	for src, want := range map[string][]string{
		"":                          {"run.json:1:1: is not JSON"},
		"{\n  \"model\": \"m\",\n}": {"run.json:3:1: is not JSON"},
		"{\n \"model\": \"é\", \"training\": {\"seed\": \"x\"}}": {"run.json:2:37: training.seed"},
		"{\"model\": \"m\",\n \"model\": 1}":                     {"run.json:2:2: model: is given twice"},
		"{\"training\": {\"seed\": 1, \"seed\": 1}}":             {"training.seed: is given twice"},
		"[]":       {"wants an object, got a list"},
		"null":     {"wants an object, got null"},
		"{} {}":    {"run.json:1:4: is not JSON"},
		"\"\xff\"": {"UTF-8"},
		strings.Repeat("[", 100) + strings.Repeat("]", 100):       {"nested deeper"},
		`{"model": "` + strings.Repeat("x", maxBytes) + `"}`:      {"limit"},
		strings.Repeat("[", 100_000) + strings.Repeat("]", 1e5):   {"is not JSON"},
		`{"` + strings.Repeat("k", 100_000) + `": ` + `1` + ` } `: {"unknown key"},
	} {
		_, err := Parse([]byte(src), "run.json")
		wantError(t, clip(src), err, want)
	}
	if _, err := Parse([]byte("\ufeff"+strings.ReplaceAll(least, " ", "\r\n")), "run.json"); err != nil {
		t.Errorf("BOM and CRLF: %v", err)
	}
}

func TestSets(t *testing.T) {
	c, err := ParseWithSets([]byte(`{"dataset": null, "trainable": ["lm_head"]}`), "run.json", []string{
		"model=models/x=y", "dataset.path=true story.txt", "training.max_steps=20", "training.learning_rate=1e-3",
		"training.max_grad_norm=null", "trainable.0=all", `dataset.columns={"text": "body"}`, "training.seed=1", "training.seed=2"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Model.Path != "models/x=y" || c.Dataset.Path != "true story.txt" || c.Training.MaxSteps != 20 || c.Training.LearningRate != 1e-3 ||
		c.Training.MaxGradNorm != 0 || c.Trainable[0].Select != "all" || c.Dataset.Columns["text"] != "body" || c.Training.Seed != 2 {
		t.Errorf("got %s", marshal(t, c))
	}
	if err := c.Set("dataset.max_length", "128"); err != nil || *c.Dataset.MaxLength != 128 {
		t.Errorf("Set: %v, %v", err, c.Dataset.MaxLength)
	}
	before := string(marshal(t, c))
	if err := c.Set("training.max_stepp", "1"); err == nil || string(marshal(t, c)) != before {
		t.Errorf("a failed Set gave %v and changed the config", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(least), "training.max_steps=20")
	f.Add([]byte(`{"model": {"init": "random", "config": {}}, "dataset": {"path": "d", "columns": {}}, "peft": {"peft_type": "LORA", "rank_pattern": {"a": 1}}}`), "peft.r=3")
	f.Add([]byte(`{"model": "m", "quantization": "nf4", "unfreeze": [{"step": 1, "trainable": [{"add": "fc"}]}], "fsdp": {}}`), "a.b.c=[1]")
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		c, err := ParseWithSets(data, "run.json", []string{set})
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok || len(err.Error()) > 10_000 && len(set) < 1000 && len(data) < 1000 {
				t.Fatalf("unhelpful error %T of %d bytes", err, len(err.Error()))
			}
			return
		}
		again, err := Parse(marshal(t, c), "resolved.json")
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("a resolved config changes: %v\n%s\n%s", err, marshal(t, c), marshal(t, again))
		}
		_, _, _ = ParseAdapterConfig(data, "adapter_config.json")
	})
}

// TestRunOverTabs: a run that tabs share may be evaluated; what follows from evaluations alone is refused by name.
func TestRunOverTabs(t *testing.T) {
	shared := []string{`fsdp={"slots": 4}`, "dataset.validation_split=0.1", "training.eval_steps=5", "training.eval_on_start=true"}
	if _, err := ParseWithSets([]byte(least), "run.json", shared); err != nil {
		t.Error(err)
	}
	for set, want := range map[string][]string{
		"training.early_stopping_patience=2":   {"training.early_stopping_patience: is not available in a run over several tabs", "set it to 0"},
		"training.load_best_model_at_end=true": {"training.load_best_model_at_end: is not available in a run over several tabs"},
		"training.save_steps=2":                {"training.save_steps", "keeps its own checkpoints"},
	} {
		_, err := ParseWithSets([]byte(least), "run.json", append(slices.Clone(shared), set))
		wantError(t, set, err, want)
	}
}

func wantError(t *testing.T, what string, err error, want []string) {
	t.Helper()
	if _, ok := errors.AsType[*Error](err); !ok {
		t.Errorf("%s: got %v, want an *Error about %q", what, err, want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func same(t *testing.T, a, b []byte) {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(x, y) {
		var p, q bytes.Buffer
		_, _ = json.Indent(&p, a, "", " "), json.Indent(&q, b, "", " ")
		t.Errorf("got\n%s\nwant\n%s", &p, &q)
	}
}

func TestModelName(t *testing.T) {
	for path, want := range map[string]string{
		"models/stories": "stories", "/a/b/c/": "c", "builtin:tales": "builtin:tales", "name": "name", "org/name": "name",
		"org/name@0123456789012345678901234567890123456789": "org/name", "a/org/name@0123456789012345678901234567890123456789": "name@0123456789012345678901234567890123456789",
	} {
		if got := (Model{Path: path}).Name(); got != want {
			t.Errorf("%q is called %q, want %q", path, got, want)
		}
	}
}
