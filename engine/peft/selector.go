package peft

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/nn"
)

// selector decides which modules a LoRA configuration adapts, by the rules of PEFT's check_target_module_exists.
type selector struct {
	cfg     *config.PEFT
	lora    *LoRAConfig // the settings of LoRA; all zero in any other method
	targets []string
	pattern matcher // set where target_modules is a regular expression
	exclude matcher
	layer   *regexp.Regexp // finds the layer index in a path
	ranks   []matcher
	alphas  []matcher
}

func newSelector(cfg *config.PEFT) (*selector, error) {
	s := &selector{cfg: cfg, lora: new(LoRAConfig), targets: cfg.TargetModules.Names}
	if own, ok := cfg.Own.(*LoRAConfig); ok {
		s.lora = own
	}
	var bad error
	compile := func(key, before, expr string) matcher {
		m, err := newMatcher(key, before, expr)
		if bad == nil {
			bad = err
		}
		return m
	}
	if p := cfg.TargetModules.Pattern; p != "" {
		s.pattern = compile("target_modules", "", p)
	}
	if p := cfg.ExcludeModules.Pattern; p != "" {
		s.exclude = compile("exclude_modules", "", p)
	}
	layer := `\.(\d+)\.`
	if len(s.lora.LayersPattern) > 0 {
		layer = `\.(?:` + strings.Join(s.lora.LayersPattern, "|") + `)\.(\d+)\.`
	}
	var err error
	if s.layer, err = regexp.Compile(layer); err != nil && bad == nil {
		bad = fmt.Errorf("layers_pattern: %q is not a regular expression that this program reads (RE2): %w", layer, err)
	}
	for _, p := range s.lora.RankPattern {
		s.ranks = append(s.ranks, compile("rank_pattern", `(?:.*\.)?`, p.Key))
	}
	for _, p := range s.lora.AlphaPattern {
		s.alphas = append(s.alphas, compile("alpha_pattern", `(?:.*\.)?`, p.Key))
	}
	if bad != nil {
		return nil, bad
	}
	if len(s.lora.LayersToTransform) > 0 && s.pattern != nil {
		return nil, fmt.Errorf("layers_to_transform goes with a list of target_modules, not with %q", cfg.TargetModules.Pattern)
	}
	return s, nil
}

func (s *selector) has(path string) bool {
	if s.exclude != nil && s.exclude.MatchString(path) || endsWithAny(path, s.cfg.ExcludeModules.Names) {
		return false
	}
	switch {
	case s.pattern != nil:
		return s.pattern.MatchString(path)
	case !endsWithAny(path, s.targets):
		return false
	case len(s.lora.LayersToTransform) == 0:
		return true
	}
	m := s.layer.FindStringSubmatch(path)
	if m == nil {
		return false
	}
	i, err := strconv.Atoi(m[1])
	return err == nil && slices.Contains(s.lora.LayersToTransform, i)
}

func endsWithAny(path string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return path == n || strings.HasSuffix(path, "."+n) })
}

// noModule is the error for targets that match nothing.
func noModule(d *nn.Decoder, cfg *config.PEFT) error {
	var names []string
	for _, m := range d.Linears() {
		names = append(names, m.Path)
	}
	return fmt.Errorf("target_modules %s matches no module; the linear modules are %s", cfg.TargetModules, strings.Join(names, ", "))
}

// suffixes are names that paths end with, or an expression for whole paths, as feedforward_modules has them.
type suffixes struct {
	names   []string
	pattern matcher
}

func newSuffixes(key string, m config.Modules) (suffixes, error) {
	s := suffixes{names: m.Names}
	if m.Pattern != "" {
		var err error
		if s.pattern, err = newMatcher(key, "", m.Pattern); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s suffixes) match(path string) bool {
	if s.pattern != nil {
		return s.pattern.MatchString(path)
	}
	return slices.ContainsFunc(s.names, func(n string) bool { return strings.HasSuffix(path, n) })
}

// refuse is the error for a module that a method cannot adapt here.
func refuse(method, path, why string) error {
	return fmt.Errorf("target_modules: %s on %s is not available in this version: %s", method, path, why)
}
