// Package mistral builds Mistral as transformers computes it (modeling_mistral.py): Llama's graph without biases, with
// attention over a sliding window where config.json gives one.
package mistral

import (
	"encoding/json"
	"fmt"

	"llamatab/engine/message"
	"llamatab/engine/model"
	"llamatab/engine/model/llama"
	"llamatab/engine/nn"
)

func init() { model.Register(model.Family{Prefix: "Mistral", ModelType: "mistral", Build: New}) }

// New builds the decoder that a config.json describes.
func New(config []byte) (*nn.Decoder, []message.Remark, error) {
	window := 4096 // transformers' MistralConfig has it where the key is absent; null is none
	var keys struct {
		Window json.RawMessage `json:"sliding_window"`
	}
	err := json.Unmarshal(config, &keys)
	if err == nil && keys.Window != nil {
		window = 0
		err = json.Unmarshal(keys.Window, &window)
	}
	if err == nil && window < 0 {
		err = fmt.Errorf("sliding_window is %d", window)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("config.json: %w", err)
	}
	kv := 8
	c, err := llama.Config{
		VocabSize: 32000, HiddenSize: 4096, IntermediateSize: 14336, NumHiddenLayers: 32, NumAttentionHeads: 32, NumKeyValueHeads: &kv,
		HiddenAct: "silu", RMSNormEps: 1e-6, MaxPositionEmbeddings: 4096 * 32, InitializerRange: 0.02, Window: window,
	}.Parse(config)
	if err != nil {
		return nil, nil, err
	}
	c.AttentionBias, c.MLPBias = false, false // transformers' Mistral has no such keys
	return c.Decoder()
}
