package peft_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"llamatab/engine/config"
	"llamatab/engine/nn"
	"llamatab/engine/peft"
)

func method(t *testing.T, d *nn.Decoder, keys string, c peft.Context) (*peft.Method, *config.PEFT, error) {
	t.Helper()
	cfg, err := config.Parse([]byte(`{"model": "m", "dataset": {"path": "d"}, "peft": {`+keys+`}}`), "run.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := peft.New(d, cfg.PEFT, c)
	return m, cfg.PEFT, err
}

// The keys, files and shapes of each method are PEFT's. The decoder has 2 layers of 4 heads and 2 key/value heads of 6.
func TestKeys(t *testing.T) {
	const layer = "base_model.model.model.layers.%d."
	both := func(parts ...string) (all []string) {
		for i := range 2 {
			for _, p := range parts {
				all = append(all, fmt.Sprintf(layer, i)+p)
			}
		}
		return all
	}
	for _, c := range []struct {
		keys string
		c    peft.Context
		want []string
	}{
		{`"peft_type": "IA3"`, peft.Context{}, both("self_attn.k_proj.ia3_l(12,1)", "self_attn.v_proj.ia3_l(12,1)", "mlp.down_proj.ia3_l(1,20)")},
		{`"peft_type": "IA3", "target_modules": ["q_proj", "down_proj"], "feedforward_modules": []`, peft.Context{},
			both("self_attn.q_proj.ia3_l(24,1)", "mlp.down_proj.ia3_l(16,1)")},
		{`"peft_type": "IA3", "target_modules": ["k_proj"], "feedforward_modules": [], "modules_to_save": ["model.norm"]`, peft.Context{},
			append(both("self_attn.k_proj.ia3_l(12,1)"), "base_model.model.model.norm.weight(16)")},
		{`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3`, peft.Context{}, []string{"prompt_embeddings(3,48)"}},
		{`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "modules_to_save": ["model.norm"]`, peft.Context{},
			[]string{"prompt_embeddings(3,48)", "base_model.model.norm.weight(16)"}},
		{`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": true, "encoder_hidden_size": 7`, peft.Context{}, []string{
			"prefix_encoder.safetensors embedding.weight(3,12)", "prefix_encoder.safetensors transform.0.weight(7,12)",
			"prefix_encoder.safetensors transform.0.bias(7)", "prefix_encoder.safetensors transform.2.weight(48,7)",
			"prefix_encoder.safetensors transform.2.bias(48)", "prompt_embeddings computed"}},
		{`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "prefix_projection": true`, peft.Context{TableOnly: true}, []string{"prompt_embeddings(3,48)"}},
		{`"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3`, peft.Context{}, []string{"prompt_embeddings(3,16)"}},
		{`"peft_type": "ADAPTION_PROMPT", "adapter_len": 5, "adapter_layers": 1`, peft.Context{}, []string{
			"base_model.model.model.layers.1.self_attn.adaption_prompt(1,5,16)", "base_model.model.model.layers.1.self_attn.adaption_gate(1)"}},
		{`"peft_type": "LORA", "r": 4, "use_dora": true, "target_modules": ["v_proj"]`, peft.Context{},
			both("self_attn.v_proj.lora_A.weight(4,16)", "self_attn.v_proj.lora_B.weight(12,4)", "self_attn.v_proj.lora_magnitude_vector(12)")},
	} {
		d := decoder(t, false)
		m, _, err := method(t, d, c.keys, c.c)
		if err != nil {
			t.Errorf("%s: %v", c.keys, err)
			continue
		}
		var got []string
		for _, x := range m.Tensors() {
			key := strings.TrimSpace(x.File + " " + x.Key)
			if x.Param == nil {
				got = append(got, key+" computed")
				continue
			}
			if !x.Param.Trainable {
				t.Errorf("%s: %s does not train", c.keys, x.Key)
			}
			got = append(got, key+strings.ReplaceAll(x.Param.FileShape().String(), ", ", ","))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: holds %v, want %v", c.keys, got, c.want)
		}
		if d.Patch != nil {
			t.Errorf("%s: the decoder already computes with it", c.keys)
		}
	}
}

// What the model decides is filled in as PEFT does before it saves.
func TestResolve(t *testing.T) {
	for keys, want := range map[string]string{
		`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3`:                                                                      `"encoder_hidden_size": 12, "num_attention_heads": 2, "num_layers": 2, "num_transformer_submodules": 1, "token_dim": 12`,
		`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3, "token_dim": 24, "num_attention_heads": 4, "encoder_hidden_size": 5`: `"encoder_hidden_size": 5, "num_attention_heads": 2, "token_dim": 12`,
		`"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3`:                                                                      `"num_attention_heads": 4, "num_layers": 2, "num_transformer_submodules": 1, "token_dim": 16`,
		`"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 2`:                                                      `"target_modules": "self_attn"`,
		`"peft_type": "IA3"`: `"feedforward_modules": ["down_proj"], "target_modules": ["k_proj", "v_proj", "down_proj"]`,
	} {
		_, cfg, err := method(t, decoder(t, false), keys, peft.Context{})
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		file, err := cfg.AdapterConfig()
		if err != nil {
			t.Fatal(err)
		}
		flat := strings.Join(strings.Fields(string(file)), " ")
		flat = strings.NewReplacer("[ ", "[", " ]", "]").Replace(flat)
		for _, part := range strings.Split(want, ", \"") {
			if part = strings.TrimPrefix(part, `"`); !strings.Contains(flat, `"`+strings.TrimSuffix(part, `",`)) {
				t.Errorf("%s: %s does not say %q", keys, flat, part)
			}
		}
	}
}

// Only what is weights can be merged.
func TestUnmergeable(t *testing.T) {
	for _, keys := range []string{
		`"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 3`, `"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3`,
		`"peft_type": "ADAPTION_PROMPT", "adapter_len": 3, "adapter_layers": 2`,
		`"peft_type": "LORA", "lora_bias": true, "target_modules": ["q_proj", "down_proj"]`, // down_proj loses its bias below
	} {
		d := decoder(t, false)
		d.Blocks[1].Down.Bias = nil
		m, _, err := method(t, d, keys, peft.Context{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Merges(); err == nil || !strings.Contains(err.Error(), "no weight can hold") {
			t.Errorf("%s: %v", keys, err)
		}
	}
	m, _, err := method(t, decoder(t, false), `"peft_type": "IA3"`, peft.Context{})
	if err != nil {
		t.Fatal(err)
	}
	merges, err := m.Merges()
	if err != nil || len(merges) != 10 { // the biases of k and v are scaled along
		t.Errorf("%d merges, %v", len(merges), err)
	}
}
