package peft

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

func init() { registry[config.LORA] = attachLoRA }

// lora is LoRA as PEFT computes it:
//
//	y = W·x + s·B·A·dropout(x),   A (r,in), B (out,r),   s = alpha/r, or alpha/√r with rank stabilisation
//
// On an embedding, row t gets s·B·A[:,t]. Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732.
type lora struct {
	tensors []Tensor
	merges  []Merge
}

func (l *lora) Tensors() []Tensor { return l.tensors }
func (l *lora) Merges() []Merge   { return l.merges }

// loraPair is the low-rank pair of one module.
type loraPair struct {
	a, b    *nn.Param
	scale   float32
	dropout float32
	site    uint32 // tells the dropout masks of different modules apart
}

// Term implements nn.Adapter.
func (p *loraPair) Term(t *graph.Tape, in *nn.Input, x graph.Var) op.Term {
	if in.Train && p.dropout > 0 {
		x = op.Dropout(t, x, p.dropout, p.site, in.Seed)
	}
	u := op.Linear(t, []op.Term{{X: x, W: p.a.Var(t), Scale: 1}}, nil) // (N, r)
	return op.Term{X: u, W: p.b.Var(t), Scale: p.scale}
}

const embedTokens = "model.embed_tokens"

// DefaultTargets are PEFT's for Llama.
var DefaultTargets = []string{"q_proj", "v_proj"}

