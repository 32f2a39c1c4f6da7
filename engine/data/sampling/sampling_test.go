package sampling

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
)

func newSampler(t *testing.T, p Plan) *Sampler {
	t.Helper()
	s, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSteps(t *testing.T) {
	for _, c := range []struct {
		plan  Plan
		total int
		want  string // the first steps
	}{
		{Plan{Rows: 7, Batch: 2, Micro: 2, Epochs: 2}, 4, "[[0 1] [2 3]] [[4 5] [6]] [[0 1] [2 3]] [[4 5] [6]]"},
		{Plan{Rows: 5, Batch: 2, Micro: 2, Epochs: 1}, 2, "[[0 1] [2 3]] [[4]]"},
		{Plan{Rows: 4, Batch: 2, Micro: 1, Epochs: 0.5}, 1, "[[0 1]]"},
		{Plan{Rows: 4, Batch: 2, Micro: 1, Epochs: 1.2}, 3, "[[0 1]] [[2 3]] [[0 1]]"},
		{Plan{Rows: 3, Batch: 8, Micro: 2, Epochs: 1}, 1, "[[0 1 2]]"},
		{Plan{Rows: 7, Batch: 2, Micro: 2, Epochs: 9, MaxSteps: 3}, 3, "[[0 1] [2 3]] [[4 5] [6 0]] [[1 2] [3 4]]"},
		{Plan{Rows: 3, Batch: 2, Micro: 2, MaxSteps: 2}, 2, "[[0 1] [2 0]] [[1 2] [0 1]]"},
		{Plan{Rows: 1, Batch: 3, Micro: 1, MaxSteps: 1}, 1, "[[0 0 0]]"},
	} {
		s := newSampler(t, c.plan)
		var steps [][][]int
		for step := range s.TotalSteps() {
			steps = append(steps, s.Step(step))
		}
		if got := fmt.Sprint(steps); s.TotalSteps() != c.total || got != "["+c.want+"]" {
			t.Errorf("%+v: %d steps %s, want %d [%s]", c.plan, s.TotalSteps(), got, c.total, c.want)
		}
	}
}

func flat(micro [][]int) []int { return slices.Concat(micro...) }

// Each epoch shuffles all rows anew and mixes with no other; wrapping around keeps whole passes, too.
func TestShuffledPasses(t *testing.T) {
	for _, maxSteps := range []int{-1, 100} {
		s := newSampler(t, Plan{Rows: 10, Batch: 2, Micro: 2, Shuffle: true, Seed: 1, Epochs: 4, MaxSteps: maxSteps})
		var rows []int
		for step := range 10 {
			rows = append(rows, flat(s.Step(step))...)
		}
		var passes [][]int
		for pass := range slices.Chunk(rows[:len(rows)/10*10], 10) {
			passes = append(passes, slices.Clone(pass))
			if sorted := slices.Sorted(slices.Values(pass)); !slices.Equal(sorted, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
				t.Errorf("max_steps %d: a pass takes the rows %v", maxSteps, pass)
			}
		}
		if len(passes) < 3 || slices.Equal(passes[0], passes[1]) || slices.Equal(passes[1], passes[2]) {
			t.Errorf("max_steps %d: passes %v", maxSteps, passes)
		}
	}
}

// A resumed run takes up at any step, in any order, what a run without a stop would have taken.
func TestResume(t *testing.T) {
	plan := Plan{Rows: 11, Batch: 3, Micro: 2, Shuffle: true, Seed: 5, Epochs: 5}
	for _, plan.MaxSteps = range []int{-1, 40} {
		through := newSampler(t, plan)
		resumed := newSampler(t, plan)
		want := make([][][]int, 10)
		for step := range want {
			want[step] = through.Step(step)
		}
		for _, step := range []int{9, 0, 5, 4, 5, 8, 1} {
			if got := resumed.Step(step); !reflect.DeepEqual(got, want[step]) {
				t.Errorf("max_steps %d, step %d: %v, want %v", plan.MaxSteps, step, got, want[step])
			}
			if got := newSampler(t, plan).Step(step); !reflect.DeepEqual(got, want[step]) {
				t.Errorf("max_steps %d, step %d afresh: %v, want %v", plan.MaxSteps, step, got, want[step])
			}
		}
	}
}

// What a seed means must never change: these orders are part of every run that was logged.
func TestShuffleIsPinned(t *testing.T) {
	for _, c := range []struct {
		seed, stream uint64
		want         []int32
	}{
		{42, 0, []int32{3, 1, 2, 4, 5, 0, 7, 6}},
		{42, 1, []int32{7, 2, 0, 6, 5, 3, 4, 1}},
		{42, SplitStream, []int32{3, 4, 2, 1, 5, 0, 6, 7}},
	} {
		if got := Shuffled(8, c.seed, c.stream); !slices.Equal(got, c.want) {
			t.Errorf("seed %d, stream %d: %v, want %v", c.seed, c.stream, got, c.want)
		}
	}
}

func TestEpoch(t *testing.T) {
	epochs, wrapped := Plan{Rows: 7, Batch: 2, Micro: 2, Epochs: 2}, Plan{Rows: 8, Batch: 2, Micro: 1, MaxSteps: 9}
	if e := epochs.Epoch(3); e != 1.5 {
		t.Errorf("3 of 2 steps an epoch are %v epochs", e)
	}
	if e := wrapped.Epoch(6); e != 1.5 {
		t.Errorf("12 of 8 rows are %v epochs", e)
	}
}

func TestBadPlans(t *testing.T) {
	for _, p := range []Plan{
		{Rows: 0, Batch: 1, Micro: 1, Epochs: 1},
		{Rows: 1, Batch: 0, Micro: 1, Epochs: 1},
		{Rows: 1, Batch: 1, Micro: 0, Epochs: 1},
		{Rows: 1, Batch: 1, Micro: 1},
		{Rows: 1, Batch: 1, Micro: 1, Epochs: math.NaN()},
		{Rows: 1, Batch: 1, Micro: 1, Epochs: 1e300},
		{Rows: 1, Batch: 1 << 31, Micro: 1 << 31, Epochs: 1},
	} {
		if _, err := New(p); err == nil {
			t.Errorf("accepted %+v", p)
		}
	}
}

// TestGroupByLength compares an order with one worked out by hand after transformers' get_length_grouped_indices: pieces of
// min(10 / (4·1), 50) = 2 steps of 1 row, each sorted by falling length, and the longest row at the front.
func TestGroupByLength(t *testing.T) {
	order := []int32{4, 0, 9, 3, 1, 7, 2, 8, 6, 5}
	lengths := []int{3, 8, 8, 1, 2, 6, 7, 9, 9, 1}
	groupByLength(order, lengths, 1)
	if want := []int32{7, 4, 9, 3, 0, 1, 8, 2, 6, 5}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	order = []int32{2, 0, 1}
	groupByLength(order, []int{5, 7, 5}, 2) // pieces of one step; the second is short and has the longest row
	if want := []int32{1, 0, 2}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// TestGroupedSteps: each pass has every row once, an order of its own, and steps of similar lengths.
func TestGroupedSteps(t *testing.T) {
	const rows, batch = 203, 4
	lengths := make([]int, rows)
	for i := range lengths {
		lengths[i] = 1 + i*37%101
	}
	spread := func(p Plan) (total int, order []int) {
		s, err := New(p)
		if err != nil {
			t.Fatal(err)
		}
		for step := range s.TotalSteps() {
			for _, micro := range s.Step(step) {
				least, most := lengths[micro[0]], lengths[micro[0]]
				for _, row := range micro {
					least, most = min(least, lengths[row]), max(most, lengths[row])
				}
				total += most - least
				order = append(order, micro...)
			}
		}
		return total, order
	}
	p := Plan{Rows: rows, Batch: batch, Micro: 2, Shuffle: true, Seed: 7, Epochs: 2}
	apart, _ := spread(p)
	p.Lengths = lengths
	grouped, order := spread(p)
	if grouped*3 > apart {
		t.Errorf("the lengths in micro-batches differ by %d in all, by %d without grouping", grouped, apart)
	}
	first, second := order[:rows], order[rows:]
	if slices.Equal(first, second) {
		t.Error("both passes have one order")
	}
	for _, pass := range [][]int{first, second} {
		sorted := slices.Sorted(slices.Values(pass))
		for i, row := range sorted {
			if row != i {
				t.Fatalf("a pass has the rows %v", sorted)
			}
		}
		if lengths[pass[0]] != slices.Max(lengths) {
			t.Errorf("a pass begins with a row of %d tokens", lengths[pass[0]])
		}
	}
}
