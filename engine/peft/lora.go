package peft

import (
	"fmt"
	"math"

	"llamatab/engine/config"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/tensor"
)

// loraPair is LoRA on one module, as PEFT computes it:
//
//	y = W·x + s·B·A·dropout(x),   A (r,in), B (out,r),   s = alpha/r, or alpha/√r with rank stabilisation
//
// With lora_bias, y gets s·b besides, where b (out) is a trained bias of B. On an embedding, row t gets s·B·A[:,t]. Hu et al. 2021, arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732.
type loraPair struct {
	a, b    *nn.Param
	bias    *nn.Param // of B, nil for none
	scale   float32
	dropout float32
	site    uint32 // tells the dropout masks of different modules apart
}

// Project implements nn.Adapter.
func (p *loraPair) Project(t *graph.Tape, in *nn.Input, l *nn.Linear, x graph.Var) graph.Var {
	y := l.Plain(t, x, p.Term(t, in, x))
	if p.bias != nil {
		op.AddBias(t, y, op.Scale(t, p.bias.Var(t), p.scale))
	}
	return y
}

// Term implements nn.Additive.
func (p *loraPair) Term(t *graph.Tape, in *nn.Input, x graph.Var) op.Term {
	return p.pair(t, p.dropped(t, in, x))
}

// dropped is what the pair sees of x.
func (p *loraPair) dropped(t *graph.Tape, in *nn.Input, x graph.Var) graph.Var {
	if in.Train && p.dropout > 0 {
		return op.Dropout(t, x, p.dropout, p.site, in.Seed)
	}
	return x
}

func (p *loraPair) pair(t *graph.Tape, x graph.Var) op.Term {
	u := op.Linear(t, []op.Term{{X: x, W: p.a.Var(t), Scale: 1}}, nil) // (N, r)
	return op.Term{X: u, W: p.b.Var(t), Scale: p.scale}
}

// fold implements Merge.Fold.
func (p *loraPair) fold(t *graph.Tape, w graph.Var) {
	op.MergeLowRank(t, w, p.b.Var(t), p.a.Var(t), false, p.scale)
}

// foldBias is Merge.Fold for the bias of the adapted module.
func (p *loraPair) foldBias(t *graph.Tape, bias graph.Var) {
	op.AddTo(t, p.bias.Var(t), bias, p.scale)
}

// loraBuilder makes the pairs of a LoRA adapter.
type loraBuilder struct {
	decoder *nn.Decoder
	config  *LoRAConfig
	chosen  *selector
	seed    uint64
	method  *Method
	patch   *nn.Patch
	site    uint32 // of the last pair's dropout
}

func newLoRA(d *nn.Decoder, cfg *config.PEFT, c Context) (*Method, error) {
	chosen, err := newSelector(cfg)
	if err != nil {
		return nil, err
	}
	b := &loraBuilder{decoder: d, config: cfg.Own.(*LoRAConfig), chosen: chosen, seed: c.Seed, patch: &nn.Patch{Linears: map[*nn.Linear]nn.Adapter{}}}
	b.method = &Method{Patch: b.patch, bias: b.config.Bias}
	saved := c.whole.has
	linears := d.Linears()
	if chosen.has(embedTokens) && !saved(embedTokens) {
		if err := b.adaptEmbedding(); err != nil {
			return nil, err
		}
	}
	for _, m := range linears {
		if chosen.has(m.Path) && !saved(m.Path) {
			if err := b.adaptLinear(m); err != nil {
				return nil, err
			}
		}
	}
	if len(b.method.tensors) == 0 {
		return nil, noModule(d, cfg)
	}
	return b.method, nil
}

// pair makes A (r, in) and B (out, r) of a module.
func (b *loraBuilder) pair(path string, in, out int, unit string) (*loraPair, error) {
	r, alpha, err := b.chosen.rank(path)
	if err != nil {
		return nil, err
	}
	scale := alpha / float64(r)
	if b.config.RSLoRA {
		scale = alpha / math.Sqrt(float64(r))
	}
	key := Prefix + path + ".lora_"
	b.site++
	return &loraPair{
		a:     &nn.Param{Name: key + "A.weight", Shape: tensor.Of(r, in), Unit: unit, Trainable: true},
		b:     &nn.Param{Name: key + "B.weight", Shape: tensor.Of(out, r), Unit: unit, Trainable: true},
		scale: float32(scale), dropout: float32(b.config.Dropout), site: b.site,
	}, nil
}

