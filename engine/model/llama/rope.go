package llama

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"llamatab/engine/message"
	"llamatab/engine/model"
)

// ropeKeys are the keys of a dictionary of rotary settings, rope_scaling or rope_parameters.
type ropeKeys struct {
	RopeType       *string  `json:"rope_type"`
	Type           *string  `json:"type"` // the older name of rope_type
	RopeTheta      *float64 `json:"rope_theta"`
	Factor         *float64 `json:"factor"`
	LowFreqFactor  float64  `json:"low_freq_factor"`
	HighFreqFactor float64  `json:"high_freq_factor"`
	Original       *float64 `json:"original_max_position_embeddings"`

	AttentionFactor *float64 `json:"attention_factor"`
	BetaFast        float64  `json:"beta_fast"`
	BetaSlow        float64  `json:"beta_slow"`
	MScale          float64  `json:"mscale"`
	MScaleAllDim    float64  `json:"mscale_all_dim"`
	Truncate        *bool    `json:"truncate"`

	ShortFactor []float64 `json:"short_factor"`
	LongFactor  []float64 `json:"long_factor"`

	Partial *float64 `json:"partial_rotary_factor"`
}

// ropeTypes lists the rope types and, for each, the keys besides the type and theta that its formula reads.
var ropeTypes = map[string][]string{
	"default":  nil,
	"linear":   {"factor"},
	"dynamic":  {"factor"},
	"llama3":   {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
	"yarn":     {"factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"},
	"longrope": {"factor", "original_max_position_embeddings", "attention_factor", "short_factor", "long_factor"},
}

// Rope is a rotary embedding, resolved from config.json.
type Rope struct {
	// InvFreq are the head_dim/2 frequencies in radians a position.
	InvFreq []float64
	// Scale multiplies cosines and sines: the attention factor of yarn and longrope, else 1.
	Scale float64
	// MaxPositions bounds the positions for which these frequencies hold.
	MaxPositions int

	Type  string  // "default", or the scaling by its name in config.json
	Theta float64 // rope_theta
	// Factor and Original are the numbers of the scalings linear and yarn: how many times longer the context became, and what it
	// was before, in tokens. 0 where the type has none.
	Factor, Original float64
	// Usual says that the scaling is fully described by its type, factor and original length: every further number has the value
	// that transformers takes where a file gives none.
	Usual bool
}

// Rope resolves the rotary settings by the rule of transformers 5 (modeling_rope_utils.py): rope_scaling, or else
// rope_parameters; a rope_theta inside the dictionary beats the one outside; original_max_position_embeddings outside
// beats the one inside, and max_position_embeddings stands in where neither is given.
//
// The frequencies are f_j = theta^(−2j/head_dim), then by type
//
//	linear    f_j / factor
//	dynamic   f_j up to max_position_embeddings, beyond which no text goes here
//	llama3    kept for wavelengths below original/high, divided by factor above original/low, blended between
//	yarn      blended from f_j to f_j / factor between the dimensions that turn beta_fast and beta_slow times
//	longrope  f_j / short_factor_j up to the original length, beyond which no text goes here
//
// The remarks say where two places of the file disagree and which keys have no effect.
func (c *Config) Rope() (Rope, []message.Remark, error) {
	r := ropeReader{config: c}
	if err := r.choose(); err != nil {
		return Rope{}, nil, fmt.Errorf("config.json: %w", err)
	}
	out := Rope{Scale: 1, MaxPositions: c.MaxPositionEmbeddings, Type: r.kind, Theta: r.theta}
	k := &r.keys
	out.Usual = k.AttentionFactor == nil && k.BetaFast == 0 && k.BetaSlow == 0 && k.MScale == 0 && k.MScaleAllDim == 0 && (k.Truncate == nil || *k.Truncate)
	out.InvFreq = Frequencies(r.theta, *c.HeadDim)
	if err := r.scale(&out); err != nil {
		return Rope{}, nil, fmt.Errorf("config.json: %s of rope type %q: %w", r.place, r.kind, err)
	}
	for j, f := range out.InvFreq {
		if math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
			return Rope{}, nil, fmt.Errorf("config.json: the rotary frequency %d is %v: rope_theta %v or the scaling is out of range", j, f, r.theta)
		}
	}
	return out, r.remarks, nil
}

// Frequencies are theta^(−2j/headDim) for j from 0 to headDim/2 − 1, without any scaling.
func Frequencies(theta float64, headDim int) []float64 {
	f := make([]float64, headDim/2)
	for j := range f {
		f[j] = math.Pow(theta, -2*float64(j)/float64(headDim))
	}
	return f
}

// ropeReader finds which of the file's rotary settings count.
type ropeReader struct {
	config     *Config
	place      string // the dictionary's key
	keys       ropeKeys
	nullFactor bool // "factor": null, which yarn takes for the ratio of the lengths
	kind       string
	theta      float64
	remarks    []message.Remark
}

