package data

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

func TestBestFit(t *testing.T) {
	for _, c := range []struct {
		lengths  []int
		capacity int
		want     string
	}{
		{nil, 8, "[]"},
		{[]int{3}, 8, "[[0]]"},
		{[]int{4, 4, 4}, 8, "[[0 1] [2]]"},
		{[]int{2, 7, 1, 5, 3}, 8, "[[0] [1 2] [3 4]]"},
		{[]int{9, 2, 8}, 8, "[[0] [1] [2]]"}, // longer than a row: a row of its own, with no room left
		{[]int{0, 8, 0}, 8, "[[0 1 2]]"},
		{[]int{5, 6, 2, 3}, 8, "[[0 3] [1 2]]"}, // 3 and 2 go where they leave no room
		{[]int{1, 1, 1, 1, 1}, 2, "[[0 1] [2 3] [4]]"},
	} {
		if got := fmt.Sprint(bestFit(c.lengths, c.capacity)); got != c.want {
			t.Errorf("%v into rows of %d: %s, want %s", c.lengths, c.capacity, got, c.want)
		}
	}
}

// A row is chosen as a search through all of them chooses it, and no row has room for the last sample of a later one.
func TestBestFitEqualsSearch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		capacity := 1 + random.IntN(40)
		lengths := make([]int, random.IntN(60))
		for i := range lengths {
			lengths[i] = random.IntN(capacity + 4)
		}
		var want [][]int
		room := []int{}
		items := make([]int, len(lengths))
		for i := range items {
			items[i] = i
		}
		slices.SortStableFunc(items, func(a, b int) int { return lengths[b] - lengths[a] })
		for _, item := range items {
			best := -1
			for r := range room {
				if room[r] >= lengths[item] && (best < 0 || room[r] < room[best]) {
					best = r
				}
			}
			if best < 0 {
				best = len(room)
				room, want = append(room, capacity), append(want, nil)
			}
			room[best] -= lengths[item]
			want[best] = append(want[best], item)
		}
		used := func(rows [][]int) (all []int) { // rows with equal room are interchangeable
			for _, row := range rows {
				n := 0
				for _, item := range row {
					n += lengths[item]
				}
				all = append(all, n)
			}
			slices.Sort(all)
			return all
		}
		got := bestFit(lengths, capacity)
		if all := slices.Concat(got...); !slices.Equal(slices.Sorted(slices.Values(all)), slices.Sorted(slices.Values(items))) {
			t.Fatalf("%v into rows of %d: items %v", lengths, capacity, all)
		}
		if !slices.Equal(used(got), used(want)) {
			t.Fatalf("%v into rows of %d: %v, a search finds %v", lengths, capacity, got, want)
		}
	}
}

// packable is a dataset of n rows with lengths from 1 to longest. Every id names its row.
func packable(n, longest, length int) *Dataset {
	random := rand.New(rand.NewPCG(3, 4))
	d := &Dataset{Name: "d.jsonl", Length: length, Fingerprint: 99}
	for row := range n {
		s := Sample{Line: row + 1}
		for i := range 1 + random.IntN(longest) {
			s.IDs = append(s.IDs, int32(row))
			s.Labels = append(s.Labels, int32(row))
			if random.IntN(3) == 0 {
				s.Labels[i] = Ignore
			}
		}
		d.Samples = append(d.Samples, s)
		d.Stats.Rows++
		d.Stats.Tokens += len(s.IDs)
		d.Stats.Trained += s.Counted()
	}
	return d
}

