package peft

import (
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/nn"
)

// DefaultTargets are PEFT's for Llama.
var DefaultTargets = []string{"q_proj", "v_proj"}

// Resolve puts what the model decides in place of what cfg leaves open, as PEFT does before it saves a configuration:
// the names of modules for null and "all-linear", and the model's sizes. Sizes that are not the model's are an error.
func Resolve(d *nn.Decoder, cfg *config.PEFT) error {
	switch cfg.Type {
	case config.LORA:
		resolveTargets(d, &cfg.TargetModules, DefaultTargets)
	case config.IA3:
		resolveTargets(d, &cfg.TargetModules, ia3Targets)
		if cfg.FeedForward.IsZero() {
			cfg.FeedForward.Names = slices.Clone(ia3FeedForward)
		}
	case config.AdaptionPrompt:
		cfg.TargetModules = config.Modules{Pattern: "self_attn"}
	case config.PromptTuning:
		if cfg.InitPrompt == config.PromptText && cfg.Tokenizer == "" {
			cfg.Tokenizer = cfg.BaseModel // PEFT reads no configuration without it
		}
		return resolveSizes(cfg, d.Hidden, d.Heads, d.Layers, nil)
	case config.PrefixTuning:
		// PEFT is told the width and heads of the queries and saves those of the keys; either is right.
		err := resolveSizes(cfg, d.KVHeads*d.HeadDim, d.KVHeads, d.Layers, [][2]int{{d.Hidden, d.Heads}, {d.Heads * d.HeadDim, d.Heads}})
		if cfg.EncoderHidden == 0 {
			cfg.EncoderHidden = cfg.TokenDim
		}
		return err
	}
	return nil
}

// resolveTargets puts the usual modules for null, and every linear module but the output head for "all-linear".
func resolveTargets(d *nn.Decoder, t *config.Modules, usual []string) {
	switch {
	case t.IsZero():
		t.Names = slices.Clone(usual)
	case strings.EqualFold(t.Pattern, "all-linear"):
		t.Pattern = ""
		for _, m := range d.Linears() {
			if m != d.Head {
				t.Names = append(t.Names, m.Path[strings.LastIndexByte(m.Path, '.')+1:])
			}
		}
		slices.Sort(t.Names)
		t.Names = slices.Compact(t.Names)
	}
}

// resolveSizes fills in the sizes of prompt learning, and refuses those that are neither the model's nor, for width and
// heads together, among others that mean the same.
func resolveSizes(cfg *config.PEFT, width, heads, layers int, others [][2]int) error {
	for _, o := range others {
		if (cfg.TokenDim == 0 || cfg.TokenDim == o[0]) && (cfg.Heads == 0 || cfg.Heads == o[1]) {
			cfg.TokenDim, cfg.Heads = 0, 0
		}
	}
	for _, size := range []struct {
		key  string
		have *int
		want int
	}{
		{"num_attention_heads", &cfg.Heads, heads}, {"token_dim", &cfg.TokenDim, width}, {"num_layers", &cfg.Layers, layers},
		{"num_transformer_submodules", &cfg.Submodules, 1},
	} {
		if *size.have != 0 && *size.have != size.want {
			return fmt.Errorf("%s is %d, and this model's is %d", size.key, *size.have, size.want)
		}
		*size.have = size.want
	}
	return nil
}
