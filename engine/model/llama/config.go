package llama

import (
	"encoding/json"
	"errors"
	"fmt"

	"llamatab/engine/model"
)

// Config holds the keys of a Llama's config.json that change the maths.
type Config struct {
	VocabSize                     int             `json:"vocab_size"`
	HiddenSize                    int             `json:"hidden_size"`
	IntermediateSize              int             `json:"intermediate_size"`
	NumHiddenLayers               int             `json:"num_hidden_layers"`
	NumAttentionHeads             int             `json:"num_attention_heads"`
	NumKeyValueHeads              *int            `json:"num_key_value_heads"`
	HeadDim                       *int            `json:"head_dim"`
	HiddenAct                     string          `json:"hidden_act"`
	RMSNormEps                    float64         `json:"rms_norm_eps"`
	RopeTheta                     *float64        `json:"rope_theta"`
	RopeScaling                   json.RawMessage `json:"rope_scaling"`
	RopeParameters                json.RawMessage `json:"rope_parameters"`
	OriginalMaxPositionEmbeddings *float64        `json:"original_max_position_embeddings"`
	PartialRotaryFactor           *float64        `json:"partial_rotary_factor"`
	AttentionBias                 bool            `json:"attention_bias"`
	MLPBias                       bool            `json:"mlp_bias"`
	TieWordEmbeddings             bool            `json:"tie_word_embeddings"`
	MaxPositionEmbeddings         int             `json:"max_position_embeddings"`
	InitializerRange              float64         `json:"initializer_range"`
	AttentionDropout              float64         `json:"attention_dropout"`
	RopeInterleaved               bool            `json:"rope_interleaved"`
	QuantizationConfig            *struct{}       `json:"quantization_config"`

	// QKVBias is set by architectures whose q, k and v projections, but not o, have a bias that config.json does not
	// speak of.
	QKVBias bool `json:"-"`
	// HeadNorms is set by architectures that norm each query and key before the rotation.
	HeadNorms bool `json:"-"`
	// Windows are the lengths of the layers' sliding windows, 0 for none; nil means that no layer has one.
	Windows []int `json:"-"`
	// NoRoPE says of each layer whether its queries and keys are left without a rotation; nil means that all have one.
	NoRoPE []bool `json:"-"`
	// DefaultTheta is rope_theta where the file gives none; 0 means Llama's 10000.
	DefaultTheta float64 `json:"-"`
}

func (c *Config) defaultTheta() float64 {
	if c.DefaultTheta == 0 {
		return 10000
	}
	return c.DefaultTheta
}

// Bounds on sizes, far above any Llama, so that arithmetic on them cannot overflow.
const (
	maxDim    = 1 << 20
	maxVocab  = 1 << 22
	maxLayers = 1 << 10

	maxPositions = 1 << 24
)

// ParseConfig reads a config.json, fills in transformers' defaults and refuses what would compute something else.
func ParseConfig(data []byte) (*Config, error) {
	return Config{
		VocabSize: 32000, HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32, NumAttentionHeads: 32,
		HiddenAct: "silu", RMSNormEps: 1e-6, MaxPositionEmbeddings: 2048, InitializerRange: 0.02,
	}.Parse(data)
}

// Parse is ParseConfig for an architecture whose defaults are those of base.
func (base Config) Parse(data []byte) (*Config, error) {
	c := &base
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("config.json: %w", model.TypeError(err))
	}
	if c.NumKeyValueHeads == nil {
		c.NumKeyValueHeads = &c.NumAttentionHeads
	}
	for _, d := range []struct {
		name     string
		v, limit int
	}{
		{"vocab_size", c.VocabSize, maxVocab}, {"hidden_size", c.HiddenSize, maxDim}, {"intermediate_size", c.IntermediateSize, maxDim},
		{"num_hidden_layers", c.NumHiddenLayers, maxLayers}, {"num_attention_heads", c.NumAttentionHeads, maxDim},
		{"num_key_value_heads", *c.NumKeyValueHeads, maxDim}, {"max_position_embeddings", c.MaxPositionEmbeddings, maxPositions},
	} {
		if d.v < 1 || d.v > d.limit {
			return nil, fmt.Errorf("config.json: %s is %d, want 1 to %d", d.name, d.v, d.limit)
		}
	}
	if c.HeadDim == nil {
		if c.HiddenSize%c.NumAttentionHeads != 0 {
			return nil, fmt.Errorf("config.json: hidden_size %d is not a multiple of num_attention_heads %d, and no head_dim is given", c.HiddenSize, c.NumAttentionHeads)
		}
		hd := c.HiddenSize / c.NumAttentionHeads
		c.HeadDim = &hd
	}
	switch {
	case *c.HeadDim < 2 || *c.HeadDim > 256 || *c.HeadDim%2 != 0:
		return nil, fmt.Errorf("config.json: head_dim is %d, want an even number from 2 to 256", *c.HeadDim)
	case c.NumAttentionHeads%*c.NumKeyValueHeads != 0:
		return nil, fmt.Errorf("config.json: num_attention_heads %d is not a multiple of num_key_value_heads %d", c.NumAttentionHeads, *c.NumKeyValueHeads)
	case c.HiddenAct != "silu" && c.HiddenAct != "swish": // two names of one function
		return nil, fmt.Errorf("config.json: hidden_act %q is not supported, want \"silu\"", c.HiddenAct)
	case !(c.RMSNormEps > 0 && c.RMSNormEps < 1):
		return nil, fmt.Errorf("config.json: rms_norm_eps is %v, want a small positive number", c.RMSNormEps)
	case !(c.AttentionDropout >= 0 && c.AttentionDropout < 1):
		return nil, fmt.Errorf("config.json: attention_dropout is %v, want a number from 0 to below 1", c.AttentionDropout)
	case c.RopeInterleaved:
		return nil, errors.New("config.json: rope_interleaved is not supported: Hugging Face's half-split order is expected")
	case c.QuantizationConfig != nil:
		return nil, errors.New("config.json: quantization_config is not supported: use the unquantized checkpoint")
	case !(c.InitializerRange >= 0 && c.InitializerRange < 100):
		return nil, fmt.Errorf("config.json: initializer_range is %v", c.InitializerRange)
	}
	return c, nil
}
