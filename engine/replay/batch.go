package replay

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/nn"
	"llamatab/engine/op"
)

// bucket rounds a row length T up to a multiple of 8, and from 128 tokens on to one of eight sizes between a power of two and
// the next, so that few programs are needed. It never exceeds the longest row.
func bucket(T, longest int) int {
	step := 8
	for 16*step <= T {
		step *= 2
	}
	return min(device.CeilDiv(T, step)*step, longest)
}

// BatchLayout places the parts of a batch of B rows of T tokens in one I32 buffer, which one write fills.
type BatchLayout struct {
	B, T int
	P    int // virtual rows before each sequence
	off  map[nn.InputKey]int
	len  map[nn.InputKey]int
	size int // elements
	// noise is α / √Hidden of NEFTune, 0 for no noise.
	noise float64
}

// newBatchLayout is the layout of a batch of B rows of T tokens with P virtual rows before each. In a classification a row has
// one target, else each token has one. noise is α / √Hidden of NEFTune, 0 for no noise.
func newBatchLayout(B, T, P int, classify bool, noise float64, l device.Limits) BatchLayout {
	b := BatchLayout{B: B, T: T, P: P, noise: noise, off: map[nn.InputKey]int{}, len: map[nn.InputKey]int{}}
	tokens, N, align := B*T, B*(P+T), l.OffsetAlignment/4
	type part struct {
		key nn.InputKey
		n   int
	}
	parts := []part{{nn.IDs, tokens}, {nn.Order, tokens}, {nn.Starts, tokens + 1}, {nn.Positions, N}, {nn.Seed, 2}}
	if classify {
		parts = append(parts, part{nn.Class, B}, part{nn.Last, B}, part{nn.LastOrder, B}, part{nn.LastStarts, B + 1})
	} else {
		parts = append(parts, part{nn.Targets, N})
	}
	if noise > 0 {
		parts = append(parts, part{nn.Noise, 1})
	}
	for _, part := range parts {
		b.off[part.key], b.len[part.key] = b.size, part.n
		b.size += device.CeilDiv(part.n, align) * align
	}
	return b
}

func (l BatchLayout) slice(buf device.Buffer, key nn.InputKey) device.Slice {
	return device.Slice{Buf: buf, Off: l.off[key], Len: l.len[key]}
}

// Encode returns a batch as the content of the buffer. seed is that of the dropout masks.
func (l BatchLayout) Encode(b *data.Batch, seed uint64) []byte {
	out := make([]byte, 4*l.size)
	put := func(key nn.InputKey, x []int32) {
		at := 4 * l.off[key]
		for i, v := range x {
			binary.LittleEndian.PutUint32(out[at+4*i:], uint32(v))
		}
	}
	order, starts := op.LookupIndex(b.IDs)
	put(nn.IDs, b.IDs)
	put(nn.Order, order)
	put(nn.Starts, starts)
	put(nn.Positions, b.Positions)
	if _, classify := l.off[nn.Class]; classify {
		last := slices.Clone(b.Last)
		for row := range last {
			last[row] += int32((row + 1) * l.P)
		}
		order, starts = op.LookupIndex(last)
		put(nn.Class, b.Classes)
		put(nn.Last, last)
		put(nn.LastOrder, order)
		put(nn.LastStarts, starts)
	} else {
		put(nn.Targets, b.Targets)
	}
	if l.noise > 0 {
		put(nn.Noise, []int32{int32(math.Float32bits(float32(l.noise / math.Sqrt(float64(max(b.Longest, 1))))))})
	}
	put(nn.Seed, []int32{int32(uint32(seed)), int32(uint32(seed >> 32))})
	return out
}

// MaskSeed is the seed of the dropout masks of a micro-batch. It depends on the run's seed, the step and the number of the
// micro-batch only, so a resumed run has the same masks.
func MaskSeed(seed uint64, step, micro int) uint64 {
	h := fnv.New64a()
	for _, v := range []uint64{seed, uint64(step), uint64(micro)} {
		h.Write(binary.LittleEndian.AppendUint64(nil, v))
	}
	return h.Sum64()
}
