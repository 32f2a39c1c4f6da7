// Package mistral builds Mistral as transformers computes it (modeling_mistral.py): Llama's graph without biases, where
// all layers attend over a sliding window if config.json gives one.
package mistral

import (
	"encoding/json"
	"fmt"
	"slices"

	"llamatab/engine/message"
	"llamatab/engine/model"
	"llamatab/engine/model/llama"
	"llamatab/engine/nn"
)

func init() { model.Register(model.Family{Prefix: "Mistral", ModelType: "mistral", Build: New}) }

// standardWindow is sliding_window where config.json does not have the key, as in transformers' MistralConfig.
const standardWindow = 4096

// New builds the decoder that a config.json describes.
func New(config []byte) (*nn.Decoder, []message.Remark, error) {
	var keys struct {
		Window json.RawMessage `json:"sliding_window"`
	}
	err := json.Unmarshal(config, &keys)
	window := 0
	if err == nil {
		window, err = llama.Window(keys.Window, standardWindow)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("config.json: %w", err)
	}
	kv := 8
	c, err := llama.Config{
		VocabSize: 32000, HiddenSize: 4096, IntermediateSize: 14336, NumHiddenLayers: 32, NumAttentionHeads: 32, NumKeyValueHeads: &kv,
		HiddenAct: "silu", RMSNormEps: 1e-6, MaxPositionEmbeddings: 4096 * 32, InitializerRange: 0.02,
	}.Parse(config)
	if err != nil {
		return nil, nil, err
	}
	c.Windows = slices.Repeat([]int{window}, c.NumHiddenLayers)
	c.AttentionBias, c.MLPBias = false, false // transformers' Mistral has no such keys
	return c.Decoder()
}
