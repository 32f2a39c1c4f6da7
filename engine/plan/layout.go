// Package plan forecasts what a run needs before anything is allocated. The trainer allocates by the same plan, so forecast
// and allocation agree.
//
// A Layout puts each frozen parameter into a buffer of its own. Trained parameters lie side by side in Segments by unit.
// Each segment has equal copies for weights, gradients and AdamW's two moments, and, where kernels read two-byte numbers,
// for packed weights. A segment never crosses a unit, so that units can be gathered and reduced one at a time. Neighbours
// with the same hyper-parameters share one AdamW launch.
//
// Memory adds up every buffer of a run and says whether it fits, or how many bytes are missing. Sharding is what a rank
// holds and sends under each FSDP strategy. The forecast for a model that is not there (Models) uses a recording over a
// folder whose weights are only a header, so it is the plan of the real run.
//
// A frozen matrix is packed when it is loaded. A trained parameter has a float32 master for files, moments and the update,
// and a packed copy for the kernels, which each update writes. With stochastic rounding there is no master: AdamW rounds up
// with the probability of the remainder, from a hash of run, step and position.
package plan

import (
	"fmt"

	"llamatab/engine/device"
	"llamatab/engine/nn"
	"llamatab/engine/tensor"
)

// Layout places parameters in memory: a frozen one in a buffer of its own, those that train side by side with the
// others of their unit, each in equal places of up to five buffers: see Segment.Specs.
type Layout struct {
	Frozen   []*nn.Param
	Segments []Segment
	Lanes    *Lanes // of segments that have no buffers of their own, nil where they have
}

// Segment is one flat buffer's worth of parameters that train.
type Segment struct {
	Unit    string
	DType   tensor.DType // that compute sees
	InPlace bool         // without a float32 master beside it
	Params  []*nn.Param
	Offsets []int // elements
	Len     int   // elements
}

// NewLayout places params. A segment ends with its unit, where parameters are stored otherwise, or where one binding of
// the device could not cover it.
func NewLayout(params []*nn.Param, l device.Limits) Layout {
	return newLayout(params, l, func(*nn.Param) int { return 0 })
}

// newLayout is NewLayout where a segment also ends with what unit tells.
func newLayout(params []*nn.Param, l device.Limits, unit func(*nn.Param) int) Layout {
	var layout Layout
	for _, p := range params {
		if !p.Trainable {
			layout.Frozen = append(layout.Frozen, p)
			continue
		}
		n := len(layout.Segments)
		if n == 0 || !layout.Segments[n-1].suits(p) || unit(layout.Segments[n-1].Params[0]) != unit(p) || 4*int64(layout.Segments[n-1].Len+p.Shape.Size()) > min(l.MaxBuffer, l.MaxBinding) {
			layout.Segments = append(layout.Segments, Segment{Unit: p.Unit, DType: p.DType, InPlace: p.InPlace})
			n++
		}
		s := &layout.Segments[n-1]
		s.Params, s.Offsets = append(s.Params, p), append(s.Offsets, s.Len)
		align := l.OffsetAlignment / p.DType.Size()
		s.Len += device.CeilDiv(p.Shape.Size(), align) * align
	}
	return layout
}

func (s *Segment) suits(p *nn.Param) bool {
	return s.Unit == p.Unit && s.DType == p.DType && s.InPlace == p.InPlace
}

// FrozenSpec is the buffer of a frozen parameter.
func FrozenSpec(p *nn.Param) device.Spec {
	return device.Spec{DType: p.DType, Len: p.Shape.Size(), Kind: device.Weights, Label: p.Name}
}

// Copies of a segment, in the order of Segment.Specs.
const (
	Weight = iota
	Gradient
	Moment1
	Moment2
	Compute
	Copies
)

// Specs are the segment's buffers: the weights, their gradients and AdamW's two moments, all float32, and the packed
// copy that compute reads where it sees numbers of two bytes. Weights that are updated in place are packed themselves.
// What a segment does not have has no elements.
func (s *Segment) Specs() [Copies]device.Spec {
	spec := func(kind device.MemoryKind, what string) device.Spec {
		return device.Spec{DType: tensor.F32, Len: s.Len, Kind: kind, Label: fmt.Sprintf("%s of %s", what, s.Unit)}
	}
	specs := [Copies]device.Spec{
		Weight: spec(device.Weights, "weights"), Gradient: spec(device.Gradients, "gradients"),
		Moment1: spec(device.Optimizer, "first moments"), Moment2: spec(device.Optimizer, "second moments"),
	}
	switch {
	case s.InPlace:
		specs[Weight].DType = s.DType
	case s.DType != tensor.F32:
		specs[Compute] = spec(device.Weights, "packed weights")
		specs[Compute].DType = s.DType
	}
	return specs
}

// Specs lists every buffer of the layout. Without an optimizer, moments are left out.
func (l Layout) Specs(optimizer bool) []device.Spec {
	var specs []device.Spec
	for _, p := range l.Frozen {
		specs = append(specs, FrozenSpec(p))
	}
	if l.Lanes != nil {
		return append(specs, l.Lanes.specs(optimizer)...)
	}
	for i := range l.Segments {
		for _, s := range l.Segments[i].Specs() {
			if s.Len > 0 && (optimizer || s.Kind != device.Optimizer) {
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
