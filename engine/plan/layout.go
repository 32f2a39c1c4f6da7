// Package plan forecasts what a run needs before anything is allocated. The trainer allocates by the same plan, so
// forecast and allocation agree by construction.
package plan

import (
	"fmt"

	"llamatab/engine/device"
	"llamatab/engine/nn"
	"llamatab/engine/tensor"
)

// Layout places parameters in memory: a frozen one in a buffer of its own, those that train side by side with the
// others of their unit, each in four equal places: weights, gradients and AdamW's two moments, all float32.
type Layout struct {
	Frozen   []*nn.Param
	Segments []Segment
}

// Segment is one flat buffer's worth of parameters that train.
type Segment struct {
	Unit    string
	Params  []*nn.Param
	Offsets []int // elements
	Len     int   // elements
}

// NewLayout places params. A segment ends with its unit, or where one binding of the device could not cover it.
func NewLayout(params []*nn.Param, l device.Limits) Layout {
	var layout Layout
	align := l.OffsetAlignment / 4
	for _, p := range params {
		if !p.Trainable {
			layout.Frozen = append(layout.Frozen, p)
			continue
		}
		n := len(layout.Segments)
		if n == 0 || layout.Segments[n-1].Unit != p.Unit || 4*int64(layout.Segments[n-1].Len+p.Shape.Size()) > min(l.MaxBuffer, l.MaxBinding) {
			layout.Segments = append(layout.Segments, Segment{Unit: p.Unit})
			n++
		}
		s := &layout.Segments[n-1]
		s.Params, s.Offsets = append(s.Params, p), append(s.Offsets, s.Len)
		s.Len += device.CeilDiv(p.Shape.Size(), align) * align
	}
	return layout
}

// FrozenSpec is the buffer of a frozen parameter.
func FrozenSpec(p *nn.Param) device.Spec {
	return device.Spec{DType: p.DType, Len: p.Shape.Size(), Class: device.Weights, Label: p.Name}
}

// Copies of a segment, in the order of Segment.Specs.
const (
	Weight = iota
	Gradient
	Moment1
	Moment2
	Copies
)

// Specs are the segment's four buffers.
func (s *Segment) Specs() [Copies]device.Spec {
	spec := func(c device.Class, what string) device.Spec {
		return device.Spec{DType: tensor.F32, Len: s.Len, Class: c, Label: fmt.Sprintf("%s of %s", what, s.Unit)}
	}
	return [Copies]device.Spec{
		Weight: spec(device.Weights, "weights"), Gradient: spec(device.Gradients, "gradients"),
		Moment1: spec(device.Optimizer, "first moments"), Moment2: spec(device.Optimizer, "second moments"),
	}
}

// Specs lists every buffer of the layout. Without an optimizer, moments are left out.
func (l Layout) Specs(optimizer bool) []device.Spec {
	var specs []device.Spec
	for _, p := range l.Frozen {
		specs = append(specs, FrozenSpec(p))
	}
	for i := range l.Segments {
		for c, s := range l.Segments[i].Specs() {
			if c < Moment1 || optimizer {
				specs = append(specs, s)
			}
		}
	}
	return specs
}

// Counts are the numbers of parameters that train and of all.
func (l Layout) Counts() (trainable, total int64) {
	for _, p := range l.Frozen {
		total += int64(p.Shape.Size())
	}
	for _, s := range l.Segments {
		for _, p := range s.Params {
			trainable += int64(p.Shape.Size())
		}
	}
	return trainable, total + trainable
}
