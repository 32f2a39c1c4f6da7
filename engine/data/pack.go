package data

import (
	"iter"
	"math"
	"slices"
	"sort"

	"llamatab/engine/data/sampling"
	"llamatab/engine/message"
)

// Part is one sample of a packed row.
type Part struct {
	At   int32 // its first place in the row
	Line int32 // of its record in the file, 1-based
}

// packWindow is the number of consecutive samples of which rows are made, as in TRL, whose pack_dataset sees a batch of
// datasets.map at a time. In a window of the whole dataset samples of equal lengths would share rows, and so steps.
const packWindow = 1000

// Pack joins the samples of d into rows of at most d.Length tokens. A sample that is longer has a row of its own, and no
// sample is cut. With shuffle the samples are taken in an order drawn from seed, else in that of the file.
//
// Of every packWindow samples in that order, the longest is placed first, and each into the row that has the least room
// for it left (best fit decreasing). Rows stand in the order of their first samples, and samples of a row in the order
// that they had.
//
// The first label of each sample becomes Ignore: the last token of the sample before it does not predict it. The rows of
// the result know where their samples begin (Sample.Parts), and Collate restarts the positions there. Of a file that is not in
// memory only the lengths are needed: its samples are read when their row is drawn.
//
// Source: TRL, pack_dataset with the strategy bfd; Ding et al. 2024, arXiv:2404.10830.
func (d *Dataset) Pack(shuffle bool, seed uint64) *Dataset {
	packed := *d
	packed.Samples = nil
	order := make([]int32, d.Len())
	for i := range order {
		order[i] = int32(i)
	}
	if shuffle {
		order = sampling.Shuffled(d.Len(), seed, sampling.PackStream)
	}
	for window := range slices.Chunk(order, packWindow) {
		lengths := make([]int, len(window))
		for i, n := range window {
			lengths[i] = d.RowLen(int(n))
		}
		for _, row := range bestFit(lengths, d.Length) {
			if d.index != nil {
				places := make([]int32, len(row))
				for i, n := range row {
					places[i] = d.at(int(window[n]))
				}
				packed.packs = append(packed.packs, places)
				continue
			}
			parts := make([]Sample, len(row))
			for i, n := range row {
				parts[i] = d.Samples[window[n]]
			}
			packed.Samples = append(packed.Samples, join(parts))
		}
	}
	packed.Stats.Packed = packed.Len()
	packed.Fingerprint = packed.layoutHash()
	return &packed
}

// bestFit packs items of the given lengths into rows that hold capacity, by best fit decreasing: items by falling length,
// equal ones in their order, each into the row with the least room that is enough. A row lists its items in ascending
// order, and rows stand in the order of their first items.
func bestFit(lengths []int, capacity int) (rows [][]int) {
	items := make([]int, len(lengths))
	for i := range items {
		items[i] = i
	}
	slices.SortStableFunc(items, func(a, b int) int { return lengths[b] - lengths[a] })
	type row struct {
		room  int
		items []int
	}
	var open []row // by ascending room, equal ones by the time they got it
	for _, item := range items {
		n := lengths[item]
		at := sort.Search(len(open), func(i int) bool { return open[i].room >= n })
		r := row{room: capacity}
		if at < len(open) {
			r = open[at]
			open = slices.Delete(open, at, at+1)
		}
		r.room, r.items = r.room-n, append(r.items, item)
		at = sort.Search(len(open), func(i int) bool { return open[i].room > r.room })
		open = slices.Insert(open, at, r)
	}
	for _, r := range open {
		slices.Sort(r.items)
		rows = append(rows, r.items)
	}
	slices.SortFunc(rows, func(a, b []int) int { return a[0] - b[0] })
	return rows
}

// join is the row of samples one behind the other.
func join(samples []Sample) Sample {
	n := 0
	for _, s := range samples {
		n += len(s.IDs)
	}
	row := Sample{IDs: make([]int32, 0, n), Labels: make([]int32, 0, n), Line: samples[0].Line, Parts: make([]Part, len(samples))}
	for i, s := range samples {
		at := len(row.IDs)
		row.Parts[i] = Part{int32(at), int32(s.Line)}
		row.IDs, row.Labels = append(row.IDs, s.IDs...), append(row.Labels, s.Labels...)
		if len(s.Labels) > 0 {
			row.Labels[at] = Ignore
		}
	}
	return row
}