// choose picks the dictionary, the type and theta.
func (r *ropeReader) choose() error {
	c := r.config
	var dict json.RawMessage
	switch {
	case filled(c.RopeScaling):
		r.place, dict = "rope_scaling", c.RopeScaling
		if filled(c.RopeParameters) && !sameJSON(c.RopeScaling, c.RopeParameters) {
			r.disagree("rope_scaling", "rope_parameters")
		}
	case filled(c.RopeParameters):
		r.place, dict = "rope_parameters", c.RopeParameters
	}
	r.kind, r.theta = "default", c.defaultTheta()
	if c.RopeTheta != nil {
		r.theta = *c.RopeTheta
	}
	if dict != nil {
		if err := r.read(dict); err != nil {
			return err
		}
	}
	if !(r.theta > 0) || math.IsInf(r.theta, 0) {
		return fmt.Errorf("rope_theta is %v, want a positive number", r.theta)
	}
	for _, p := range []*float64{c.PartialRotaryFactor, r.keys.Partial} {
		if p != nil && *p != 1 {
			return fmt.Errorf("partial_rotary_factor %v is not supported, want 1: every dimension of a head is rotated", *p)
		}
	}
	return nil
}

// read takes type and theta from the chosen dictionary.
func (r *ropeReader) read(dict json.RawMessage) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(dict, &raw); err != nil {
		return fmt.Errorf("%s is not an object", r.place)
	}
	if err := json.Unmarshal(dict, &r.keys); err != nil {
		return fmt.Errorf("%s: %w", r.place, model.TypeError(err))
	}
	_, r.nullFactor = raw["factor"]
	k := &r.keys
	switch {
	case k.RopeType != nil:
		r.kind = *k.RopeType
		if k.Type != nil && *k.Type != r.kind {
			r.disagree(r.place+".rope_type", r.place+".type")
		}
	case k.Type != nil:
		r.kind = *k.Type
	}
	used, ok := ropeTypes[r.kind]
	if !ok {
		return fmt.Errorf("%s of type %q is not supported, want one of %s", r.place, r.kind, strings.Join(slices.Sorted(maps.Keys(ropeTypes)), ", "))
	}
	if k.RopeTheta != nil {
		if c := r.config.RopeTheta; c != nil && *c != *k.RopeTheta {
			r.disagree(r.place+".rope_theta", "rope_theta")
		}
		r.theta = *k.RopeTheta
	}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		switch {
		case slices.Contains(used, key), slices.Contains([]string{"rope_type", "type", "rope_theta", "partial_rotary_factor"}, key), string(raw[key]) == "null":
		case raw[key][0] == '{':
			return fmt.Errorf("%s.%s: rotary settings for each kind of layer are not supported", r.place, key)
		case key == "mrope_section" || key == "mrope_interleaved":
			return fmt.Errorf("%s.%s is not supported: positions have one dimension here", r.place, key)
		default:
			r.remarks = append(r.remarks, message.NewRemark("rope_key_unused", "config.json: {key} has no effect on rope type {type}, as in transformers",
				"key", r.place+"."+key, "type", r.kind))
		}
	}
	return nil
}

// scale changes the plain frequencies into those of the type.
func (r *ropeReader) scale(out *Rope) error {
	switch r.kind {
	case "linear":
		factor, err := r.factor(nil)
		out.Factor = factor
		for j := range out.InvFreq {
			out.InvFreq[j] /= factor
		}
		return err
	case "dynamic":
		_, err := r.factor(nil) // the formula is the identity up to max_position_embeddings
		return err
	case "llama3":
		return r.llama3(out)
	case "yarn":
		return r.yarn(out)
	case "longrope":
		return r.longrope(out)
	}
	return nil
}

// factor is the dictionary's, or what stands in for it.
func (r *ropeReader) factor(standIn *float64) (float64, error) {
	f := r.keys.Factor
	if f == nil {
		f = standIn
	}
	if f == nil {
		return 1, fmt.Errorf("it has no factor")
	}
	if !(*f >= 1) || math.IsInf(*f, 0) {
		return 1, fmt.Errorf("factor is %v, want at least 1", *f)
	}
	return *f, nil
}

// original is the length that the model had before it was scaled.
func (r *ropeReader) original() (float64, error) {
	original := float64(r.config.MaxPositionEmbeddings)
	if inside := r.keys.Original; inside != nil {
		original = *inside
	}
	if outside := r.config.OriginalMaxPositionEmbeddings; outside != nil {
		if r.keys.Original != nil && *outside != original {
			r.disagree("original_max_position_embeddings", r.place+".original_max_position_embeddings")
		}
		original = *outside
	}
	if !(original >= 1) || original > maxPositions {
		return 0, fmt.Errorf("original_max_position_embeddings is %v, want 1 to %d", original, maxPositions)
	}
	return original, nil
}

