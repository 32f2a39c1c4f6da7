package replay

import (
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/optim"
	"llamatab/engine/tensor"
)

// staging are the buffers besides those of parameters and activations. dims is the size of all launches' dimensions in bytes.
func (s *Setup) staging(dims int64) []device.Spec {
	specs := []device.Spec{s.ropeSpec(), s.batchSpec(), lossSpec, {Len: int(dims / 4), Kind: device.Staging, Label: "dimensions of launches"}}
	if s.Model.Decoder.Classes > 0 {
		specs = append(specs, s.classLogitsSpec())
	}
	if s.Optimizes {
		inFlight := device.Spec{Len: int(device.ReadBackBytes(4*s.stateSpec().Len) / 4), Kind: device.Staging, Label: "read-back"}
		specs = append(specs, s.scalarsSpec(), s.stateSpec(), s.startsSpec(), inFlight, inFlight)
	}
	return append(specs, s.wireSpecs()...)
}

var lossSpec = device.Spec{Len: 1, Kind: device.Staging, Label: "loss"}

// scalarsSpec is the buffer of a step's optim.Scalars, one for each stage, because the number of updates counts from the start of
// a stage.
func (s *Setup) scalarsSpec() device.Spec {
	return device.Spec{Len: s.scalarsAt(len(s.Stages)-1) + optim.NumScalars, Kind: device.Staging, Label: "step scalars"}
}

// scalarsAt is the first element of a stage's scalars.
func (s *Setup) scalarsAt(stage int) int {
	return stage * max(optim.NumScalars, s.Limits.OffsetAlignment/4)
}

// stateSpec is the buffer of a step's result: the optimizer's state, from SumsAt on the sums of the units and, in a run with loss
// scaling, from ScaleAt on the loss scale.
func (s *Setup) stateSpec() device.Spec {
	n := s.SumsAt() + 3*len(s.UnitNames())
	if s.Scaled() {
		n = s.ScaleAt() + optim.NumScale
	}
	return device.Spec{Len: n, Kind: device.Staging, Label: "step state"}
}

// Scaled reports whether the run scales its loss, which float16 needs for its small range of exponents.
func (s *Setup) Scaled() bool { return s.Optimizes && s.Numbers.Params == tensor.F16 }

// ScaleAt is the first element of the loss scale in the state.
func (s *Setup) ScaleAt() int {
	align := s.Limits.OffsetAlignment / 4
	return device.CeilDiv(s.SumsAt()+3*len(s.UnitNames()), align) * align
}

func (s *Setup) scaleVar(t *graph.Tape) graph.Var {
	return t.Extern(graph.Extern{Key: scaleKey{}, Shape: tensor.Of(optim.NumScale), Name: "loss scale"})
}

// SumsAt is the first element of the units' sums in the state.
func (s *Setup) SumsAt() int { return max(optim.NumState, s.Limits.OffsetAlignment/4) }

func (s *Setup) startsSpec() device.Spec {
	return device.Spec{DType: tensor.I32, Len: len(s.UnitNames()) + 1, Kind: device.Staging, Label: "starts of units"}
}

// UnitNames lists the units of the trained parameters, in the order of their segments. A unit may have several segments.
func (s *Setup) UnitNames() (names []string) {
	for i, seg := range s.Layout.Segments {
		if i == 0 || seg.Unit != s.Layout.Segments[i-1].Unit {
			names = append(names, seg.Unit)
		}
	}
	return names
}

// unitStarts are the index of each unit's first partial sum among those of all segments, and the number of all.
func (s *Setup) unitStarts() (starts []int32) {
	at := int32(0)
	for i, seg := range s.Layout.Segments {
		if i == 0 || seg.Unit != s.Layout.Segments[i-1].Unit {
			starts = append(starts, at)
		}
		at += int32(optim.Parts(seg.Len))
	}
	return append(starts, at)
}

func (s *Setup) batchSpec() device.Spec {
	return device.Spec{DType: tensor.I32, Len: s.LayoutOf(s.Longest()).size, Kind: device.Staging, Label: "batch"}
}