// ResolveTargets puts the list of names in place of null or "all-linear", as PEFT does before it saves a
// configuration: every linear module but the output head.
func ResolveTargets(d *nn.Decoder, cfg *config.PEFT) {
	switch t := &cfg.TargetModules; {
	case t.IsZero():
		t.Names = slices.Clone(DefaultTargets)
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

func attachLoRA(d *nn.Decoder, cfg *config.PEFT) (Method, error) {
	l := &lora{}
	ResolveTargets(d, cfg)
	chosen, err := newSelector(cfg)
	if err != nil {
		return nil, err
	}
	saved := func(path string) bool { // PEFT compares with the end of a path or of what contains it
		for _, entry := range cfg.ModulesToSave {
			for p := path; p != ""; p = parent(p) {
				if strings.HasSuffix(p, entry) {
					return true
				}
			}
		}
		return false
	}
	if d.Tied && (saved(embedTokens) || saved(d.Head.Path)) {
		d.Untie() // PEFT trains a copy of the one and leaves the other as it was
	}
	linears := d.Linears()
	site := uint32(0)
	adapted := map[string]bool{}
	pair := func(path string, in, out int, unit string) (*loraPair, error) {
		r, alpha, err := chosen.rank(path)
		if err != nil {
			return nil, err
		}
		scale := alpha / float64(r)
		if cfg.RSLoRA {
			scale = alpha / math.Sqrt(float64(r))
		}
		key := Prefix + path + ".lora_"
		site++
		adapted[path] = true
		return &loraPair{
			a:     &nn.Param{Name: key + "A.weight", Shape: tensor.Of(r, in), Unit: unit, Trainable: true},
			b:     &nn.Param{Name: key + "B.weight", Shape: tensor.Of(out, r), Unit: unit, Trainable: true},
			scale: float32(scale), dropout: float32(cfg.Dropout), site: site,
		}, nil
	}
	add := func(p *loraPair) {
		l.tensors = append(l.tensors, Tensor{p.a.Name, p.a}, Tensor{p.b.Name, p.b})
	}
	if chosen.has(embedTokens) && !saved(embedTokens) {
		p, err := pair(embedTokens, d.Vocab, d.Hidden, d.Embedding.Unit)
		if err != nil {
			return nil, err
		}
		// A is kept transposed, so that its column for a token is a row to look up.
		r := p.a.Shape[0]
		p.a.Name, p.a.Shape, p.a.Transposed = Prefix+embedTokens+".lora_embedding_A", tensor.Of(d.Vocab, r), true
		p.b.Name = Prefix + embedTokens + ".lora_embedding_B"
		p.b.Init = nn.Init{Kind: nn.Normal, Scale: 1}
		if cfg.Init == config.InitRandom {
			p.a.Init = p.b.Init
		}
		d.Slots.Embed = func(t *graph.Tape, in *nn.Input, x graph.Var) graph.Var {
			u := op.Embedding(t, p.a.Var(t), in.Lookup) // (N, r); PEFT has no dropout here
			op.AddLinear(t, x, op.Term{X: u, W: p.b.Var(t), Scale: p.scale})
			return x
		}
		add(p)
		l.merges = append(l.merges, Merge{W: d.Embedding, Left: p.a, Right: p.b, Transposed: true, Scale: p.scale})
	}
	for _, m := range linears {
		if !chosen.has(m.Path) || saved(m.Path) {
			continue
		}
		p, err := pair(m.Path, m.In, m.Out, m.Weight.Unit)
		if err != nil {
			return nil, err
		}
		if m == d.Head {
			p.a.Unit, p.b.Unit = "head", "head"
		}
		r := p.a.Shape[0]
		p.a.Init = nn.Init{Kind: nn.Uniform, Scale: 1 / math.Sqrt(float64(m.In))}
		switch cfg.Init {
		case config.InitGaussian:
			p.a.Init = nn.Init{Kind: nn.Normal, Scale: 1 / float64(r)}
		case config.InitRandom:
			p.b.Init = nn.Init{Kind: nn.Uniform, Scale: 1 / math.Sqrt(float64(r))}
		}
		m.Attach(p)
		add(p)
		l.merges = append(l.merges, Merge{W: m.Weight, Left: p.b, Right: p.a, Scale: p.scale})
	}
	if len(adapted) == 0 {
		var names []string
		for _, m := range linears {
			names = append(names, m.Path)
		}
		return nil, fmt.Errorf("target_modules %s matches no module; the linear modules are %s", cfg.TargetModules, strings.Join(names, ", "))
	}
	matched := make([]bool, len(cfg.ModulesToSave))
	for _, p := range d.Params() {
		path := parent(p.Name)
		bias := strings.HasSuffix(p.Name, ".bias")
		switch {
		case saved(path):
			for i, entry := range cfg.ModulesToSave {
				for q := path; q != ""; q = parent(q) {
					matched[i] = matched[i] || strings.HasSuffix(q, entry)
				}
			}
			p.Trainable = true
			l.tensors = append(l.tensors, Tensor{Prefix + p.Name, p})
		case bias && (cfg.Bias == "all" || cfg.Bias == "lora_only" && adapted[path]):
			p.Trainable = true
			key := Prefix + p.Name
			if adapted[path] {
				key = Prefix + path + ".base_layer.bias"
			}
			l.tensors = append(l.tensors, Tensor{key, p})
		}
	}
	for i, ok := range matched {
		if !ok {
			return nil, fmt.Errorf("modules_to_save: %q matches no module", cfg.ModulesToSave[i])
		}
	}
	return l, nil
}

// parent cuts the last segment off a module path.
func parent(path string) string {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return ""
	}
	return path[:i]
}

// selector decides which modules a LoRA configuration adapts, by the rules of PEFT's check_target_module_exists.
type selector struct {
	cfg     *config.PEFT
	targets []string
	pattern *regexp.Regexp // set where target_modules is a regular expression
	exclude *regexp.Regexp
	layer   *regexp.Regexp // finds the layer index in a path
	ranks   []*regexp.Regexp
	alphas  []*regexp.Regexp
}

func newSelector(cfg *config.PEFT) (*selector, error) {
	s := &selector{cfg: cfg, targets: cfg.TargetModules.Names}
	var bad error
	compile := func(key, expr string) *regexp.Regexp {
		re, err := regexp.Compile(expr)
		if err != nil && bad == nil {
			bad = fmt.Errorf("%s: %q is not a regular expression that this program reads (RE2): %w", key, expr, err)
		}
		return re
	}
	if p := cfg.TargetModules.Pattern; p != "" {
		s.pattern = compile("target_modules", `^(?:`+p+`)$`)
	}
	if p := cfg.ExcludeModules.Pattern; p != "" {
		s.exclude = compile("exclude_modules", `^(?:`+p+`)$`)
	}
	layer := `\.(\d+)\.`
	if len(cfg.LayersPattern) > 0 {
		layer = `\.(?:` + strings.Join(cfg.LayersPattern, "|") + `)\.(\d+)\.`
	}
	s.layer = compile("layers_pattern", layer)
	for _, p := range cfg.RankPattern {
		s.ranks = append(s.ranks, compile("rank_pattern", `^(?:.*\.)?(?:`+p.Key+`)$`))
	}
	for _, p := range cfg.AlphaPattern {
		s.alphas = append(s.alphas, compile("alpha_pattern", `^(?:.*\.)?(?:`+p.Key+`)$`))
	}
	if bad != nil {
		return nil, bad
	}
	if len(cfg.LayersToTransform) > 0 && s.pattern != nil {
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
	case len(s.cfg.LayersToTransform) == 0:
		return true
	}
	m := s.layer.FindStringSubmatch(path)
	if m == nil {
		return false
	}
	i, err := strconv.Atoi(m[1])
	return err == nil && slices.Contains(s.cfg.LayersToTransform, i)
}

func endsWithAny(path string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return path == n || strings.HasSuffix(path, "."+n) })
}

// rank is the rank and alpha of a module: the first pattern that hits, each for itself.
func (s *selector) rank(path string) (r int, alpha float64, err error) {
	r, alpha = s.cfg.R, s.cfg.Alpha
	for i, re := range s.ranks {
		if re.MatchString(path) {
			r = s.cfg.RankPattern[i].Value
			break
		}
	}
	for i, re := range s.alphas {
		if re.MatchString(path) {
			alpha = s.cfg.AlphaPattern[i].Value
			break
		}
	}
	if r < 1 {
		return 0, 0, fmt.Errorf("rank_pattern gives %s rank %d, want at least 1", path, r)
	}
	return r, alpha, nil
}
