// Package qwen3 builds Qwen3's dense models as transformers computes them (modeling_qwen3.py): Llama's graph with an
// RMSNorm over each head of the queries and keys before the rotation, head_dim 128 where config.json gives none, and
// Qwen2's sliding windows.
package qwen3

import (
	"llamatab/engine/message"
	"llamatab/engine/model"
	"llamatab/engine/model/llama"
	"llamatab/engine/model/qwen2"
	"llamatab/engine/nn"
)

func init() { model.Register(model.Family{Prefix: "Qwen3", ModelType: "qwen3", Build: New}) }

// New builds the decoder that a config.json describes.
func New(config []byte) (*nn.Decoder, []message.Remark, error) {
	headDim := 128
	// The defaults are those of transformers' Qwen3Config.
	c, err := llama.Config{
		VocabSize: 151936, HiddenSize: 4096, IntermediateSize: 22016, NumHiddenLayers: 32, NumAttentionHeads: 32, HeadDim: &headDim,
		HiddenAct: "silu", RMSNormEps: 1e-6, MaxPositionEmbeddings: 32768, InitializerRange: 0.02, HeadNorms: true,
	}.Parse(config)
	if err != nil {
		return nil, nil, err
	}
	if c.Windows, err = qwen2.Sliding.Windows(config, c.NumHiddenLayers); err != nil {
		return nil, nil, err
	}
	return c.Decoder()
}