// adaptEmbedding adds a pair to the embedding.
func (b *loraBuilder) adaptEmbedding() error {
	d := b.decoder
	p, err := b.pair(embedTokens, d.Vocab, d.Hidden, d.Embedding.Unit)
	if err != nil {
		return err
	}
	if err := refuseAtEnds(b.config, embedTokens); err != nil {
		return err
	}
	// A is kept transposed, so that its column for a token is a row to look up.
	r := p.a.Shape[0]
	p.a.Name, p.a.Shape, p.a.Transposed = Prefix+embedTokens+".lora_embedding_A", tensor.Of(d.Vocab, r), true
	p.b.Name = Prefix + embedTokens + ".lora_embedding_B"
	p.b.Init = nn.Init{Kind: nn.Normal, Scale: 1}
	if b.config.Init == InitRandom {
		p.a.Init = p.b.Init
	}
	b.patch.Embed = func(t *graph.Tape, in *nn.Input, x graph.Var) graph.Var {
		u := op.Embedding(t, p.a.Var(t), in.Lookup) // (N, r); PEFT has no dropout here
		op.AddLinear(t, x, op.Term{X: u, W: p.b.Var(t), Scale: p.scale})
		return x
	}
	b.method.Own(p.a, p.b)
	b.method.merges = append(b.method.merges, Merge{W: d.Embedding, From: []*nn.Param{p.a, p.b}, Fold: func(t *graph.Tape, w graph.Var) {
		op.MergeLowRank(t, w, p.a.Var(t), p.b.Var(t), true, p.scale)
	}})
	return nil
}

// adaptLinear adds a pair to a projection, and with DoRA its magnitudes.
func (b *loraBuilder) adaptLinear(m *nn.Linear) error {
	p, err := b.pair(m.Path, m.In, m.Out, m.Weight.Unit)
	if err != nil {
		return err
	}
	if m == b.decoder.Head {
		if err := refuseAtEnds(b.config, m.Path); err != nil {
			return err
		}
		p.a.Unit, p.b.Unit = "head", "head"
	}
	r := p.a.Shape[0]
	p.a.Init = nn.Init{Kind: nn.Uniform, Scale: 1 / math.Sqrt(float64(m.In))}
	switch b.config.Init {
	case InitGaussian:
		p.a.Init = nn.Init{Kind: nn.Normal, Scale: 1 / float64(r)}
	case InitRandom:
		p.b.Init = nn.Init{Kind: nn.Uniform, Scale: 1 / math.Sqrt(float64(r))}
	case InitPiSSA, InitOLoRA:
		if m.Weight == b.decoder.Embedding {
			return refuse("init_lora_weights "+string(b.config.Init), m.Path, "it would take a part out of the embedding, too, which the model ties to it")
		}
		if err := newResidual(b.method, b.config.Init, p, m); err != nil {
			return err
		}
	}
	b.method.Own(p.a, p.b)
	if b.config.BiasOfB {
		b.addBias(p, m)
	}
	merge := Merge{W: m.Weight, Head: m == b.decoder.Head, From: []*nn.Param{p.a, p.b}, Fold: p.fold}
	b.patch.Linears[m] = p
	if b.config.DoRA {
		dora := newDoRA(b.method, p, m, b.seed)
		b.method.Own(dora.m)
		b.patch.Linears[m] = dora
		merge.From, merge.Fold = append(merge.From, dora.m), dora.fold
	}
	b.method.merges = append(b.method.merges, merge)
	return nil
}

// addBias gives B of a pair a bias, which starts as that of torch.nn.Linear where B does, and else as 0.
func (b *loraBuilder) addBias(p *loraPair, m *nn.Linear) {
	p.bias = &nn.Param{Name: Prefix + m.Path + ".lora_B.bias", Shape: tensor.Of(m.Out), Unit: p.b.Unit, Trainable: true}
	if b.config.Init == InitRandom {
		p.bias.Init = p.b.Init
	}
	b.method.Own(p.bias)
	if m.Bias == nil {
		b.method.unmergeable = "lora_bias gives " + m.Path + " a bias that no weight can hold: the base model has none there"
		return
	}
	b.method.merges = append(b.method.merges, Merge{W: m.Bias, From: []*nn.Param{p.bias}, Fold: p.foldBias})
}

// rank is the rank and alpha of a module: the first pattern that hits, each for itself.
func (s *selector) rank(path string) (r int, alpha float64, err error) {
	r, alpha = s.lora.R, s.lora.Alpha
	for i, re := range s.ranks {
		if re.MatchString(path) {
			r = s.lora.RankPattern[i].Value
			break
		}
	}
	for i, re := range s.alphas {
		if re.MatchString(path) {
			alpha = s.lora.AlphaPattern[i].Value
			break
		}
	}
	if r < 1 {
		return 0, 0, fmt.Errorf("rank_pattern gives %s rank %d, want at least 1", path, r)
	}
	return r, alpha, nil
}
