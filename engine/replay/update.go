package replay

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"regexp"
	"slices"

	"llamatab/engine/graph"
	"llamatab/engine/memory"
	"llamatab/engine/nn"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
)

// recordUpdate records the update of a stage on a new tape.
func (s *Setup) recordUpdate(stage int) (*graph.Tape, error) {
	r, err := s.rates()
	if err != nil {
		return nil, err
	}
	t := graph.NewTape()
	return t, graph.Record(func() { s.update(t, stage, r) })
}

// stepVars brings the scalars of a stage and the state of a step onto a tape.
func stepVars(t *graph.Tape) (scalars func(stage int) graph.Var, state graph.Var) {
	scalars = func(stage int) graph.Var {
		return t.Extern(graph.Extern{Key: scalarsKey(stage), Shape: tensor.Of(optim.NumScalars), Name: "step scalars"})
	}
	return scalars, t.Extern(graph.Extern{Key: stateKey{}, Shape: tensor.Of(optim.NumState), Name: "step state"})
}

// update records the update of a stage: norm, clipping, AdamW and the sums of the units.
func (s *Setup) update(t *graph.Tape, stage int, r *rates) {
	scalars, state := stepVars(t)
	starts := t.Extern(graph.Extern{Key: startsKey{}, Shape: tensor.Of(len(s.UnitNames()) + 1), DType: tensor.I32, Name: s.startsSpec().Label})
	sums := t.Extern(graph.Extern{Key: sumsKey{}, Shape: tensor.Of(len(s.UnitNames()), 3), Name: "sums of units"})
	loss := t.Extern(graph.Extern{Key: lossKey{}, Shape: tensor.Of(1), Name: "loss"})
	var grads, weights []graph.Var
	for i, seg := range s.Layout.Segments {
		grads = append(grads, memory.SegmentVar(t, s.Layout, i, plan.Gradient, 0, seg.Len))
		weights = append(weights, memory.SegmentVar(t, s.Layout, i, plan.Weight, 0, seg.Len))
	}
	gradients := optim.SumSquares(t, grads...)
	if s.Scaled() {
		optim.FinishScaledNorm(t, gradients, loss, scalars(0), state, s.scaleVar(t), r.maxNorm)
	} else {
		optim.FinishNorm(t, gradients, loss, scalars(0), state, r.maxNorm)
	}
	s.adamw(t, s.Layout, stage, r, scalars, state)
	optim.UnitSums(t, gradients, optim.SumSquares(t, grads...), optim.SumSquares(t, weights...), starts, sums)
	memory.RecordPublish(t, s.Layout)
}

// adamw records AdamW for the parameters of a layout. Neighbours in a segment with the same hyper-parameters share a launch.
func (s *Setup) adamw(t *graph.Tape, l plan.Layout, stage int, r *rates, scalars func(stage int) graph.Var, state graph.Var) {
	for i, seg := range l.Segments {
		for from := 0; from < len(seg.Params); {
			c, startStage := r.of(seg.Params[from]), s.startStage[seg.Params[from]]
			to := from + 1
			for to < len(seg.Params) && r.of(seg.Params[to]) == c && s.startStage[seg.Params[to]] == startStage {
				to++
			}
			off, end := seg.Offsets[from], seg.Len
			if to < len(seg.Params) {
				end = seg.Offsets[to]
			}
			c.First, c.Site = uint32(off), site(s.Model.Seed, seg.Params[0].Name)
			if from = to; startStage > stage {
				continue // it does not train yet: weight decay must not change it
			}
			at := func(copy int) graph.Var { return memory.SegmentVar(t, l, i, copy, off, end-off) }
			optim.AdamW(t, at(plan.Weight), at(plan.Gradient), at(plan.Moment1), at(plan.Moment2), scalars(startStage), state, c)
		}
	}
}

// site is the seed of a segment's stochastic rounding, from the run's seed and the name of its first parameter.
func site(seed uint64, first string) uint32 {
	h := fnv.New32a()
	h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	h.Write([]byte(first))
	return h.Sum32()
}

// rates are the hyper-parameters of an update. They differ between parameters.
type rates struct {
	optim.AdamWConfig
	maxNorm float64
	exempt  []*regexp.Regexp   // from weight decay, by name
	scale   map[string]float64 // of the learning rate, by unit; 1 for a unit that is not in it
}

// rates returns the hyper-parameters of the config. With layer_lr_decay γ the learning rate of block i of L, and of the adapters
// in it, is multiplied by γ^(L−1−i), and that of the embedding by γ^L. Parameters above the blocks have the full rate.
func (s *Setup) rates() (*rates, error) {
	t := s.Config.Training
	r := &rates{
		AdamWConfig: optim.AdamWConfig{Beta1: t.Beta1, Beta2: t.Beta2, Eps: t.Epsilon, WeightDecay: t.WeightDecay, LRScale: 1},
		maxNorm:     t.MaxGradNorm, scale: map[string]float64{},
	}
	for _, expr := range t.NoDecay {
		re, err := regexp.Compile(expr)
		if err != nil {
			return nil, report.Fail("config", report.ExitConfig, "Use Go's (RE2) syntax.", fmt.Errorf("training.no_decay: %w", err))
		}
		r.exempt = append(r.exempt, re)
	}
	L := s.Model.Decoder.Layers
	r.scale[s.Model.Decoder.Embedding.Unit] = math.Pow(t.LayerLRDecay, float64(L))
	for i := range L {
		r.scale[nn.BlockUnit(i)] = math.Pow(t.LayerLRDecay, float64(L-1-i))
	}
	return r, nil
}

// of returns the hyper-parameters of one parameter.
func (r *rates) of(p *nn.Param) optim.AdamWConfig {
	c := r.AdamWConfig
	if slices.ContainsFunc(r.exempt, func(re *regexp.Regexp) bool { return re.MatchString(p.Name) }) {
		c.WeightDecay = 0
	}
	if f, ok := r.scale[p.Unit]; ok {
		c.LRScale = f
	}
	return c
}
