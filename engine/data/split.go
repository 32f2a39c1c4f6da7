package data

import (
	"fmt"
	"math"

	"llamatab/engine/data/sampling"
)

// Split sets a fraction of the rows, (0, 1) and at least one row, apart for validation. Which ones depends on seed
// alone; both parts keep the order of the file.
func (d *Dataset) Split(fraction float64, seed uint64) (train, validation *Dataset, err error) {
	fail := func(why string) (*Dataset, *Dataset, error) {
		return nil, nil, fmt.Errorf("data: %s: validation_split %v: %s", d.Name, fraction, why)
	}
	n := d.Len()
	switch {
	case !(fraction > 0 && fraction < 1):
		return fail("wants a fraction between 0 and 1")
	case n < 2:
		return fail("one row cannot be split")
	}
	apart := make([]bool, n)
	for _, row := range sampling.Shuffled(n, seed, sampling.SplitStream)[:min(n-1, max(1, int(math.Round(fraction*float64(n)))))] {
		apart[row] = true
	}
	train, validation = &Dataset{Name: d.Name, Format: d.Format, Length: d.Length, Classes: d.Classes, Bad: d.Bad, Stats: d.Stats}, &Dataset{Name: d.Name, Format: d.Format, Length: d.Length, Classes: d.Classes}
	train.Stats.Rows, train.Stats.Tokens, train.Stats.Trained, train.Stats.Untrained = 0, 0, 0, 0 // what was left out is told of the whole file
	if d.index != nil {
		train.index, validation.index = d.index, d.index
	}
	for row := range n {
		part := train
		if apart[row] {
			part = validation
		}
		if d.index != nil {
			part.chosen = append(part.chosen, d.at(row))
		} else {
			part.Samples = append(part.Samples, d.Samples[row])
		}
		part.Stats.Rows++
		part.Stats.Tokens += d.RowLen(row)
		trained := d.rowCounted(row)
		if part.Stats.Trained += trained; trained == 0 {
			part.Stats.Untrained++
		}
	}
	switch {
	case train.Stats.Trained == 0:
		return fail("no token is left to train on")
	case validation.Stats.Trained == 0:
		return fail("its rows hold no token to evaluate")
	}
	return train, validation, nil
}
