package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Config holds the keys of a Llama's config.json that change the maths.
type Config struct {
	VocabSize             int       `json:"vocab_size"`
	HiddenSize            int       `json:"hidden_size"`
	IntermediateSize      int       `json:"intermediate_size"`
	NumHiddenLayers       int       `json:"num_hidden_layers"`
	NumAttentionHeads     int       `json:"num_attention_heads"`
	NumKeyValueHeads      *int      `json:"num_key_value_heads"`
	HeadDim               *int      `json:"head_dim"`
	HiddenAct             string    `json:"hidden_act"`
	RMSNormEps            float64   `json:"rms_norm_eps"`
	RopeTheta             float64   `json:"rope_theta"`
	RopeScaling           *Rope     `json:"rope_scaling"`
	RopeParameters        *Rope     `json:"rope_parameters"`
	AttentionBias         bool      `json:"attention_bias"`
	MLPBias               bool      `json:"mlp_bias"`
	TieWordEmbeddings     bool      `json:"tie_word_embeddings"`
	MaxPositionEmbeddings int       `json:"max_position_embeddings"`
	InitializerRange      float64   `json:"initializer_range"`
	AttentionDropout      float64   `json:"attention_dropout"`
	RopeInterleaved       bool      `json:"rope_interleaved"`
	QuantizationConfig    *struct{} `json:"quantization_config"`

	// QKVBias is set by architectures whose q, k and v projections, but not o, have a bias that config.json does not
	// speak of.
	QKVBias bool `json:"-"`
}

// Rope is rope_scaling of older files and rope_parameters of newer ones.
type Rope struct {
	RopeType       string  `json:"rope_type"`
	Type           string  `json:"type"` // the older name of rope_type
	RopeTheta      float64 `json:"rope_theta"`
	Factor         float64 `json:"factor"`
	LowFreqFactor  float64 `json:"low_freq_factor"`
	HighFreqFactor float64 `json:"high_freq_factor"`
	OriginalMaxPos float64 `json:"original_max_position_embeddings"`
}

// Bounds on sizes, far above any Llama, so that arithmetic on them cannot overflow.
const (
	maxDim    = 1 << 20
	maxVocab  = 1 << 22
	maxLayers = 1 << 10
)

// ParseConfig reads a config.json, fills in transformers' defaults and refuses what would compute something else.
func ParseConfig(data []byte) (*Config, error) {
	return Config{
		VocabSize: 32000, HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32, NumAttentionHeads: 32,
		HiddenAct: "silu", RMSNormEps: 1e-6, RopeTheta: 10000, MaxPositionEmbeddings: 2048, InitializerRange: 0.02,
	}.Parse(data)
}

// Parse is ParseConfig for an architecture whose defaults are those of base.
func (base Config) Parse(data []byte) (*Config, error) {
	c := &base
	if err := json.Unmarshal(data, c); err != nil {
		var te *json.UnmarshalTypeError
		if errors.As(err, &te) {
			return nil, fmt.Errorf("config.json: %q is %s, want %s", te.Field, te.Value, te.Type)
		}
		return nil, fmt.Errorf("config.json: %w", err)
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
		{"num_key_value_heads", *c.NumKeyValueHeads, maxDim}, {"max_position_embeddings", c.MaxPositionEmbeddings, 1 << 24},
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
	case c.HiddenAct != "silu":
		return nil, fmt.Errorf("config.json: hidden_act %q is not supported, want \"silu\"", c.HiddenAct)
	case !(c.RMSNormEps > 0 && c.RMSNormEps < 1):
		return nil, fmt.Errorf("config.json: rms_norm_eps is %v, want a small positive number", c.RMSNormEps)
	case c.AttentionDropout != 0:
		return nil, fmt.Errorf("config.json: attention_dropout %v is not supported, want 0", c.AttentionDropout)
	case c.RopeInterleaved:
		return nil, errors.New("config.json: rope_interleaved is not supported: Hugging Face's half-split order is expected")
	case c.QuantizationConfig != nil:
		return nil, errors.New("config.json: quantization_config is not supported: use the unquantized checkpoint")
	case !(c.InitializerRange >= 0 && c.InitializerRange < 100):
		return nil, fmt.Errorf("config.json: initializer_range is %v", c.InitializerRange)
	}
	_, err := c.InvFreq()
	return c, err
}

// InvFreq computes the head_dim/2 rotary frequencies in radians a position:
//
//	f_j = theta^(−2j/head_dim),   linear: f_j / factor,
//	llama3: kept for wavelengths below original/high, divided by factor above original/low, blended between.
//
// Source: transformers, modeling_rope_utils.py. Other types are refused by name.
func (c *Config) InvFreq() ([]float64, error) {
	rope, theta := Rope{}, c.RopeTheta
	switch {
	case c.RopeParameters != nil:
		rope = *c.RopeParameters
		if rope.RopeTheta != 0 {
			theta = rope.RopeTheta
		}
	case c.RopeScaling != nil:
		rope = *c.RopeScaling
	}
	kind := rope.RopeType
	if kind == "" {
		kind = rope.Type
	}
	if !(theta > 0) || math.IsInf(theta, 0) {
		return nil, fmt.Errorf("config.json: rope_theta is %v, want a positive number", theta)
	}
	f := make([]float64, *c.HeadDim/2)
	for j := range f {
		f[j] = math.Pow(theta, -2*float64(j)/float64(*c.HeadDim))
	}
	switch kind {
	case "", "default":
		return f, nil
	case "linear", "llama3":
		if !(rope.Factor >= 1) || math.IsInf(rope.Factor, 0) {
			return nil, fmt.Errorf("config.json: rope_scaling factor is %v, want at least 1", rope.Factor)
		}
	default:
		return nil, fmt.Errorf("config.json: rope_scaling of type %q is not supported, want default, linear or llama3", kind)
	}
	if kind == "linear" {
		for j := range f {
			f[j] /= rope.Factor
		}
		return f, nil
	}
	low, high, original := rope.LowFreqFactor, rope.HighFreqFactor, rope.OriginalMaxPos
	if !(low > 0 && high > low && original > 0) {
		return nil, fmt.Errorf("config.json: rope_scaling llama3 needs 0 < low_freq_factor < high_freq_factor and original_max_position_embeddings > 0, has %v, %v, %v", low, high, original)
	}
	for j := range f {
		wavelength := 2 * math.Pi / f[j]
		switch {
		case wavelength < original/high:
		case wavelength > original/low:
			f[j] /= rope.Factor
		default:
			m := (original/wavelength - low) / (high - low)
			f[j] = (1-m)*f[j]/rope.Factor + m*f[j]
		}
	}
	return f, nil
}
