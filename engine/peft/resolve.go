package peft

import (
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/nn"
)

// Resolve puts what the model decides in place of what cfg leaves open, as PEFT does before it saves a configuration:
// the names of modules for null and "all-linear", and the model's sizes. Sizes that are not the model's are an error.
func Resolve(d *nn.Decoder, cfg *config.PEFT) error {
	if known := find(cfg.Type); known != nil && known.Resolve != nil {
		return known.Resolve(d, cfg)
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
