package adapterdir

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"llamatab/engine/weights"
)

// respell returns a key of an adapter's file as PEFT saves it, and the adapter's name where the key holds one:
//
//	base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight
//
// A key that has nothing to do with a module of a decoder stays as it is.
func respell(key string) (name, adapter string) {
	path, ok := weights.Unwrap(key)
	if !ok {
		return key, ""
	}
	parts, adapter := withoutName(strings.Split(path, "."))
	prefix := "base_model.model.model."
	if parts[0] == "lm_head" || parts[0] == "score" {
		prefix = "base_model.model."
	}
	return prefix + strings.Join(parts, "."), adapter
}

// withoutName takes the adapter's name out of a path, and spells the end of it as PEFT does.
func withoutName(parts []string) (path []string, adapter string) {
	i := slices.IndexFunc(parts, func(p string) bool {
		return strings.HasPrefix(p, "lora_") || p == "ia3_l" || p == "modules_to_save" || p == "original_module" || p == "trainable_tokens_delta"
	})
	if i < 0 {
		return parts, ""
	}
	before, mark, after := parts[:i:i], parts[i], parts[i+1:]
	switch mark {
	case "lora_A", "lora_B": // then "weight" or "bias"
		last := "weight"
		if n := len(after); n > 0 {
			if last = after[n-1]; last != "weight" && last != "bias" {
				return parts, "" // no tensor of PEFT's
			}
			after = after[:n-1]
		}
		return append(before, mark, last), strings.Join(after, ".")
	case "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", "ia3_l", "trainable_tokens_delta": // then nothing
		if n := len(after); n > 0 && after[n-1] == "weight" {
			after = after[:n-1]
		}
		return append(before, mark), strings.Join(after, ".")
	case "modules_to_save": // the name, then the parameter
		if len(after) >= 2 {
			return append(before, after[len(after)-1]), strings.Join(after[:len(after)-1], ".")
		}
	case "original_module": // the base's own, beside a module of modules_to_save
		return append(append(before, "base_layer"), after...), ""
	}
	return parts, ""
}

// respellAll maps every key to its spelling. Two keys of one spelling, and several adapters in one file, are errors.
func respellAll(keys []string) (map[string]string, error) {
	names, owners, adapters := map[string]string{}, map[string]string{}, map[string]bool{}
	adapted := map[string]bool{} // modules with tensors of a method
	for _, key := range keys {
		name, adapter := respell(key)
		names[key] = name
		if adapter != "" {
			adapters[adapter] = true
		}
		if module, _, ok := strings.Cut(name, ".lora_"); ok {
			adapted[module] = true
		}
		if module, ok := strings.CutSuffix(name, ".ia3_l"); ok {
			adapted[module] = true
		}
	}
	if len(adapters) > 1 {
		return nil, fmt.Errorf("holds several adapters (%s): save the one that you want by itself, with save_pretrained(…, selected_adapters=[…])",
			strings.Join(slices.Sorted(maps.Keys(adapters)), ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(names)) {
		name := names[key]
		// PEFT before 0.5 has no base_layer between an adapted module and the base's own parameters.
		for _, parameter := range []string{".weight", ".bias"} {
			if module, ok := strings.CutSuffix(name, parameter); ok && adapted[module] {
				name = module + ".base_layer" + parameter
			}
		}
		if other, twice := owners[name]; twice {
			return nil, fmt.Errorf("%q and %q are two spellings of one tensor", other, key)
		}
		names[key], owners[name] = name, key
	}
	return names, nil
}