func (r *ropeReader) llama3(out *Rope) error {
	factor, err := r.factor(nil)
	if err != nil {
		return err
	}
	original, err := r.original()
	if err != nil {
		return err
	}
	low, high := r.keys.LowFreqFactor, r.keys.HighFreqFactor
	if !(low > 0 && high > low) || math.IsInf(high, 0) {
		return fmt.Errorf("want 0 < low_freq_factor < high_freq_factor, have %v and %v", low, high)
	}
	for j, f := range out.InvFreq {
		wavelength := 2 * math.Pi / f
		switch {
		case wavelength < original/high:
		case wavelength > original/low:
			out.InvFreq[j] = f / factor
		default:
			m := (original/wavelength - low) / (high - low)
			out.InvFreq[j] = (1-m)*f/factor + m*f
		}
	}
	return nil
}

// yarn follows Peng et al. 2023, arXiv:2309.00071.
func (r *ropeReader) yarn(out *Rope) error {
	original, err := r.original()
	if err != nil {
		return err
	}
	var standIn *float64
	if r.nullFactor {
		ratio := float64(r.config.MaxPositionEmbeddings) / original
		standIn = &ratio
	}
	factor, err := r.factor(standIn)
	if err != nil {
		return err
	}
	out.Factor, out.Original = factor, original
	k := &r.keys
	mscale := func(m float64) float64 { return 0.1*m*math.Log(factor) + 1 }
	out.Scale = mscale(1)
	if k.MScale != 0 && k.MScaleAllDim != 0 {
		out.Scale = mscale(k.MScale) / mscale(k.MScaleAllDim)
	}
	if err := r.attentionFactor(out); err != nil {
		return err
	}
	fast, slow := k.BetaFast, k.BetaSlow
	if fast == 0 {
		fast = 32
	}
	if slow == 0 {
		slow = 1
	}
	if !(slow > 0 && fast >= slow) || math.IsInf(fast, 0) {
		return fmt.Errorf("want 0 < beta_slow ≤ beta_fast, have %v and %v", slow, fast)
	}
	if r.theta == 1 {
		return fmt.Errorf("rope_theta is 1: every dimension turns at one speed")
	}
	dim := float64(2 * len(out.InvFreq))
	turning := func(rotations float64) float64 { // the dimension that turns so often within the original length
		return dim * math.Log(original/(rotations*2*math.Pi)) / (2 * math.Log(r.theta))
	}
	low, high := turning(fast), turning(slow)
	if k.Truncate == nil || *k.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dim-1)
	if low == high {
		high += 0.001
	}
	for j, f := range out.InvFreq {
		ramp := min(max((float64(j)-low)/(high-low), 0), 1)
		out.InvFreq[j] = f/factor*ramp + f*(1-ramp)
	}
	return nil
}

// longrope follows Ding et al. 2024, arXiv:2402.13753. Which of its two lists counts depends on the length of each
// batch; here no text is longer than the original length, so that it is always the short one.
func (r *ropeReader) longrope(out *Rope) error {
	original, err := r.original()
	if err != nil {
		return err
	}
	factor := float64(r.config.MaxPositionEmbeddings) / original
	if r.keys.Factor != nil {
		factor = *r.keys.Factor
	}
	if factor > 1 && original > 1 {
		out.Scale = math.Sqrt(1 + math.Log(factor)/math.Log(original))
	}
	if err := r.attentionFactor(out); err != nil {
		return err
	}
	short := r.keys.ShortFactor
	if len(short) != len(out.InvFreq) {
		return fmt.Errorf("short_factor has %d numbers, want head_dim/2, %d", len(short), len(out.InvFreq))
	}
	for j, s := range short {
		if !(s > 0) || math.IsInf(s, 0) {
			return fmt.Errorf("short_factor[%d] is %v, want a positive number", j, s)
		}
		out.InvFreq[j] /= s
	}
	if limit := int(original); limit < out.MaxPositions {
		out.MaxPositions = limit
		r.remarks = append(r.remarks, message.NewRemark("longrope_short", "config.json: texts of up to {positions} tokens are read: beyond them longrope has other frequencies (long_factor), which are not supported",
			"positions", limit))
	}
	return nil
}

// attentionFactor lets the dictionary's own factor replace the computed one.
func (r *ropeReader) attentionFactor(out *Rope) error {
	if a := r.keys.AttentionFactor; a != nil {
		out.Scale = *a
	}
	if !(out.Scale > 0) || math.IsInf(out.Scale, 0) {
		return fmt.Errorf("the attention factor is %v, want a positive number", out.Scale)
	}
	return nil
}

func (r *ropeReader) disagree(taken, other string) {
	r.remarks = append(r.remarks, message.NewRemark("rope_places", "config.json: {taken} and {other} disagree: {taken} counts, as in transformers 5", "taken", taken, "other", other))
}

// filled says whether a dictionary is there and not empty.
func filled(dict json.RawMessage) bool {
	text := bytes.TrimSpace(dict)
	return len(text) > 0 && string(text) != "null" && len(bytes.TrimSpace(bytes.Trim(text, "{}"))) > 0
}

// sameJSON says whether two JSON texts hold the same values.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return fmt.Sprint(x) == fmt.Sprint(y) // maps print in the order of their keys
}
