package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
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
	    "train_on_prompt": false, "on_bad_row": "stop", "shuffle": true, "validation_split": 0.0},
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

func TestPEFTDefaults(t *testing.T) {
	c, err := Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", "r": null, "bias": "none", "use_dora": false,
		"loftq_config": {}, "eva_config": null, "modules_to_save": null, "megatron_core": "megatron.core", "qalora_group_size": 16}}`), "run.json")
	if err != nil {
		t.Fatal(err)
	}
	want := &PEFT{Type: LORA, R: 8, Alpha: 8, Init: InitDefault, Bias: "none", TaskType: CausalLM, InitIA3: true, InitPrompt: PromptRandom}
	if !reflect.DeepEqual(c.PEFT, want) {
		t.Errorf("got %+v, want %+v", c.PEFT, want)
	}
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

func TestOrderOfPatterns(t *testing.T) {
	c, err := Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", "rank_pattern": {"z": 2, "a": 3}}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Patterns[int]{{"z", 2}, {"a", 3}}); !reflect.DeepEqual(c.PEFT.RankPattern, want) {
		t.Errorf("got %v, want %v", c.PEFT.RankPattern, want)
	}
	if data := string(marshal(t, c)); !strings.Contains(data, `"rank_pattern":{"z":2,"a":3}`) {
		t.Errorf("order lost in %s", data)
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
		{`training.warmup_ratio=0.1`, []string{"training.warmup_ratio: unknown key", "training.warmup_steps"}},
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

		// Known, but not in this version: named.
		{`quantization=nf4`, []string{`quantization: "nf4" is not available`}},
		{`quantization={"type": "int8"}`, []string{`quantization: "int8" is not available`}},
		{`quantization=int3`, []string{"quantization", "int8"}},
		{`fsdp={"sharding_strategy": "ZERO"}`, []string{"fsdp.sharding_strategy", "FULL_SHARD", "NO_SHARD"}},
		{`fsdp={"sharding_strategy": "HYBRID_SHARD", "shard_group_size": 1000}`, []string{"fsdp.shard_group_size: is 1000"}},
		{`fsdp={"sharding_strategy": "FULL_SHARD", "reproducible": false}`, []string{"fsdp.reproducible", "NO_SHARD"}},
		{`fsdp={"auto_wrap_policy": "size:0"}`, []string{"fsdp.auto_wrap_policy", "size:N"}},
		{`fsdp={"sharding_strategy": "NO_SHARD", "slots": 0, "world_size": 0}`, []string{"fsdp.world_size"}},
		{`dataset.format=sharegpt`, []string{`dataset.format: "sharegpt" is not available`}},
		{`dataset.packing=true`, []string{"dataset.packing: true is not available"}},
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

func TestPEFTRefusals(t *testing.T) {
	for body, want := range map[string][]string{
		`"r": 4`:                     {"peft.peft_type: is missing"},
		`"peft_type": 1`:             {"peft.peft_type: wants a string"},
		`"peft_type": "VERA"`:        {`"VERA" is not one of`, "PREFIX_TUNING", "IA3"},
		`"peft_type": "IA3", "r": 1`: {"peft.r: unknown key"},
		`"peft_type": "IA3", "feedforward_module": ["down_proj"]`:                              {"peft.feedforward_modules"},
		`"peft_type": "IA3", "fan_in_fan_out": true`:                                           {"peft.fan_in_fan_out: true is not available"},
		`"peft_type": "IA3", "target_modules": ["k_proj"], "feedforward_modules": ["up_proj"]`: {"peft.feedforward_modules", "subset"},
		`"peft_type": "PREFIX_TUNING"`:                                                         {"peft.num_virtual_tokens: is 0"},
		`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 1.5`:                              {"peft.num_virtual_tokens: wants an integer"},
		`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "init_weights": "one"`:         {"peft.init_weights", "zero"},
		`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "prefix_projektion": true`:     {"peft.prefix_projection"},
		`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "num_transformer_submodules": 2`: {
			"peft.num_transformer_submodules: is not 1"},
		`"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 0`:                               {"peft.num_virtual_tokens: is 0"},
		`"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "prompt_tuning_init": "BEST"`: {"peft.prompt_tuning_init", "SAMPLE_VOCAB"},
		`"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "prompt_tuning_init": "TEXT"`: {"peft.prompt_tuning_init_text: is missing"},
		`"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "tokenizer_kwargs": {"a": 1}`: {"peft.tokenizer_kwargs"},
		`"peft_type": "ADAPTION_PROMPT", "adapter_layers": 1`:                                 {"peft.adapter_len: is 0"},
		`"peft_type": "ADAPTION_PROMPT", "adapter_len": 1`:                                    {"peft.adapter_layers: is 0"},
		`"peft_type": "ADAPTION_PROMPT", "adapter_len": 1, "adapter_layers": 1, "target_modules": "mlp"`: {
			"peft.target_modules", "self_attn"},
		`"peft_type": "lora"`:                                                                  {"peft.peft_type", "LORA"},
		`"peft_type": "LORA", "r": 0`:                                                          {"peft.r: is 0"},
		`"peft_type": "LORA", "lora_dropout": 1`:                                               {"peft.lora_dropout"},
		`"peft_type": "LORA", "lora_alpha": -1`:                                                {"peft.lora_alpha"},
		`"peft_type": "LORA", "use_dora": 1`:                                                   {"peft.use_dora: wants"},
		`"peft_type": "LORA", "bias": "some"`:                                                  {"peft.bias", "lora_only"},
		`"peft_type": "LORA", "lora_bias": true`:                                               {"peft.lora_bias"},
		`"peft_type": "LORA", "use_qalora": true`:                                              {"peft.use_qalora"},
		`"peft_type": "LORA", "modules_to_save": 3`:                                            {"peft.modules_to_save"},
		`"peft_type": "LORA", "layer_replication": [[0, 4]]`:                                   {"peft.layer_replication"},
		`"peft_type": "LORA", "loftq_config": {"loftq_bits": 4}`:                               {"peft.loftq_config"},
		`"peft_type": "LORA", "init_lora_weights": "eva"`:                                      {`peft.init_lora_weights: "eva" is not available`, "pissa"},
		`"peft_type": "LORA", "init_lora_weights": "pissa_niter_4"`:                            {`peft.init_lora_weights: "pissa_niter_4" is not available`},
		`"peft_type": "LORA", "init_lora_weights": 1`:                                          {"peft.init_lora_weights: wants"},
		`"peft_type": "LORA", "target_modules": []`:                                            {"peft.target_modules"},
		`"peft_type": "LORA", "target_modules": 1`:                                             {"peft.target_modules"},
		`"peft_type": "LORA", "target_modules": [1]`:                                           {"peft.target_modules[0]: wants a string"},
		`"peft_type": "LORA", "layers_to_transform": []`:                                       {"peft.layers_to_transform"},
		`"peft_type": "LORA", "layers_to_transform": [-1]`:                                     {"peft.layers_to_transform[0]: is -1"},
		`"peft_type": "LORA", "layers_to_transform": 1, "target_modules": "x"`:                 {"peft.layers_to_transform"},
		`"peft_type": "LORA", "layers_pattern": "h"`:                                           {"peft.layers_pattern"},
		`"peft_type": "LORA", "rank_pattern": {"x": 0}`:                                        {"peft.rank_pattern.x: is 0"},
		`"peft_type": "LORA", "rank_pattern": {"x": "y"}`:                                      {"peft.rank_pattern.x: wants an integer"},
		`"peft_type": "LORA", "rank_pattern": []`:                                              {"peft.rank_pattern: wants an object"},
		`"peft_type": "LORA", "task_type": "SEQ_2_SEQ_LM"`:                                     {"peft.task_type"},
		`"peft_type": "LORA", "alpha_pattern": {"x": -1}`:                                      {"peft.alpha_pattern.x"},
		`"peft_type": "LORA", "trainable_token_indices": [1], "alora_invocation_tokens": null`: {"peft.trainable_token_indices"},
	} {
		_, err := Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {`+body+`}}`), "run.json")
		wantError(t, body, err, want)
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

func TestAdapterConfigOfPEFT(t *testing.T) {
	golden := shared(t, "golden/lora_qv_r8/adapter_final/adapter_config.json")
	p, dropped, err := ParseAdapterConfig(golden, "adapter_config.json")
	if err != nil || len(dropped) > 0 {
		t.Fatal(err, dropped)
	}
	if p.R != 8 || p.Alpha != 32 || !reflect.DeepEqual(p.TargetModules.Names, []string{"q_proj", "v_proj"}) || p.BaseModel != "stories260k" {
		t.Errorf("got %+v", p)
	}
	ours, err := p.AdapterConfig()
	if err != nil {
		t.Fatal(err)
	}
	// Byte for byte but for Python's spelling of a whole float.
	if want := strings.Replace(string(golden), `"lora_dropout": 0.0`, `"lora_dropout": 0`, 1); string(ours) != want {
		t.Errorf("got\n%s\nwant\n%s", ours, want)
	}
}

// What PEFT 0.13 writes for each class: its files read back, and ours hold the same keys and values.
func TestAdapterConfigs(t *testing.T) {
	for _, file := range []string{
		`{"auto_mapping": null, "base_model_name_or_path": "m", "encoder_hidden_size": 32, "inference_mode": true, "num_attention_heads": 4,
		  "num_layers": 5, "num_transformer_submodules": 1, "num_virtual_tokens": 8, "peft_type": "PREFIX_TUNING", "prefix_projection": false,
		  "revision": null, "task_type": "CAUSAL_LM", "token_dim": 32}`,
		`{"auto_mapping": null, "base_model_name_or_path": "m", "inference_mode": true, "num_attention_heads": 8, "num_layers": 5,
		  "num_transformer_submodules": 1, "num_virtual_tokens": 8, "peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM",
		  "prompt_tuning_init_text": null, "revision": null, "task_type": "CAUSAL_LM", "token_dim": 64, "tokenizer_kwargs": null,
		  "tokenizer_name_or_path": null}`,
		`{"adapter_layers": 3, "adapter_len": 10, "auto_mapping": null, "base_model_name_or_path": "m", "inference_mode": true,
		  "peft_type": "ADAPTION_PROMPT", "revision": null, "target_modules": "self_attn", "task_type": "CAUSAL_LM"}`,
		`{"auto_mapping": null, "base_model_name_or_path": "m", "fan_in_fan_out": false, "feedforward_modules": ["down_proj"],
		  "inference_mode": true, "init_ia3_weights": true, "modules_to_save": null, "peft_type": "IA3", "revision": null,
		  "target_modules": ["k_proj", "v_proj", "down_proj"], "task_type": "CAUSAL_LM"}`,
	} {
		p, dropped, err := ParseAdapterConfig([]byte(file), "a.json")
		if err != nil || len(dropped) > 0 {
			t.Error(err, dropped)
			continue
		}
		ours, err := p.AdapterConfig()
		if err != nil {
			t.Fatal(err)
		}
		same(t, ours, []byte(file))
	}
}

func TestParseAdapterConfig(t *testing.T) {
	p, dropped, err := ParseAdapterConfig([]byte(`{"peft_type": "LORA", "task_type": "SEQ_CLS", "brand_new_key": {"a": 1}, "bias": "none", "peft_version": "0.19.1"}`), "a.json")
	if err != nil || p.R != 8 || !slices.Equal(dropped, []string{"brand_new_key"}) {
		t.Errorf("got %+v, %q, %v", p, dropped, err)
	}
	for src, want := range map[string][]string{
		`{"peft_type": "LORA", "lora_bias": true}`: {"a.json:1:36: lora_bias"},
		`{"peft_type": "LORA", "r": 0}`:            {"a.json: r: is 0"},
		`{"peft_type": "VERA"}`:                    {"peft_type"},
		`{}`:                                       {"peft_type: is missing"},
		`null`:                                     {"null"},
		`3`:                                        {"wants an object"},
	} {
		_, _, err := ParseAdapterConfig([]byte(src), "a.json")
		wantError(t, src, err, want)
	}
}

func TestSameMaths(t *testing.T) {
	parse := func(body string) *PEFT {
		if !strings.Contains(body, "peft_type") {
			body = `, "peft_type": "LORA"` + body
		}
		p, _, err := ParseAdapterConfig([]byte(`{`+body[1:]+`}`), "a.json")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct{ a, b, differ string }{
		{``, ``, ""},
		{`, "target_modules": ["q_proj", "v_proj"]`, `, "target_modules": ["v_proj", "q_proj", "v_proj"]`, ""},
		{`, "rank_pattern": {"b": 1, "a": 2}`, `, "rank_pattern": {"a": 2, "b": 1}`, ""},
		{`, "layers_to_transform": 1`, `, "layers_to_transform": [1]`, ""},
		{`, "base_model_name_or_path": "x", "revision": "y", "inference_mode": true, "task_type": "QUESTION_ANS"`, ``, ""},
		{`, "task_type": "SEQ_CLS"`, `, "task_type": "SEQ_CLS", "modules_to_save": ["score", "classifier"]`, ""},
		{`, "init_lora_weights": "gaussian"`, ``, ""},
		{`, "init_lora_weights": "pissa"`, ``, "init_lora_weights"},
		{`, "init_lora_weights": "pissa"`, `, "init_lora_weights": "olora"`, "init_lora_weights"},
		{`, "r": 4`, ``, "r"},
		{`, "lora_alpha": 16`, ``, "lora_alpha"},
		{`, "lora_dropout": 0.1`, ``, "lora_dropout"},
		{`, "use_rslora": true`, ``, "use_rslora"},
		{`, "target_modules": ["q_proj"]`, `, "target_modules": "q_proj"`, "target_modules"},
		{`, "exclude_modules": ["q_proj"]`, ``, "exclude_modules"},
		{`, "layers_to_transform": [1, 2]`, `, "layers_to_transform": [1]`, "layers_to_transform"},
		{`, "rank_pattern": {"a": 1}`, ``, "rank_pattern"},
		{`, "alpha_pattern": {"a": 1}`, `, "alpha_pattern": {"a": 2}`, "alpha_pattern"},
		{`, "use_dora": true`, ``, "use_dora"},
		{`, "modules_to_save": [], "exclude_modules": []`, ``, ""},
		{`, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "encoder_hidden_size": 7`, `, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4`, ""},
		{`, "peft_type": "IA3"`, ``, "peft_type"},
		{`, "peft_type": "IA3", "init_ia3_weights": false`, `, "peft_type": "IA3"`, ""},
		{`, "peft_type": "IA3", "feedforward_modules": []`, `, "peft_type": "IA3"`, "feedforward_modules"},
		{`, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "init_weights": "zero"`, `, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4`, ""},
		{`, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4`, `, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 5`, "num_virtual_tokens"},
		{`, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4`, `, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "prefix_projection": true`, "prefix_projection"},
		{`, "peft_type": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": 2`, `, "peft_type": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": 1`, "adapter_layers"},
	} {
		err := parse(c.a).SameMaths(parse(c.b))
		if c.differ == "" && err != nil || c.differ != "" && (err == nil || !strings.Contains(err.Error(), " "+c.differ+":")) {
			t.Errorf("%s against %s: %v", c.a, c.b, err)
		}
	}
	if (*PEFT)(nil).SameMaths(nil) != nil || parse("").SameMaths(nil) == nil {
		t.Error("nil is not compared as no adapter")
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

// shared reads a file of the folder beside the repository, which not every checkout has.
func shared(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Skip("no go.mod above this test")
		}
		dir = filepath.Dir(dir)
	}
	data, err := os.ReadFile(filepath.Join(dir, "..", "shared", name))
	if err != nil {
		t.Skipf("needs ../shared beside the repository: %v", err)
	}
	return data
}
