// Package model is the registry of architectures. A model package registers itself by the names that config.json
// gives in "architectures", and builds a decoder whose parameters carry the checkpoint's names.
package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/nn"
)

// Build makes a decoder from the text of a config.json. It reads no weights.
type Build func(config []byte) (*nn.Decoder, error)

var registry = map[string]Build{}

// Register makes an architecture known, "LlamaForCausalLM". It is called from init functions.
func Register(architecture string, b Build) { registry[architecture] = b }

// New builds the decoder that a config.json describes. Architectures that nobody registered are refused by name.
func New(config []byte) (*nn.Decoder, error) {
	var head struct {
		Architectures []string `json:"architectures"`
		ModelType     string   `json:"model_type"`
	}
	if err := json.Unmarshal(config, &head); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	name := ""
	if len(head.Architectures) > 0 {
		name = head.Architectures[0]
	}
	b, ok := registry[name]
	if !ok {
		var known []string
		for n := range registry {
			known = append(known, n)
		}
		slices.Sort(known)
		if name == "" {
			return nil, fmt.Errorf(`config.json: no "architectures" (model_type %q): expected one of %s`, head.ModelType, strings.Join(known, ", "))
		}
		return nil, fmt.Errorf("config.json: architecture %q is not supported: expected one of %s", name, strings.Join(known, ", "))
	}
	return b(config)
}
