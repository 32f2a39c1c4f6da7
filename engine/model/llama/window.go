package llama

import (
	"encoding/json"
	"fmt"

	"llamatab/engine/model"
)

// Names of layer_types for kinds of attention.
const (
	fullAttention    = "full_attention"
	slidingAttention = "sliding_attention"
)

// Sliding are the defaults of an architecture whose config.json has use_sliding_window.
type Sliding struct {
	// Window is sliding_window where the file does not have the key; 0 is none.
	Window int
	// Layer says whether a layer attends over the window where the file has no layer_types. maxWindowLayers is the
	// file's max_window_layers, 28 by default.
	Layer func(i, maxWindowLayers int) bool
}

// Windows are the sliding windows of the layers' attention, 0 for none, by the rule of transformers 5
// (configuration_qwen2.py, configuration_smollm3.py). use_sliding_window turns them on, layer_types names the layers, and
// sliding_window is their length. What transformers cannot compute is refused: a layer of sliding_attention without a
// window, or another number of layer_types than of layers.
func (s Sliding) Windows(config []byte, layers int) ([]int, error) {
	keys := struct {
		Use    bool            `json:"use_sliding_window"`
		Window json.RawMessage `json:"sliding_window"`
		Most   int             `json:"max_window_layers"`
		Types  []string        `json:"layer_types"`
	}{Most: 28}
	if err := json.Unmarshal(config, &keys); err != nil {
		return nil, fmt.Errorf("config.json: %w", model.TypeError(err))
	}
	window := 0
	if keys.Use {
		var err error
		if window, err = Window(keys.Window, s.Window); err != nil {
			return nil, fmt.Errorf("config.json: %w", err)
		}
	}
	for i, kind := range keys.Types {
		if kind != fullAttention && kind != slidingAttention {
			return nil, fmt.Errorf("config.json: layer_types[%d] %q is not supported, want %s or %s", i, kind, fullAttention, slidingAttention)
		}
	}
	if keys.Types != nil && len(keys.Types) != layers {
		return nil, fmt.Errorf("config.json: layer_types names %d layers, num_hidden_layers is %d", len(keys.Types), layers)
	}
	windows := make([]int, layers)
	for i := range windows {
		switch {
		case keys.Types == nil && window > 0 && s.Layer(i, keys.Most):
			windows[i] = window
		case keys.Types == nil || keys.Types[i] == fullAttention:
		case window == 0:
			return nil, fmt.Errorf("config.json: layer_types[%d] is %s, but there is no window: set use_sliding_window to true and sliding_window to its length, or layer_types[%d] to %s",
				i, slidingAttention, i, fullAttention)
		default:
			windows[i] = window
		}
	}
	return windows, nil
}

// Window reads the value of the key sliding_window: standard where the file does not have the key, 0 for null.
func Window(value json.RawMessage, standard int) (int, error) {
	if value == nil {
		return standard, nil
	}
	var n *int
	if err := json.Unmarshal(value, &n); err != nil {
		return 0, fmt.Errorf("sliding_window is %s, want a whole number or null", value)
	}
	switch {
	case n == nil:
		return 0, nil
	case *n < 1:
		return 0, fmt.Errorf("sliding_window is %d, want at least 1, or null for no window", *n)
	}
	return *n, nil
}
