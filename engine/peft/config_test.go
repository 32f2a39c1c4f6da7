package peft_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/peft"
	"llamatab/engine/testfiles"
)

func TestPEFTDefaults(t *testing.T) {
	c, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", "r": null, "bias": "none", "use_dora": false,
		"loftq_config": {}, "eva_config": null, "modules_to_save": null, "megatron_core": "megatron.core", "qalora_group_size": 16}}`), "run.json")
	if err != nil {
		t.Fatal(err)
	}
	want := &config.PEFT{Type: "LORA", TaskType: config.CausalLM, Own: &peft.LoRAConfig{R: 8, Alpha: 8, Init: peft.InitDefault, Bias: "none"}}
	if !reflect.DeepEqual(c.PEFT, want) {
		t.Errorf("got %+v, want %+v", c.PEFT, want)
	}
}

func TestOrderOfPatterns(t *testing.T) {
	c, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", "rank_pattern": {"z": 2, "a": 3}}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	got := c.PEFT.Own.(*peft.LoRAConfig).RankPattern
	if want := (config.Patterns[int]{{Key: "z", Value: 2}, {Key: "a", Value: 3}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if data := string(marshal(t, c)); !strings.Contains(data, `"rank_pattern":{"z":2,"a":3}`) {
		t.Errorf("order lost in %s", data)
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
		`"peft_type": "LORA", "lora_bias": true, "use_dora": true`:                             {"peft.lora_bias", "use_dora"},
		`"peft_type": "LORA", "lora_bias": true, "init_lora_weights": "gaussian"`:              {"peft.lora_bias", "init_lora_weights"},
		`"peft_type": "LORA", "lora_bias": 1`:                                                  {"peft.lora_bias: wants"},
		`"peft_type": "LORA", "use_qalora": 1`:                                                 {"peft.use_qalora"},
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
		_, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {`+body+`}}`), "run.json")
		wantError(t, body, err, want)
	}
}

