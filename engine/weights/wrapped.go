package weights

import (
	"slices"
	"strings"

	"llamatab/engine/message"
)

// trunk are the modules at the top of a decoder.
var trunk = []string{"layers", "embed_tokens", "norm", "lm_head", "score"}

// wrappers are the modules that PEFT, data parallelism, torch.compile, FSDP and activation checkpointing put around a model or
// its parts.
var wrappers = []string{"base_model", "model", "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}

// Unwrap returns the path of a decoder's tensor without the modules that wrap the decoder or parts of it:
//
//	module.model.layers.0._checkpoint_wrapped_module.mlp.up_proj.weight → layers.0.mlp.up_proj.weight
//
// ok is false for a name that is no tensor of a decoder.
func Unwrap(name string) (path string, ok bool) {
	parts := slices.DeleteFunc(strings.Split(name, "."), func(p string) bool {
		return strings.HasPrefix(p, "_") && slices.Contains(wrappers, p)
	})
	for len(parts) > 0 && slices.Contains(wrappers, parts[0]) {
		parts = parts[1:]
	}
	if len(parts) < 2 || !slices.Contains(trunk, parts[0]) {
		return name, false
	}
	return strings.Join(parts, "."), true
}

// unwrap gives the tensors the names that a decoder of transformers saves, where the whole file was saved from the bare model
// (layers.0.…) or from a wrapped one (module.model.layers.0.…). The latter becomes a remark.
func (c *Checkpoint) unwrap() {
	names := map[string]string{}
	taken := map[string]bool{}
	var first string // of the names that a wrapper changed
	for _, name := range c.Names() {
		path, ok := Unwrap(name)
		if !ok {
			continue // a buffer, or an error of another kind: whoever compares with the model says so
		}
		usual := path
		if top, _, _ := strings.Cut(path, "."); top != "lm_head" && top != "score" {
			usual = "model." + path
		}
		if name == usual && usual != path || taken[usual] {
			return // the usual names, or two spellings of one
		}
		names[name], taken[usual] = usual, true
		if name != path && first == "" {
			first = name
		}
	}
	for name, usual := range names {
		t := c.tensors[name]
		delete(c.tensors, name)
		t.Name = usual
		c.tensors[usual] = t
	}
	if first != "" {
		c.Remarks = append(c.Remarks, message.NewRemark("weights_unwrapped", "names such as {name} are read as {usual}: the weights were saved from a wrapped model",
			"name", first, "usual", names[first]))
	}
}
