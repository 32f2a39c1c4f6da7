package memory

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/plan"
	"llamatab/engine/tensor"
)

// SegmentKey is the key of a range of one of a segment's copies.
type SegmentKey struct{ segment, copy, off, len int }

// SegmentVar brings n elements of a copy of a segment onto a tape, from element off on.
func SegmentVar(t *graph.Tape, l plan.Layout, segment, copy, off, n int) graph.Var {
	spec := l.Segments[segment].Specs()[copy]
	return t.Extern(graph.Extern{Key: SegmentKey{segment, copy, off, n}, Shape: tensor.Of(n), DType: spec.DType, Name: spec.Label})
}

// RecordPublish records the rounding of float32 masters into the copies that are computed with.
func RecordPublish(t *graph.Tape, l plan.Layout) {
	for i, s := range l.Segments {
		if s.Specs()[plan.Compute].Len > 0 {
			op.Pack(t, SegmentVar(t, l, i, plan.Weight, 0, s.Len), SegmentVar(t, l, i, plan.Compute, 0, s.Len))
		}
	}
}

// Fetch begins to read n elements of a copy of a segment, from element off on.
func (m *Parameters) Fetch(segment, copy, off, n int) (device.Pending, error) {
	return m.dev.Fetch(m.segments[segment][copy], off, n)
}

// Import writes elements of a copy of a segment, from element off on.
func (m *Parameters) Import(segment, copy, off int, data device.Bytes) error {
	m.mastersNewer = m.mastersNewer || copy == plan.Weight
	return m.dev.Import(m.segments[segment][copy], off, data)
}

// ZeroMoments makes the moments of all trained parameters 0, as they are before the first step.
func (m *Parameters) ZeroMoments() error {
	for _, seg := range m.Layout.Segments {
		for _, p := range seg.Params {
			for _, copy := range []int{plan.Moment1, plan.Moment2} {
				if err := m.Zero(MomentKey{p, copy}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// PiecesOf returns the places of a shard's pieces, by the parameter that each is a piece of.
func (m *Parameters) PiecesOf(shard []*plan.Piece) map[*nn.Param]Piece {
	pieces := map[*nn.Param]Piece{}
	for _, p := range shard {
		pieces[p.Of] = Piece{Slice: m.slices[&p.Param], At: p.At}
	}
	return pieces
}
