package replay

import (
	"maps"
	"math"
	"slices"

	"llamatab/engine/config"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/graph"
	"llamatab/engine/memory"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/tensor"
)

// FSDP is how the run is shared, nil where it is not.
func (s *Setup) FSDP() *config.FSDP {
	if s.Config == nil {
		return nil
	}
	return s.Config.FSDP
}

func (s *Setup) InRoom() bool { return s.FSDP() != nil }

// owned is the layout of what a tab updates: the shard that the plan counts, or all that trains.
func (s *Setup) owned() plan.Layout {
	if s.Layout.Lanes != nil {
		return plan.Layout{Segments: s.Layout.Lanes.Owned}
	}
	return s.Layout
}

// RecordApply puts the update of what l holds on a new tape, with the room's factor in the state.
func (s *Setup) RecordApply(l plan.Layout) (*graph.Tape, error) {
	r, err := s.rates()
	if err != nil {
		return nil, err
	}
	t := graph.NewTape()
	return t, graph.Record(func() {
		scalars, state := stepVars(t)
		s.adamw(t, l, 0, r, scalars, state)
		memory.RecordPublish(t, l)
	})
}

// CompileApply compiles the update of the parameters in mem: a shard's memory, or the stepper's own.
func (st *Stepper) CompileApply(label string, mem *memory.Parameters) (*graph.Program, error) {
	t, err := st.Setup.RecordApply(mem.Layout)
	if err != nil {
		return nil, err
	}
	b := st.Binder(BatchLayout{})
	find := b.Extern
	b.Extern = func(key any) (device.Slice, error) {
		if _, ok := key.(memory.SegmentKey); ok {
			return mem.Find(key)
		}
		return find(key)
	}
	return t.Compile(st.Dev, label, st.pool, b)
}

// Apply replays a program of CompileApply and waits for it. The room has
// computed the norm of the whole gradient: the update multiplies the gradients by factor.
func (st *Stepper) Apply(p *graph.Program, scalars optim.Scalars, factor float32) error {
	if err := st.Run(device.Work{Buf: st.scalars, Data: scalars.Bytes()}, device.Work{Buf: st.state, Data: optim.Decided(factor)}, device.Work{Run: p.Executable}); err != nil {
		return err
	}
	return st.Dev.Sync()
}

// WireSpec is the buffer in which the largest segment is rounded to d.
func WireSpec(segments []plan.Segment, d tensor.DType) device.Spec {
	spec := device.Spec{DType: d, Kind: device.Staging, Label: "rounded for the wire"}
	for _, seg := range segments {
		spec.Len = max(spec.Len, seg.Len)
	}
	return spec
}

// wireSpecs are the buffers of what a tab of a room sends: gradients, parameters of which it owns a shard, and its state when
// a checkpoint is due. What travels rounded is packed first; all of it is read back.
func (s *Setup) wireSpecs() (specs []device.Spec) {
	if s.FSDP() == nil {
		return nil
	}
	reads := map[int64]int{} // read-back buffers by size, which all kinds share
	read := func(segments []plan.Segment, most, size, atOnce int) {
		of := map[int64]int{}
		for _, seg := range segments {
			bytes := device.ReadBackBytes(min(seg.Len, most) * size)
			of[bytes] = min(of[bytes]+1, atOnce)
			reads[bytes] = max(reads[bytes], of[bytes])
		}
	}
	send := func(segments []plan.Segment, d tensor.DType) {
		if d != tensor.F32 {
			specs = append(specs, WireSpec(segments, d))
		}
		read(segments, math.MaxInt32, d.Size(), UnderWay)
	}
	send(s.Layout.Segments, wireType(s.Config.Precision.ReduceDType))
	if s.Layout.Lanes != nil {
		send(s.owned().Segments, wireType(s.Config.Precision.ParamDType))
	}
	read(s.owned().Segments, fsdp.DefaultPiece, tensor.F32.Size(), 1)
	for _, size := range slices.Sorted(maps.Keys(reads)) {
		for range reads[size] {
			specs = append(specs, device.Spec{Len: int(size / 4), Kind: device.Staging, Label: "read-back"})
		}
	}
	return specs
}

// wireType is the type on the wire for one of a config.
func wireType(name string) tensor.DType {
	if name == "bfloat16" {
		return tensor.BF16
	}
	return tensor.F32
}

// UnderWay is how many segments are read at a time: while one is handed over, the next is on its way.
const UnderWay = 2
