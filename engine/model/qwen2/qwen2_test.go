package qwen2_test

import (
	"encoding/json"
	"strings"
	"testing"

	"llamatab/engine/model"
	_ "llamatab/engine/model/qwen2"
	"llamatab/engine/nn"
)

const small = `{"architectures": ["Qwen2ForCausalLM"], "vocab_size": 37, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
	"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": true, "sliding_window": 4096`

// Only q, k and v have a bias, and no key of the file can take it away.
func TestBiases(t *testing.T) {
	for _, keys := range []string{"", `, "use_sliding_window": false, "attention_bias": false`} {
		d, err := model.New([]byte(small + keys + "}"))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range d.Blocks {
			for _, l := range []*nn.Linear{b.Q, b.K, b.V} {
				if l.Bias == nil || l.Bias.Shape.Size() != l.Out || l.Bias.Name != l.Path+".bias" {
					t.Errorf("%s has the bias %+v", l.Path, l.Bias)
				}
			}
			for _, l := range []*nn.Linear{b.O, b.Gate, b.Up, b.Down} {
				if l.Bias != nil {
					t.Errorf("%s has a bias", l.Path)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for keys, part := range map[string]string{
		`"use_sliding_window": true, "sliding_window": 0`: "sliding_window",
		`"layer_types": ["chunked_attention"]`:            "layer_types[0]",
		`"use_sliding_window": 3`:                         "use_sliding_window",
		`"hidden_act": "gelu"`:                            "hidden_act",
		`"rope_scaling": {"rope_type": "yarn"}`:           "yarn",
		`"num_attention_heads": 3, "head_dim": null`:      "hidden_size 16",
	} {
		fields := map[string]any{}
		for _, object := range []string{small + "}", "{" + keys + "}"} { // the second replaces keys of the first
			if err := json.Unmarshal([]byte(object), &fields); err != nil {
				t.Fatal(err)
			}
		}
		config, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := model.New(config); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: error %v, want one that says %q", keys, err, part)
		}
	}
}
