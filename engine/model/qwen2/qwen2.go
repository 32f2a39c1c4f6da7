// Package qwen2 builds Qwen2 and Qwen2.5 as transformers computes them (modeling_qwen2.py): Llama's graph with a bias
// on the q, k and v projections, which config.json does not speak of, and with a sliding window in the layers from
// max_window_layers on where use_sliding_window is set.
package qwen2

import (
	"llamatab/engine/message"
	"llamatab/engine/model"
	"llamatab/engine/model/llama"
	"llamatab/engine/nn"
)

func init() { model.Register(model.Family{Prefix: "Qwen2", ModelType: "qwen2", Build: New}) }

// defaults are those of transformers' Qwen2Config.
var defaults = llama.Config{
	VocabSize: 151936, HiddenSize: 4096, IntermediateSize: 22016, NumHiddenLayers: 32, NumAttentionHeads: 32,
	HiddenAct: "silu", RMSNormEps: 1e-6, MaxPositionEmbeddings: 32768, InitializerRange: 0.02,
	QKVBias: true,
}

// Sliding are the defaults of transformers' Qwen2Config for sliding windows, which Qwen3Config shares.
var Sliding = llama.Sliding{Window: 4096, Layer: func(i, maxWindowLayers int) bool { return i >= maxWindowLayers }}

// New builds the decoder that a config.json describes.
func New(config []byte) (*nn.Decoder, []message.Remark, error) {
	c, err := defaults.Parse(config)
	if err != nil {
		return nil, nil, err
	}
	if c.Windows, err = Sliding.Windows(config, c.NumHiddenLayers); err != nil {
		return nil, nil, err
	}
	c.AttentionBias = false // transformers' Qwen2 has no such key: o_proj never has a bias
	return c.Decoder()
}
