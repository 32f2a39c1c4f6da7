// Package sampling says which rows of a dataset each step of a run trains on, from a seed and the number of the step alone.
package sampling

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// MaxRows is the largest number of rows of a dataset.
const MaxRows = 10_000_000

// Plan says which rows each step trains on. A step takes the next Micro × Batch rows of a pass over the data; a pass is
// in file order or, with Shuffle, in an order of its own, drawn from Seed and the number of the pass.
//
// MaxSteps ≤ 0 counts in epochs: each begins a pass anew, and its last step takes the rows that remain. So no row is
// left out, and a step never mixes epochs. MaxSteps > 0 runs through pass after pass without a seam: every step has its
// full number of rows, wrapping around the data.
type Plan struct {
	Rows     int
	Batch    int // rows a micro-batch
	Micro    int // micro-batches a step
	Shuffle  bool
	Seed     uint64
	Epochs   float64
	MaxSteps int
	// Lengths are the lengths of the rows if those of similar length share a step, nil if they do not. It needs Shuffle.
	Lengths []int
}

// StepsPerEpoch is the number of steps in which every row is seen once.
func (p Plan) StepsPerEpoch() int { return (p.Rows + p.window() - 1) / p.window() }

// TotalSteps is the number of optimizer updates of the whole run.
func (p Plan) TotalSteps() int {
	if p.MaxSteps > 0 {
		return p.MaxSteps
	}
	return int(math.Ceil(p.Epochs * float64(p.StepsPerEpoch())))
}

// Epoch is how often the data has been passed through after the given number of steps.
func (p Plan) Epoch(steps int) float64 {
	if p.MaxSteps > 0 {
		return float64(steps) * float64(p.window()) / float64(p.Rows)
	}
	return float64(steps) / float64(p.StepsPerEpoch())
}

func (p Plan) window() int { return p.Batch * p.Micro }

// Sampler hands out the rows of a Plan. A step's rows depend on the Plan and the step's number alone, so a run resumes
// from that number.
type Sampler struct {
	Plan
	orders [2]order // the last two passes: a step that wraps around needs both
}

type order struct {
	pass int
	rows []int32 // nil: none yet
}

// New checks p.
func New(p Plan) (*Sampler, error) {
	if p.Rows < 1 || p.Rows > MaxRows || p.Batch < 1 || p.Micro < 1 || p.Batch > math.MaxInt32/p.Micro {
		return nil, fmt.Errorf("data: cannot take steps of %d micro-batches of %d rows from %d rows", p.Micro, p.Batch, p.Rows)
	}
	if p.MaxSteps <= 0 && !(p.Epochs > 0 && p.Epochs*float64(p.StepsPerEpoch()) < 1<<53) {
		return nil, fmt.Errorf("data: cannot train for %v epochs", p.Epochs)
	}
	return &Sampler{Plan: p}, nil
}

// Step returns the rows of step s, counted from 0: a list of rows for each micro-batch, the k-th being the k-th
// consecutive group. The last step of an epoch may have fewer micro-batches, and a smaller last one.
func (s *Sampler) Step(step int) [][]int {
	rows := make([]int, 0, s.window())
	if s.MaxSteps > 0 {
		at := step * s.window()
		for i := range s.window() {
			rows = append(rows, s.row((at+i)/s.Rows, (at+i)%s.Rows))
		}
	} else {
		pass, at := step/s.StepsPerEpoch(), step%s.StepsPerEpoch()*s.window()
		for i := at; i < min(at+s.window(), s.Rows); i++ {
			rows = append(rows, s.row(pass, i))
		}
	}
	var micro [][]int
	for len(rows) > 0 {
		n := min(s.Batch, len(rows))
		micro, rows = append(micro, rows[:n]), rows[n:]
	}
	return micro
}

// row is the i-th row of a pass.
func (s *Sampler) row(pass, i int) int {
	if !s.Shuffle {
		return i
	}
	o := &s.orders[pass%2]
	if o.rows == nil || o.pass != pass {
		*o = order{pass, Shuffled(s.Rows, s.Seed, uint64(pass))}
		if s.Lengths != nil {
			groupByLength(o.rows, s.Lengths, s.window())
		}
	}
	return int(o.rows[i])
}

// groupByLength sorts a shuffled order piece by piece, so that consecutive rows of a step have similar lengths, and the pieces
// stay in random order. Each piece has
//
//	min(rows / (4·step), 50), but at least 1
//
// steps, and within it lengths fall. Then the longest row of all changes places with the first, so that what needs the most
// memory comes first. Source: transformers, get_length_grouped_indices in trainer_pt_utils.py; its batch is the rows of a step.
func groupByLength(order []int32, lengths []int, step int) {
	piece := max(min(len(order)/(4*step), 50), 1) * step
	longest := 0
	for from := 0; from < len(order); from += piece {
		part := order[from:min(from+piece, len(order))]
		slices.SortStableFunc(part, func(a, b int32) int { return lengths[b] - lengths[a] })
		if lengths[part[0]] > lengths[order[longest]] {
			longest = from
		}
	}
	order[0], order[longest] = order[longest], order[0]
}

// Streams of Shuffled, which keep other draws apart from the passes of a Sampler with the same seed, whose streams are their numbers.
const (
	SplitStream = math.MaxUint64     // which rows are held out for validation
	PackStream  = math.MaxUint64 - 1 // the order in which samples are packed
)

// Shuffled is a permutation of 0 … n−1 (Fisher and Yates), the same on every machine and in every release: both the
// generator and the way its numbers are used are part of what a seed means.
func Shuffled(n int, seed, stream uint64) []int32 {
	random := rand.NewPCG(seed, stream)
	p := make([]int32, n)
	for i := range p {
		p[i] = int32(i)
	}
	for i := n - 1; i > 0; i-- {
		j, _ := bits.Mul64(random.Uint64(), uint64(i+1)) // a fraction of i+1
		p[i], p[j] = p[j], p[i]
	}
	return p
}
