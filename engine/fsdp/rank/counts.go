package rank

import (
	"sync"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/data/sampling"
	"llamatab/engine/replay"
)

// SlotTokens returns the number of counted tokens in the micro-batches [from, to) of a step, counted from 0. A room checks the
// numbers of its tabs with it, because the gradients are divided by the tokens of the step.
type SlotTokens func(step uint64, from, to int) int

// slotTokens counts the tokens of each row once, so that the dataset does not have to stay in memory.
func slotTokens(s *replay.Setup, cfg *config.Config) (SlotTokens, error) {
	sampler, err := sampling.New(s.DataPlan(cfg))
	if err != nil {
		return nil, err
	}
	counts := make([]int32, s.Train.Len())
	for i := range counts {
		sample, err := s.Train.Row(i)
		if err != nil {
			return nil, err
		}
		b := data.Collate([]data.Sample{sample}, 1, 1)
		b.Prepend(s.Model.Decoder.Prompt())
		counts[i] = int32(b.Tokens)
	}
	var mu sync.Mutex // of the sampler, which keeps the order of the last pass
	return func(step uint64, from, to int) (tokens int) {
		mu.Lock()
		defer mu.Unlock()
		micro := sampler.Step(int(step))
		for _, rows := range micro[min(from, len(micro)):min(to, len(micro))] {
			for _, row := range rows {
				tokens += int(counts[row])
			}
		}
		return tokens
	}, nil
}
