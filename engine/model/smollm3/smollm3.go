// Package smollm3 builds SmolLM3 as transformers computes it (modeling_smollm3.py): Llama's graph, in which some layers
// do not rotate queries and keys (NoPE), by default every fourth. With use_sliding_window those layers attend over a window.
package smollm3

import (
	"encoding/json"
	"fmt"

	"llamatab/engine/message"
	"llamatab/engine/model"
	"llamatab/engine/model/llama"
	"llamatab/engine/nn"
)

func init() { model.Register(model.Family{Prefix: "SmolLM3", ModelType: "smollm3", Build: New}) }

// New builds the decoder that a config.json describes.
func New(config []byte) (*nn.Decoder, []message.Remark, error) {
	kv := 4
	// The defaults are those of transformers' SmolLM3Config.
	c, err := llama.Config{
		VocabSize: 128256, HiddenSize: 2048, IntermediateSize: 11008, NumHiddenLayers: 36, NumAttentionHeads: 16, NumKeyValueHeads: &kv,
		HiddenAct: "silu", RMSNormEps: 1e-6, MaxPositionEmbeddings: 32768, InitializerRange: 0.02, TieWordEmbeddings: true, DefaultTheta: 2e6,
	}.Parse(config)
	if err != nil {
		return nil, nil, err
	}
	if c.NoRoPE, err = noRoPE(config, c.NumHiddenLayers); err != nil {
		return nil, nil, fmt.Errorf("config.json: %w", err)
	}
	sliding := llama.Sliding{Layer: func(i, _ int) bool { return c.NoRoPE[i] }}
	if c.Windows, err = sliding.Windows(config, c.NumHiddenLayers); err != nil {
		return nil, nil, err
	}
	return c.Decoder()
}

// noRoPE says of each layer whether its queries and keys stay unrotated. no_rope_layers has a 0 for such a layer, in spite
// of its name, and else a 1. Without the list it is layer n−1, 2n−1, … for a no_rope_layer_interval n.
func noRoPE(config []byte, layers int) ([]bool, error) {
	keys := struct {
		Rotated  []int `json:"no_rope_layers"`
		Interval int   `json:"no_rope_layer_interval"`
	}{Interval: 4}
	if err := json.Unmarshal(config, &keys); err != nil {
		return nil, model.TypeError(err)
	}
	unrotated := make([]bool, layers)
	if keys.Rotated == nil {
		if keys.Interval < 1 {
			return nil, fmt.Errorf("no_rope_layer_interval is %d, want at least 1", keys.Interval)
		}
		for i := keys.Interval - 1; i < layers; i += keys.Interval {
			unrotated[i] = true
		}
		return unrotated, nil
	}
	if len(keys.Rotated) < layers {
		return nil, fmt.Errorf("no_rope_layers names %d layers, num_hidden_layers is %d", len(keys.Rotated), layers)
	}
	for i := range unrotated {
		if v := keys.Rotated[i]; v != 0 && v != 1 {
			return nil, fmt.Errorf("no_rope_layers[%d] is %d, want 1 for a layer with rotary positions or 0 for one without", i, v)
		}
		unrotated[i] = keys.Rotated[i] == 0
	}
	return unrotated, nil
}
