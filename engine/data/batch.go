package data

// Batch is one micro-batch on its way to the device. All tables are row-major (B,T).
type Batch struct {
	B, T      int
	IDs       []int32 // 0 where padded
	Labels    []int32 // Ignore where padded
	Targets   []int32 // Labels shifted: Targets[b,t] = Labels[b,t+1], the last of a row Ignore
	Positions []int32 // 0 … T−1 in each row; in a packed row from 0 in each sample, and 0 where padded
	Classes   []int32 // (B) the class of each row of a classification, else Ignore
	Last      []int32 // (B) the place among the ids of each row's last one that is no padding, where a classifier reads
	Tokens    int     // targets that count
	Inputs    int     // ids that are no padding
	Longest   int     // ids of the longest row
}

// Collate right-pads rows to a common length. The batch has at least minB rows and minT columns, the rest being padding
// that never counts: so a short last micro-batch can have the shape of the others. In causal attention no
// real token sees what is to its right, so the padding needs no mask. In a packed row each token of padding is a document of its
// own, so that its attention costs nothing.
func Collate(rows []Sample, minB, minT int) *Batch {
	b := &Batch{B: max(len(rows), minB), T: minT}
	for _, s := range rows {
		b.Longest = max(b.Longest, len(s.IDs))
	}
	b.T = max(b.T, b.Longest)
	n := b.B * b.T
	b.IDs, b.Labels = make([]int32, n), make([]int32, n)
	b.Targets, b.Positions = make([]int32, n), make([]int32, n)
	for i := range n {
		b.Labels[i], b.Targets[i], b.Positions[i] = Ignore, Ignore, int32(i%b.T)
	}
	b.Classes, b.Last = make([]int32, b.B), make([]int32, b.B)
	for i := range b.B {
		b.Classes[i], b.Last[i] = Ignore, int32(i*b.T)
	}
	for i, s := range rows {
		at := i * b.T
		b.Last[i] += int32(max(len(s.IDs)-1, 0))
		if s.classified() {
			b.Classes[i] = s.Class
		}
		copy(b.IDs[at:], s.IDs)
		copy(b.Labels[at:], s.Labels)
		copy(b.Targets[at:], s.Labels[min(1, len(s.Labels)):])
		s.restart(b.Positions[at:][:b.T])
		b.Tokens += s.Counted()
		b.Inputs += len(s.IDs)
	}
	return b
}

// restart counts the positions of a packed row from 0 in each of its samples.
func (s Sample) restart(positions []int32) {
	if s.Parts == nil {
		return
	}
	clear(positions)
	for i, p := range s.Parts {
		for at := p.At; at < s.partEnd(i); at++ {
			positions[at] = at - p.At
		}
	}
}

// SkipPadding makes a classifier read each row at its rightmost token that is not pad, as transformers does:
//
//	last[b] = argmax_t t·[ids[b,t] ≠ pad]
//
// A row of nothing but pad is read at its first token.
// Source: transformers, GenericForSequenceClassification.forward in modeling_layers.py.
func (b *Batch) SkipPadding(pad int32) {
	for row, last := range b.Last {
		first := int32(row * b.T)
		for last > first && b.IDs[last] == pad {
			last--
		}
		b.Last[row] = last
	}
}

// Prepend makes room for n virtual tokens before each row, as prompt tuning wants it: Positions and Targets then are
// (B,n+T), positions count from the first virtual token, and the last of them predicts the first token where its label
// counts.
func (b *Batch) Prepend(n int) {
	if n == 0 {
		return
	}
	positions, targets := b.Positions, b.Targets
	b.Positions, b.Targets = make([]int32, 0, b.B*(n+b.T)), make([]int32, 0, b.B*(n+b.T))
	for row := range b.B {
		at := row * b.T
		for i := range n {
			b.Positions, b.Targets = append(b.Positions, int32(i)), append(b.Targets, Ignore)
		}
		if b.T > 0 && b.Labels[at] != Ignore {
			b.Targets[len(b.Targets)-1] = b.Labels[at]
			b.Tokens++
		}
		for i := range b.T {
			b.Positions, b.Targets = append(b.Positions, int32(n)+positions[at+i]), append(b.Targets, targets[at+i])
		}
	}
}