func TestAdapterConfigOfPEFT(t *testing.T) {
	golden, err := os.ReadFile(testfiles.Shared(t, "golden/lora_qv_r8/adapter_final/adapter_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	p, dropped, err := config.ParseAdapterConfig(golden, "adapter_config.json")
	if err != nil || len(dropped) > 0 {
		t.Fatal(err, dropped)
	}
	if own := p.Own.(*peft.LoRAConfig); own.R != 8 || own.Alpha != 32 || !reflect.DeepEqual(p.TargetModules.Names, []string{"q_proj", "v_proj"}) || p.BaseModel != "stories260k" {
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
		p, dropped, err := config.ParseAdapterConfig([]byte(file), "a.json")
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
	p, dropped, err := config.ParseAdapterConfig([]byte(`{"peft_type": "LORA", "task_type": "SEQ_CLS", "brand_new_key": {"a": 1}, "bias": "none", "peft_version": "0.19.1"}`), "a.json")
	if err != nil || p.Own.(*peft.LoRAConfig).R != 8 || !slices.Equal(dropped, []string{"brand_new_key"}) {
		t.Errorf("got %+v, %q, %v", p, dropped, err)
	}
	for src, want := range map[string][]string{
		`{"peft_type": "LORA", "use_bdlora": true}`: {"a.json:1:37: use_bdlora"},
		`{"peft_type": "LORA", "r": 0}`:             {"a.json: r: is 0"},
		`{"peft_type": "VERA"}`:                     {"peft_type"},
		`{}`:                                        {"peft_type: is missing"},
		`null`:                                      {"null"},
		`3`:                                         {"wants an object"},
	} {
		_, _, err := config.ParseAdapterConfig([]byte(src), "a.json")
		wantError(t, src, err, want)
	}
}

func TestSameMaths(t *testing.T) {
	parse := func(body string) *config.PEFT {
		if !strings.Contains(body, "peft_type") {
			body = `, "peft_type": "LORA"` + body
		}
		p, _, err := config.ParseAdapterConfig([]byte(`{`+body[1:]+`}`), "a.json")
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
	if (*config.PEFT)(nil).SameMaths(nil) != nil || parse("").SameMaths(nil) == nil {
		t.Error("nil is not compared as no adapter")
	}
}

func wantError(t *testing.T, what string, err error, want []string) {
	t.Helper()
	if _, ok := errors.AsType[*config.Error](err); !ok {
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

// TestSavedAdapters: what PEFT reads in a saved adapter without effect is read, also where run.json refuses it.
func TestSavedAdapters(t *testing.T) {
	for _, c := range []struct{ keys, refusedInRun string }{
		{`"init_lora_weights": "eva", "eva_config": {"rho": 2.0, "tau": 0.99}`, "eva"},
		{`"init_lora_weights": "orthogonal"`, "orthogonal"},
		{`"eva_config": {"rho": 2.0}`, "eva_config"},
		{`"loftq_config": {"loftq_bits": 4}`, "loftq_config"},
		{`"corda_config": {"x": 1}, "lora_ga_config": {"y": 1}`, "corda_config"},
		{`"fan_in_fan_out": true`, "fan_in_fan_out"},
		{`"layers_to_transform": [1], "layers_pattern": ""`, ""},
		{`"layers_to_transform": []`, "layers_to_transform"},
		{`"layers_pattern": []`, "layers_pattern"},
		{`"lora_alpha": -8`, "lora_alpha"},
		{`"lora_alpha": -8, "alpha_pattern": {"q_proj": -3}`, "lora_alpha"},
		{`"modules_to_save": ["classifier", "score"]`, "modules_to_save"},
		{`"exclude_modules": ""`, "exclude_modules"},
		{`"target_modules": "^(?!.*mlp).*\\.(q|v)_proj$"`, ""},
	} {
		p, _, err := config.ParseAdapterConfig([]byte(`{"peft_type": "LORA", `+c.keys+`}`), "adapter_config.json")
		if err == nil {
			_, err = peft.Attach(decoder(t, true), p, peft.Context{})
		}
		if err != nil {
			t.Errorf("%s: %v", c.keys, err)
		}
		run, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {"peft_type": "LORA", `+c.keys+`}}`), "run.json")
		if err == nil {
			_, err = peft.Attach(decoder(t, true), run.PEFT, peft.Context{})
		}
		if c.refusedInRun != "" && (err == nil || !strings.Contains(err.Error(), c.refusedInRun)) {
			t.Errorf("run.json with %s: %v, want an error about %s", c.keys, err, c.refusedInRun)
		}
	}
	for keys, want := range map[string][]string{
		`"init_lora_weights": "pissa_niter_16"`: {"pissa_niter_16", "base's weights", "path_initial_model_for_weight_conversion"},
		`"init_lora_weights": "corda"`:          {"corda", "base's weights"},
		`"init_lora_weights": "loftq"`:          {"loftq", "base's weights"},
		`"init_lora_weights": "unheard"`:        {"unheard", "gaussian"},
		`"trainable_token_indices": [1, 2]`:     {"trainable_token_indices", "merge_and_unload"},
		`"layer_replication": [[0, 2], [1, 3]]`: {"layer_replication", "merge_and_unload"},
		`"lora_bias": true, "use_dora": true`:   {"lora_bias", "use_dora"},
		`"target_parameters": ["x"]`:            {"target_parameters", "merge_and_unload"},
		`"layers_pattern": ["layers"]`:          {"layers_pattern"},
		`"target_modules": []`:                  {"target_modules"},
	} {
		_, _, err := config.ParseAdapterConfig([]byte(`{"peft_type": "LORA", `+keys+`}`), "adapter_config.json")
		wantError(t, keys, err, want)
	}
	_, _, err := config.ParseAdapterConfig([]byte(`{"peft_type": "LOHA"}`), "adapter_config.json")
	wantError(t, "LOHA", err, []string{"LOHA", "merge_and_unload"})
}

func FuzzAdapterConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type": "LORA", "r": 4, "target_modules": "^(?!.*mlp).*_proj$", "rank_pattern": {"(?<=a)b": 2}}`))
	f.Add([]byte(`{"peft_type": "IA3", "target_modules": ["k_proj"], "feedforward_modules": []}`))
	f.Add([]byte(`{"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "init_lora_weights": "eva"}`))
	d := decoder(f, true)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _, err := config.ParseAdapterConfig(data, "adapter_config.json")
		if err != nil {
			return
		}
		again, err := p.AdapterConfig()
		if err != nil {
			t.Fatal(err)
		}
		q, _, err := config.ParseAdapterConfig(again, "adapter_config.json")
		if err != nil {
			t.Fatalf("what was read is refused when written: %v\n%s", err, again)
		}
		if err := p.SameMaths(q); err != nil {
			t.Fatalf("what was read is another adapter when written: %v\n%s", err, again)
		}
		if p.Type == "LORA" { // others make tensors as large as they are told
			_ = peft.Resolve(d, p)
		}
	})
}
