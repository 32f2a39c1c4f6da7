package replay

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"

	"llamatab/engine/message"
	"llamatab/engine/report"
)

// TokenSampler picks tokens as transformers does: temperature, then the top k, then the smallest set of tokens whose
// probability reaches top p. Temperature 0 picks the token with the highest logit, the lowest id among equals.
type TokenSampler struct {
	*message.GenerateJob
	random *rand.Rand
}

// NewTokenSampler makes a sampler whose picks are a function of the job's seed.
func NewTokenSampler(g *message.GenerateJob) *TokenSampler {
	return &TokenSampler{g, rand.New(rand.NewPCG(g.Seed, 0x70726f6d7074))}
}

// Pick returns the id of a token. A logit that is not finite is an error.
func (s *TokenSampler) Pick(logits []float64) (int, error) {
	best := 0
	for i, l := range logits {
		if math.IsNaN(l) || math.IsInf(l, 0) {
			return 0, report.Fail("nonfinite", report.ExitFailed, "The weights are damaged: use another checkpoint.", fmt.Errorf("generate: the logit of token %d is %v", i, l))
		}
		if l > logits[best] {
			best = i
		}
	}
	if s.Temperature == 0 {
		return best, nil
	}
	order := make([]int, len(logits))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return logits[order[a]] > logits[order[b]] })
	if s.TopK > 0 {
		order = order[:min(s.TopK, len(order))]
	}
	p := make([]float64, len(order))
	total := 0.0
	for i, id := range order {
		p[i] = math.Exp((logits[id] - logits[best]) / s.Temperature)
		total += p[i]
	}
	kept, sum := len(order), 0.0
	if s.TopP < 1 {
		for i := range p {
			sum += p[i]
			if sum >= s.TopP*total {
				kept, total = i+1, sum
				break
			}
		}
	}
	at := s.random.Float64() * total
	for i := range kept {
		if at -= p[i]; at < 0 {
			return order[i], nil
		}
	}
	return order[kept-1], nil
}
