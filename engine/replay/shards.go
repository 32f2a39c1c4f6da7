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

// FSDP is the config of a run over tabs, nil for any other job.
func (s *Setup) FSDP() *config.FSDP {
	if s.Config == nil {
		return nil
	}
	return s.Config.FSDP
}

// InRoom reports whether the job is a run over tabs.
func (s *Setup) InRoom() bool { return s.FSDP() != nil }

// owned is the layout of the parameters that a tab updates: the largest shard, or all trained parameters under NO_SHARD.
func (s *Setup) owned() plan.Layout {
	if s.Layout.Lanes != nil {
		return plan.Layout{Segments: s.Layout.Lanes.Owned}
	}
	return s.Layout
}

// RecordApply records the update of the parameters in l on a new tape. It reads the factor on the gradients from the state.
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

// Apply replays a program of CompileApply and waits for it. The update multiplies the gradients by factor, which the room
// computes from the norm of the whole gradient.
func (st *Stepper) Apply(p *graph.Program, scalars optim.Scalars, factor float32) error {
	if err := st.Run(device.Work{Buf: st.scalars, Data: scalars.Bytes()}, device.Work{Buf: st.state, Data: optim.Decided(factor)}, device.Work{Run: p.Executable}); err != nil {
		return err
	}
	return st.Dev.Sync()
}

// WireSpec is the buffer for the largest segment rounded to d, which is read back to be sent.
func WireSpec(segments []plan.Segment, d tensor.DType) device.Spec {
	spec := device.Spec{DType: d, Kind: device.Staging, Label: "rounded for the wire"}
	for _, seg := range segments {
		spec.Len = max(spec.Len, seg.Len)
	}
	return spec
}

// wireSpecs are the buffers for what a tab sends to its room: gradients, the parameters of its shard, and the state of its shard
// for a checkpoint. Values that are sent as bfloat16 are rounded into a buffer. All are read back through read-back buffers.
func (s *Setup) wireSpecs() (specs []device.Spec) {
	if s.FSDP() == nil {
		return nil
	}
	reads := map[int64]int{} // number of read-back buffers by size; gradients, parameters and state share them
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

// wireType is the type on the wire for a type of the config's precision.
func wireType(name string) tensor.DType {
	if name == "bfloat16" {
		return tensor.BF16
	}
	return tensor.F32
}

// UnderWay is the number of segments that are read at a time: the next one is read while one is processed.
const UnderWay = 2
