// Package plan computes the memory and the traffic of a run before anything is allocated. Package memory allocates by the same
// plan, so forecast and allocation agree.
//
// A Layout puts each frozen parameter into a buffer of its own. Trained parameters lie side by side in Segments by unit.
// Each segment has equal copies for weights, gradients and AdamW's two moments, and one of rounded weights if programs read
// bfloat16 or float16. A segment has parameters of one unit, so that units can be gathered and reduced one at a time.
// Neighbours with the same hyper-parameters share one AdamW launch.
//
// Memory adds up all buffers of a run and checks whether they fit. Sharding computes what a rank holds and sends under each FSDP
// strategy. A published model (Models) is planned without its files: only its config.json and the shapes of its weights are
// needed, so the plan is that of the real run.
//
// A frozen matrix is rounded when it is loaded. A trained parameter has a float32 master, which files and updates use, and a
// rounded copy for the other kernels, which each update writes. With stochastic rounding there is no master: AdamW rounds up with
// the probability of the remainder. The random numbers are a hash of run, step and position.
package plan

import (
	"fmt"

	"llamatab/engine/device"
	"llamatab/engine/nn"
	"llamatab/engine/quant"
	"llamatab/engine/tensor"
)

// Layout places parameters in memory. A frozen parameter has a buffer of its own. A trained parameter has the same place in each of
// a segment's buffers (Segment.Specs).
type Layout struct {
	Frozen   []*nn.Param
	Segments []Segment
	Lanes    *Lanes // the buffers of a sharded run, nil where segments have buffers of their own
}

// Segment is a run of trained parameters in flat buffers.
type Segment struct {
	Unit    string
	DType   tensor.DType // that programs read
	InPlace bool         // without a float32 master beside it
	Params  []*nn.Param
	Offsets []int // of each parameter, in elements
	Len     int   // in elements, with the gaps of alignment
}

// NewLayout places params. A new segment begins with a unit, with another type, and where the segment would be larger than a
// binding of the device.
func NewLayout(params []*nn.Param, l device.Limits) Layout {
	return newLayout(params, l, func(*nn.Param) int { return 0 })
}

// newLayout is NewLayout with a new segment also where the value of unit changes.
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
	if p.Quant != quant.Plain {
		return device.Spec{DType: tensor.U32, Len: p.Quant.Words(p.Shape[0], p.Shape[1]), Kind: device.Weights, Label: p.Name}
	}
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

// Specs are the segment's buffers: weights, gradients and AdamW's two moments in float32, and a rounded copy if programs read
// bfloat16 or float16. Weights that are updated in place are stored in that type and have no copy. A buffer that the segment
// does not have has length 0.
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

// Counts returns the numbers of trained parameters and of all parameters.
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