// Packing keeps every sample whole, once and with its line, fills no row beyond its length, and trains the same tokens.
func TestPack(t *testing.T) {
	for _, shuffle := range []bool{false, true} {
		d := packable(2500, 30, 64)
		p := d.Pack(shuffle, 7)
		if len(p.Samples) >= 1000 || p.Stats.Packed != len(p.Samples) || p.Stats.Rows != 2500 {
			t.Fatalf("%d rows, stats %+v", len(p.Samples), p.Stats)
		}
		trained, seen := 0, map[int]bool{}
		for _, row := range p.Samples {
			if len(row.IDs) > 64 || row.Line != row.Lines()[0] {
				t.Fatalf("a row of %d tokens, line %d of %v", len(row.IDs), row.Line, row.Lines())
			}
			trained += row.Counted()
		}
		back := p.Unpack()
		if len(back.Samples) != 2500 || back.Stats.Packed != 0 {
			t.Fatalf("%d rows after unpacking", len(back.Samples))
		}
		for _, s := range back.Samples {
			was := d.Samples[s.Line-1]
			labels := slices.Clone(was.Labels)
			labels[0] = Ignore
			if seen[s.Line] || !slices.Equal(s.IDs, was.IDs) || !slices.Equal(s.Labels, labels) {
				t.Fatalf("line %d: %+v, want %+v", s.Line, s, was)
			}
			seen[s.Line] = true
		}
		if trained != d.Stats.Trained {
			t.Errorf("%d trained tokens, want %d", trained, d.Stats.Trained)
		}
		if p.LongestPart() != d.Longest() || d.LongestPart() != d.Longest() {
			t.Errorf("the longest sample has %d tokens, want %d", p.LongestPart(), d.Longest())
		}
		if got, want := p.VisiblePairs(0), d.VisiblePairs(0); got != want || want == 0 {
			t.Errorf("%v pairs, want %v", got, want)
		}
		again, other := d.Pack(shuffle, 7), d.Pack(shuffle, 8)
		if !reflect.DeepEqual(p, again) || reflect.DeepEqual(p.Samples, other.Samples) == shuffle {
			t.Error("the rows do not depend on the seed alone")
		}
		if p.Fingerprint == d.Fingerprint || (p.Fingerprint == other.Fingerprint) == shuffle {
			t.Errorf("fingerprints %x, of another seed %x, unpacked %x", p.Fingerprint, other.Fingerprint, d.Fingerprint)
		}
		d.Length = 65
		if d.Pack(shuffle, 7).Fingerprint == p.Fingerprint {
			t.Error("rows of another length have the same fingerprint")
		}
	}
}

// Without shuffling the rows of a window come in the order of the file, and no row holds samples of two windows.
func TestPackKeepsOrder(t *testing.T) {
	p := packable(2*packWindow, 20, 50).Pack(false, 1)
	last := 0
	for _, row := range p.Samples {
		lines := row.Lines()
		window := func(line int) int { return (line - 1) / packWindow }
		if !slices.IsSorted(lines) || window(lines[0]) != window(lines[len(lines)-1]) {
			t.Fatalf("lines %v in one row", lines)
		}
		if lines[0] < last {
			t.Fatalf("the row of line %d comes after that of line %d", lines[0], last)
		}
		last = lines[0]
	}
}

// A packed dataset of a thousand short samples is nearly full.
func TestPackedRemark(t *testing.T) {
	d := packable(1000, 100, 512)
	p := d.Pack(true, 1)
	r := p.PackedRemark()
	if share := r.Data["share"].(float64); r.Code != "rows_packed" || share < 98 || r.Data["rows"] != len(p.Samples) || r.Data["n"] != 1000 {
		t.Errorf("%s: %v", r.Code, r.Message)
	}
}

// Positions of a packed row restart in each sample, and no token of it predicts the first of the next.
func TestCollatePacked(t *testing.T) {
	d := &Dataset{Length: 6, Samples: []Sample{
		{IDs: []int32{5, 6, 7}, Labels: []int32{5, 6, 7}, Line: 1},
		{IDs: []int32{8, 9}, Labels: []int32{8, 9}, Line: 2},
		{IDs: []int32{1, 2, 3, 4}, Labels: []int32{Ignore, Ignore, 3, 4}, Line: 3},
	}}
	rows := d.Pack(false, 0).Samples
	const x = Ignore
	got := Collate(rows, 3, 8)
	want := &Batch{B: 3, T: 8, Tokens: 5, Inputs: 9,
		IDs:       []int32{5, 6, 7, 0, 0, 0, 0, 0, 8, 9, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		Labels:    []int32{x, 6, 7, x, x, x, x, x, x, 9, x, x, 3, 4, x, x, x, x, x, x, x, x, x, x},
		Targets:   []int32{6, 7, x, x, x, x, x, x, 9, x, x, 3, 4, x, x, x, x, x, x, x, x, x, x, x},
		Positions: []int32{0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7},
		Classes:   []int32{x, x, x}, Last: []int32{2, 13, 16}, Longest: 6}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// The pairs of a window are counted one by one.
func TestVisiblePairs(t *testing.T) {
	d := packable(40, 12, 30)
	for _, window := range []int{0, 1, 5, 100} {
		want := 0.0
		for _, s := range d.Samples {
			for i := range s.IDs {
				n := i + 1
				if window > 0 {
					n = min(n, window)
				}
				want += float64(n)
			}
		}
		if got := d.Pack(true, 1).VisiblePairs(window); got != want {
			t.Errorf("window %d: %v pairs, want %v", window, got, want)
		}
	}
}