// Unpack is d before it was packed, in the order of its rows. The first labels of samples, which train nothing, are Ignore.
func (d *Dataset) Unpack() *Dataset {
	plain := *d
	plain.Samples, plain.Stats.Packed = nil, 0
	if d.packs != nil {
		plain.chosen, plain.packs = slices.Concat(d.packs...), nil
		return &plain
	}
	for _, row := range d.Samples {
		if row.Parts == nil {
			plain.Samples = append(plain.Samples, row)
		}
		for i, p := range row.Parts {
			end := row.partEnd(i)
			plain.Samples = append(plain.Samples, Sample{IDs: row.IDs[p.At:end], Labels: row.Labels[p.At:end], Line: int(p.Line)})
		}
	}
	return &plain
}

// partEnd is the place behind the last of part i.
func (s Sample) partEnd(i int) int32 {
	if i+1 < len(s.Parts) {
		return s.Parts[i+1].At
	}
	return int32(len(s.IDs))
}

// LongestPart is the number of tokens of the longest sample.
func (d *Dataset) LongestPart() int {
	n := 0
	for part := range d.parts() {
		n = max(n, part.tokens)
	}
	return n
}

// packedPart is one sample of a dataset, which may share its row.
type packedPart struct {
	row        int // of the dataset
	at, tokens int // in the row
	line       int32
	shared     int // samples of its row, 0 for a row that is not packed
}

// parts are the samples of all rows, in their order.
func (d *Dataset) parts() iter.Seq[packedPart] {
	return func(yield func(packedPart) bool) {
		for row := range d.Len() {
			at := 0
			switch {
			case d.packs != nil:
				for _, place := range d.packs[row] {
					n := d.placeLen(place)
					if !yield(packedPart{row, at, n, d.index.line[place], len(d.packs[row])}) {
						return
					}
					at += n
				}
			case d.index != nil || d.Samples[row].Parts == nil:
				if !yield(packedPart{row: row, tokens: d.RowLen(row)}) {
					return
				}
			default:
				s := d.Samples[row]
				for i, p := range s.Parts {
					if !yield(packedPart{row, int(p.At), int(s.partEnd(i) - p.At), p.Line, len(s.Parts)}) {
						return
					}
				}
			}
		}
	}
}

// Lines are the lines of the records in a row.
func (s Sample) Lines() []int {
	if s.Parts == nil {
		return []int{s.Line}
	}
	lines := make([]int, len(s.Parts))
	for i, p := range s.Parts {
		lines[i] = int(p.Line)
	}
	return lines
}

// VisiblePairs is the number of pairs of a position and one that it sees in causal attention within its sample, over all
// rows: half the square of each sample's length. A sliding window of more than 0 positions hides those before it.
func (d *Dataset) VisiblePairs(window int) (pairs float64) {
	count := func(n int) {
		hidden := 0
		if window > 0 {
			hidden = max(n-window, 0)
		}
		pairs += float64(n)*float64(n+1)/2 - float64(hidden)*float64(hidden+1)/2
	}
	for part := range d.parts() {
		count(part.tokens)
	}
	return pairs
}

// layoutHash is the fingerprint of the rows together with where each sample of a packed row begins and stands in the file.
func (d *Dataset) layoutHash() uint64 {
	h := d.Fingerprint
	mix := func(v uint64) { h = (h ^ v) * fnvPrime }
	row := -1
	for p := range d.parts() {
		if p.row != row {
			row = p.row
			mix(uint64(p.shared))
		}
		mix(uint64(p.at)<<32 | uint64(p.line))
	}
	return h
}

// PackedRemark says how full the rows of a packed dataset are.
func (d *Dataset) PackedRemark() message.Remark {
	rows, length := d.Len(), max(d.Length, d.Longest())
	return message.NewRemark("rows_packed", "{file}: {n} samples in {rows} packed rows of at most {length} tokens, {share} % full",
		"file", d.Name, "n", d.Stats.Rows, "rows", rows, "length", length, "share", math.Round(100*float64(d.Stats.Tokens)/float64(rows*length)))
}
