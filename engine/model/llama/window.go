package llama

import (
	"encoding/json"
	"fmt"
)

// SlidingWindow is the length of the window that a config.json of the Qwen families gives the attention of some layers, 0
// for none. Which layers have it does not matter to a text that fits into it.
func SlidingWindow(config []byte) (int, error) {
	var keys struct {
		Use    bool     `json:"use_sliding_window"`
		Window *int     `json:"sliding_window"`
		Types  []string `json:"layer_types"`
	}
	if err := json.Unmarshal(config, &keys); err != nil {
		return 0, fmt.Errorf("config.json: %w", typeError(err))
	}
	sliding := false
	for i, kind := range keys.Types {
		switch kind {
		case "full_attention":
		case "sliding_attention":
			sliding = true
		default:
			return 0, fmt.Errorf("config.json: layer_types[%d] %q is not supported, want full_attention or sliding_attention", i, kind)
		}
	}
	if !keys.Use || keys.Types != nil && !sliding {
		return 0, nil
	}
	if keys.Window == nil {
		return 4096, nil // transformers' default
	}
	if *keys.Window < 1 {
		return 0, fmt.Errorf("config.json: sliding_window is %d, want at least 1", *keys.Window)
	}
	return *keys.Window, nil
}
