package peft

import (
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/nn"
)

const embedTokens = "model.embed_tokens"

// wholeModules are the modules that modules_to_save names: they train and are saved whole.
type wholeModules struct{ entries []string }

// newWholeModules unties the output head where only one of its two uses is to train: PEFT trains a copy of the one and
// leaves the other as it was.
func newWholeModules(d *nn.Decoder, cfg *config.PEFT) wholeModules {
	w := wholeModules{cfg.ModulesToSave}
	if d.Tied && (w.has(embedTokens) || w.has(d.Head.Path)) {
		d.Untie()
	}
	return w
}

// selects tells whether an entry names a module: PEFT compares with the end of its path or of what contains it.
func selects(entry, path string) bool {
	for p := path; p != ""; p = parent(p) {
		if strings.HasSuffix(p, entry) {
			return true
		}
	}
	return false
}

func (w wholeModules) has(path string) bool {
	for _, entry := range w.entries {
		if selects(entry, path) {
			return true
		}
	}
	return false
}

// train has the modules train and adds them to the method's tensors, as well as the biases that m.bias names: none, all, or
// lora_only, those of adapted modules.
func (w wholeModules) train(m *Method, d *nn.Decoder, cfg *config.PEFT) error {
	bias := m.bias
	adapted := func(path string) bool {
		for l := range m.Patch.Linears {
			if l.Path == path {
				return true
			}
		}
		return false
	}
	matched := make([]bool, len(w.entries))
	for _, p := range d.Params() {
		path := parent(p.Name)
		switch {
		case w.has(path):
			for i, entry := range w.entries {
				matched[i] = matched[i] || selects(entry, path)
			}
			p.Trainable = true
			m.tensors = append(m.tensors, Tensor{Key: m.Prefix + p.Name, Param: p})
		case strings.HasSuffix(p.Name, ".bias") && (bias == "all" || bias == "lora_only" && adapted(path)):
			p.Trainable = true
			key := m.Prefix + p.Name
			if adapted(path) {
				key = m.Prefix + path + ".base_layer.bias"
			}
			m.tensors = append(m.tensors, Tensor{Key: key, Param: p})
		}
	}
	for i, ok := range matched {
		if absent := cfg.Loaded || cfg.TaskType == config.SeqCls && slices.Contains(config.HeadNames, w.entries[i]); !ok && !absent {
			return fmt.Errorf("modules_to_save: %q matches no module", w.entries[i])
		}
	}
	return nil
}

// parent cuts the last segment off a module path.
func parent(path string) string {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return ""
	}
	return path[:i]
}
