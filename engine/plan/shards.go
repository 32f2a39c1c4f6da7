package plan

import (
	"fmt"

	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/nn"
	"llamatab/engine/tensor"
)

// Shared is the division of a run's trained parameters into units and shards.
type Shared struct {
	Strategy fsdp.Strategy
	Table    *fsdp.Table
	unit     map[*nn.Param]int
}

// NewShared divides the trained parameters of params into units, by an auto-wrap policy, and each unit into shards.
func NewShared(params []*nn.Param, by fsdp.Strategy, policy string, shards int) (*Shared, error) {
	s := &Shared{Strategy: by, unit: map[*nn.Param]int{}}
	var list []fsdp.Param
	var trained []*nn.Param
	for _, p := range params {
		if p.Trainable {
			list, trained = append(list, fsdp.Param{Name: p.Name, Shape: p.Shape, Unit: p.Unit}), append(trained, p)
		}
	}
	units, err := fsdp.Wrap(list, policy)
	if err == nil {
		s.Table, err = fsdp.NewTable(units, shards, fsdp.DefaultPiece)
	}
	if err != nil {
		return nil, err
	}
	at := 0
	for i, u := range units {
		for range u.Params {
			s.unit[trained[at]] = i
			at++
		}
	}
	return s, nil
}

// Unit is the number of the unit of p, -1 for a frozen parameter.
func (s *Shared) Unit(p *nn.Param) int {
	if u, ok := s.unit[p]; ok {
		return u
	}
	return -1
}

// Piece is a run of a parameter's elements in one shard.
type Piece struct {
	Of *nn.Param
	At int // first element in Of
	nn.Param
}

// Pieces lists the pieces of a shard, in the order of its view. Their Params are float32 vectors with the name and unit of the
// whole parameter, so that a piece has the same hyper-parameters.
func (s *Shared) Pieces(shard int, l Layout) []*Piece {
	var pieces []*Piece
	spans, flat := s.Table.Shard(shard).Spans, 0
	for _, seg := range l.Segments {
		for _, p := range seg.Params {
			end := flat + p.Shape.Size()
			for len(spans) > 0 && spans[0].Off < end {
				n := min(spans[0].Off+spans[0].Len, end) - spans[0].Off
				piece := &Piece{Of: p, At: spans[0].Off - flat, Param: *p}
				piece.Shape, piece.DType, piece.InPlace = tensor.Of(n), tensor.F32, false
				pieces = append(pieces, piece)
				if spans[0].Len == n {
					spans = spans[1:]
				} else { // the span continues in the next parameter
					spans = append([]fsdp.Span{{Off: end, Len: spans[0].Len - n}}, spans[1:]...)
				}
			}
			flat = end
		}
	}
	return pieces
}

// ShardLayout places the pieces of a shard.
func ShardLayout(pieces []*Piece, l device.Limits) Layout {
	params := make([]*nn.Param, len(pieces))
	for i, p := range pieces {
		params[i] = &p.Param
	}
	return NewLayout(params, l)
}

// Lanes are buffers that the segments of a sharded run use in turn: for gathered parameters, and for gradients until they are
// read.
//
// Under SHARD_GRAD_OP each segment has a lane of parameters of its own, because they stay for a whole step. Under FULL_SHARD units
// alternate between two sets of lanes: one for the unit that computes and one for the unit that is prefetched. There is one set
// for gradients, because those of a unit are read before the next unit computes.
type Lanes struct {
	Unit             []int // of each segment, in the order of the run's units
	Weight, Gradient []int // the number of each segment's lane among Weights and Gradients
	Weights          []device.Spec
	Gradients        []device.Spec
	// Owned are the segments of the first shard, which is the largest. The plan counts its memory.
	Owned []Segment
}

// NewSharedLayout places params in a sharded run.
func NewSharedLayout(params []*nn.Param, l device.Limits, shared *Shared) Layout {
	layout := newLayout(params, l, shared.Unit)
	lanes := &Lanes{}
	type lane struct {
		set, number int
		dtype       tensor.DType
	}
	weights, gradients := map[lane]int{}, map[lane]int{}
	join := func(at map[lane]int, specs *[]device.Spec, key lane, s *Segment, kind device.MemoryKind, label string) int {
		i, ok := at[key]
		if !ok {
			i = len(*specs)
			at[key], *specs = i, append(*specs, device.Spec{DType: key.dtype, Kind: kind, Label: fmt.Sprintf("%s %d", label, i)})
		}
		(*specs)[i].Len = max((*specs)[i].Len, s.Len)
		return i
	}
	inUnit := map[int]int{} // segments of each unit so far
	for i := range layout.Segments {
		s := &layout.Segments[i]
		unit := shared.Unit(s.Params[0])
		set, number := unit%2, inUnit[unit]
		if shared.Strategy == fsdp.ShardGradOp {
			set = unit
		}
		lanes.Unit = append(lanes.Unit, unit)
		lanes.Weight = append(lanes.Weight, join(weights, &lanes.Weights, lane{set, number, s.DType}, s, device.Weights, "gathered weights"))
		lanes.Gradient = append(lanes.Gradient, join(gradients, &lanes.Gradients, lane{0, number, tensor.F32}, s, device.Gradients, "gradients"))
		inUnit[unit]++
	}
	lanes.Owned = ShardLayout(shared.Pieces(0, layout), l).Segments
	layout.Lanes = lanes
	return layout
}

// specs are the buffers of the lanes and of the owned shard.
func (l *Lanes) specs(optimizer bool) []device.Spec {
	specs := append(append([]device.Spec{}, l.Weights...), l.Gradients...)
	return append(specs, Layout{Segments: l.Owned}.Specs(optimizer)...)
}
