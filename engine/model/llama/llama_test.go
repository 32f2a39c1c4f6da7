package llama

import (
	"strings"
	"testing"

	"llamatab/engine/nn"
)

// base is a small config that tests change by adding keys: the last of equal keys counts.
const base = `{"vocab_size": 37, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32`

// build is New without the remarks.
func build(config string) (*nn.Decoder, error) {
	d, _, err := New([]byte(config))
	return d, err
}

func TestHostileConfigs(t *testing.T) {
	for keys, part := range map[string]string{
		`"vocab_size": 0`:                                        "vocab_size is 0",
		`"vocab_size": -5`:                                       "vocab_size is -5",
		`"vocab_size": 99999999`:                                 "vocab_size",
		`"vocab_size": 1e30`:                                     "vocab_size",
		`"vocab_size": 3.5`:                                      "vocab_size",
		`"vocab_size": "37"`:                                     "vocab_size",
		`"hidden_size": 17`:                                      "hidden_size 17",
		`"hidden_size": 1099511627776`:                           "hidden_size",
		`"num_hidden_layers": 100000`:                            "num_hidden_layers",
		`"num_attention_heads": 0`:                               "num_attention_heads",
		`"num_key_value_heads": 0`:                               "num_key_value_heads",
		`"num_key_value_heads": 3`:                               "multiple",
		`"num_key_value_heads": 8`:                               "multiple",
		`"head_dim": 5`:                                          "head_dim is 5",
		`"head_dim": 0`:                                          "head_dim is 0",
		`"head_dim": 258`:                                        "head_dim is 258",
		`"intermediate_size": 0`:                                 "intermediate_size",
		`"max_position_embeddings": 0`:                           "max_position_embeddings",
		`"hidden_act": "gelu"`:                                   "hidden_act",
		`"rms_norm_eps": 0`:                                      "rms_norm_eps",
		`"rms_norm_eps": -1e-5`:                                  "rms_norm_eps",
		`"attention_dropout": 1`:                                 "attention_dropout",
		`"attention_dropout": -0.1`:                              "attention_dropout",
		`"rope_interleaved": true`:                               "rope_interleaved",
		`"quantization_config": {"bits": 4}`:                     "quantization_config",
		`"rope_theta": 0`:                                        "rope_theta",
		`"rope_theta": -1`:                                       "rope_theta",
		`"rope_scaling": {"type": "dynamic"}`:                    "dynamic",
		`"rope_scaling": {"rope_type": "yarn", "factor": 0.5}`:   "yarn",
		`"rope_parameters": {"rope_type": "x"}`:                  `"x"`,
		`"rope_scaling": {"type": "linear"}`:                     "factor",
		`"rope_scaling": {"rope_type": "linear", "factor": 0.5}`: "factor",
		`"rope_scaling": {"rope_type": "llama3", "factor": 8}`:   "low_freq_factor",
		`"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4}`: "high_freq_factor",
		`"initializer_range": -1`: "initializer_range",
	} {
		_, err := build(base + ", " + keys + "}")
		if err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%s: error %v, want one that says %q", keys, err, part)
		}
	}
	for _, text := range []string{"", "null x", "[]", "{", `{"vocab_size": `} {
		if _, err := build(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	if _, err := build(base + `, "rope_scaling": null, "unknown": [1], "num_key_value_heads": null, "head_dim": null}`); err != nil {
		t.Errorf("null and unknown keys: %v", err)
	}
}

// Published models have the published numbers of parameters.
func TestParameterCounts(t *testing.T) {
	for _, c := range []struct {
		name, config string
		want         int64
	}{
		{"SmolLM2-135M", `{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
			"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": true, "rope_theta": 100000}`, 134_515_008},
		{"TinyLlama-1.1B", `{"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
			"num_key_value_heads": 4}`, 1_100_048_384},
		{"Llama-3.2-1B", `{"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
			"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": true, "rope_theta": 500000}`, 1_235_814_400},
		{"Llama-2-7B, all defaults", `{}`, 6_738_415_616},
	} {
		d, err := build(c.config)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var n int64
		names := map[string]bool{}
		for _, p := range d.Params() {
			if names[p.Name] || p.Trainable {
				t.Errorf("%s: %s is repeated or trains", c.name, p.Name)
			}
			names[p.Name] = true
			n += int64(p.Shape.Size())
		}
		if n != c.want {
			t.Errorf("%s has %d parameters, want %d", c.name, n, c.want)
		}
		if names["lm_head.weight"] == d.Tied {
			t.Errorf("%s: tied %v with a head %v", c.name, d.Tied, names["lm_head.weight"])
		}
	}
}
