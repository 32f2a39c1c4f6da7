package pretrained

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/nn"
	"llamatab/engine/report"
)

// ParamSet is a set of the base model's parameters.
type ParamSet map[*nn.Param]bool

// Untie gives the output head a weight of its own if an entry is lm_head. No other entry unties a tied model.
func Untie(d *nn.Decoder, parts []config.Part) {
	if d.Classes == 0 && slices.ContainsFunc(parts, func(p config.Part) bool { return p.Select == config.LMHead }) {
		d.Untie()
	}
}

// Choose returns the parameters that the entries of trainable name. path is the list's place in run.json, for errors.
func Choose(d *nn.Decoder, parts []config.Part, path string) (ParamSet, error) {
	chosen := ParamSet{}
	for i, part := range parts {
		bad := func(next, format string, args ...any) error {
			return report.Fail("config", report.ExitConfig, next, &config.Error{Path: fmt.Sprintf("%s[%d]", path, i), Message: fmt.Sprintf(format, args...)})
		}
		blocks, err := part.Layers(d.Layers)
		if err != nil {
			return nil, bad("Name layers that the model has.", "%v %v", part, err)
		}
		if part.Select == config.LMHead && d.Classes > 0 {
			return nil, bad(`Name "score" instead.`, "the model classifies: its head is score, not lm_head")
		}
		if part.Select == config.Score && (d.Classes == 0 || d.Added != nil && d.Added.At == nn.OnTop) {
			return nil, bad(`Name "lm_head" instead.`, "the model has no classification head")
		}
		re := part.Regexp()
		before := len(chosen)
		for _, p := range append(d.Params(), d.Added.Params()...) {
			var hit bool
			switch part.Select {
			case "": // an added head
				hit = p.Unit == nn.AddedHeadUnit
			case config.All:
				hit = true
			case config.LMHead, config.Score:
				hit = p == d.Head.Weight || d.Head.Bias != nil && p == d.Head.Bias
			case config.EmbedTokens:
				hit = p == d.Embedding
			case config.Norm:
				hit = p == d.Norm
			default:
				hit = re != nil && re.MatchString(p.Name) ||
					slices.ContainsFunc(blocks, func(block int) bool { return p.Unit == nn.BlockUnit(block) })
			}
			if hit {
				chosen[p] = true
			}
		}
		if re != nil && len(chosen) == before && !matches(d, part) {
			return nil, bad("Use a pattern that is found in names of parameters.", "%v matches no parameter; near are %s", part, strings.Join(near(d, re.String()), ", "))
		}
	}
	return chosen, nil
}

// matches reports whether the pattern of an entry is found in the name of a parameter.
func matches(d *nn.Decoder, part config.Part) bool {
	return slices.ContainsFunc(d.Params(), func(p *nn.Param) bool { return part.Regexp().MatchString(p.Name) })
}

// near lists the four names that have the longest text in common with a pattern.
func near(d *nn.Decoder, pattern string) []string {
	const most = 4
	pattern = strings.ReplaceAll(pattern, `\`, "")
	var names []string
	shared := map[string]int{}
	for _, p := range d.Params() {
		names = append(names, p.Name)
		for from := range pattern {
			for to := from + shared[p.Name] + 1; to <= len(pattern) && strings.Contains(p.Name, pattern[from:to]); to++ {
				shared[p.Name] = to - from
			}
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(shared[b], shared[a]) })
	return names[:min(most, len(names))]
}

// modulesOf are the entries of PEFT's modules_to_save for a set of parameters: the full paths of their modules. PEFT saves every
// module whose path ends with an entry, so only a full path names one module.
func modulesOf(d *nn.Decoder, set ParamSet) (modules []string) {
	for _, p := range d.Params() {
		if m := moduleOf(p); set[p] && !slices.Contains(modules, m) {
			modules = append(modules, m)
		}
	}
	return modules
}

// moduleOf is the path of the module that p belongs to.
func moduleOf(p *nn.Param) string { return p.Name[:strings.LastIndexByte(p.Name, '.')] }
