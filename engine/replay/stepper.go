package replay

import (
	"encoding/binary"
	"fmt"
	"math"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/memory"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/tune"
)

// Stepper holds the programs of an optimizer step and replays them. A step is
//
//	begin: clear the gradients and the loss;   for each micro-batch: write it, forward, backward;   update
//
// One goroutine uses it at a time, the one that uses the device.
type Stepper struct {
	Setup *Setup
	Dev   device.Device
	Mem   *memory.Parameters
	tuner *tune.Tuner
	pool  *graph.Pool // of activations

	batch, loss, scalars, state, units, rope, classLogits device.Buffer

	programs map[ProgramKey]*graph.Program
	parts    map[ProgramKey][]graph.Part // in place of programs in a run whose units are gathered
	layouts  map[int]BatchLayout
	begin    *graph.Program
	updates  []*graph.Program // by stage
}

// ProgramKey names a program of a micro-batch: rows of T tokens, with the gradients of a stage or without gradients.
type ProgramKey struct {
	T         int
	Gradients bool
	Stage     int
}

// Keys of the stepper's buffers on a tape.
type (
	scalarsKey int // optim.Scalars of a step, for the parameters that began to train in this stage
	stateKey   struct{}
	startsKey  struct{} // starts of the units' partial sums
	sumsKey    struct{} // sums of the units
	scaleKey   struct{} // the loss scale
)

// NewStepper allocates the memory of the plan without that of the parameters, which are in mem. table is a choice of kernel
// variants to keep to, nil for none.
func NewStepper(setup *Setup, dev device.Device, mem *memory.Parameters, host report.Host, table map[string]string) (st *Stepper, err error) {
	st = &Stepper{Setup: setup, Dev: dev, Mem: mem, programs: map[ProgramKey]*graph.Program{}, parts: map[ProgramKey][]graph.Part{}, layouts: map[int]BatchLayout{}}
	st.tuner = NewTuner(dev, table, host, setup.Repeats, setup.InRoom())
	mem.UseTuner(st.tuner)
	defer func() {
		if err != nil {
			st.Free()
		}
	}()
	for _, b := range []struct {
		into *device.Buffer
		spec device.Spec
		skip bool
	}{
		{&st.rope, setup.ropeSpec(), false}, {&st.batch, setup.batchSpec(), false},
		{&st.loss, lossSpec, false}, {&st.classLogits, setup.classLogitsSpec(), setup.Model.Decoder.Classes == 0},
		{&st.scalars, setup.scalarsSpec(), !setup.Optimizes}, {&st.state, setup.stateSpec(), !setup.Optimizes}, {&st.units, setup.startsSpec(), !setup.Optimizes},
	} {
		if b.skip {
			continue
		}
		if *b.into, err = dev.Alloc(b.spec); err != nil {
			return nil, err
		}
	}
	if setup.Optimizes {
		starts, _ := binary.Append(nil, binary.LittleEndian, setup.unitStarts())
		if err = dev.Write(st.units, 0, starts); err != nil {
			return nil, err
		}
	}
	rotations := op.RopeTable(setup.Model.Decoder.InvFreq, setup.Model.Decoder.RopeScale, setup.ropeFrom(), setup.RopeRows())
	if err = tensor.Round(rotations, setup.Numbers.buffers); err == nil {
		err = dev.Write(st.rope, 0, tensor.EncodeF32(nil, rotations, tensor.F32))
	}
	if err != nil {
		return nil, err
	}
	st.pool, err = graph.NewPool(dev, setup.Activations)
	return st, err
}

// Free releases the programs and all memory but that of the parameters.
func (st *Stepper) Free() {
	for _, p := range st.programs {
		p.Release()
	}
	for _, parts := range st.parts {
		for _, p := range parts {
			p.Release()
		}
	}
	for _, p := range append(st.updates, st.begin) {
		if p != nil {
			p.Release()
		}
	}
	if st.pool != nil {
		st.pool.Free()
	}
	for _, b := range []device.Buffer{st.batch, st.loss, st.scalars, st.state, st.units, st.rope, st.classLogits} {
		if b != nil {
			st.Dev.Free(b)
		}
	}
}

// Build compiles the programs of every length, so that the tuner has chosen all kernels and all memory is allocated before the
// first step.
func (st *Stepper) Build(h report.Host) error {
	p := report.NewProgress(h, "compile", "programs", int64(len(st.Setup.Lengths)))
	for i, T := range st.Setup.Lengths {
		for _, key := range st.Setup.programs(T) {
			var err error
			if st.Setup.Shared != nil {
				_, _, err = st.Parts(key)
			} else {
				_, _, err = st.Program(key)
			}
			if err != nil {
				return err
			}
		}
		p.Update(int64(i+1), "")
	}
	device.Trim(st.Dev)
	return nil
}

// Table is the choice of kernel variants so far, for run.json.
func (st *Stepper) Table() map[string]string { return st.tuner.Table() }

// addLoss adds a micro-batch's loss to the running sum.
func addLoss(t *graph.Tape, loss graph.Var) {
	op.AddTo(t, loss, t.Extern(graph.Extern{Key: lossKey{}, Shape: loss.Shape, Name: "loss"}), 1)
}

// Binder finds the memory of the keys of a program whose batch has layout l.
func (st *Stepper) Binder(l BatchLayout) graph.Binder {
	return graph.Binder{Prepare: st.tuner.Prepare, Choose: st.tuner.Choose, Extern: func(key any) (device.Slice, error) {
		switch k := key.(type) {
		case nn.InputKey:
			if k == nn.Rope {
				return device.All(st.rope), nil
			}
			return l.slice(st.batch, k), nil
		case lossKey:
			return device.All(st.loss), nil
		case classLogitsKey:
			return device.All(st.classLogits), nil
		case scalarsKey:
			return device.Slice{Buf: st.scalars, Off: st.Setup.scalarsAt(int(k)), Len: optim.NumScalars}, nil
		case stateKey:
			return device.Slice{Buf: st.state, Len: optim.NumState}, nil
		case startsKey:
			return device.All(st.units), nil
		case sumsKey:
			at := st.Setup.SumsAt()
			return device.Slice{Buf: st.state, Off: at, Len: 3 * len(st.Setup.UnitNames())}, nil
		case scaleKey:
			return device.Slice{Buf: st.state, Off: st.Setup.ScaleAt(), Len: optim.NumScale}, nil
		}
		return st.Mem.Find(key)
	}}
}

// programs lists the programs of micro-batches with rows of T tokens.
func (s *Setup) programs(T int) (keys []ProgramKey) {
	if s.Gradients {
		for k := range max(len(s.Stages), 1) {
			keys = append(keys, ProgramKey{T, true, k})
		}
	}
	if !s.Gradients || s.Valid != nil {
		keys = append(keys, ProgramKey{T: T})
	}
	return keys
}

// Program returns the compiled program of a micro-batch.
func (st *Stepper) Program(key ProgramKey) (*graph.Program, BatchLayout, error) {
	l := st.layout(key.T)
	if p, ok := st.programs[key]; ok {
		return p, l, nil
	}
	t, err := st.Setup.record(key)
	if err != nil {
		return nil, l, err
	}
	p, err := t.Compile(st.Dev, st.label(key), st.pool, st.Binder(l))
	if err != nil {
		return nil, l, err
	}
	st.programs[key] = p
	return p, l, nil
}

// Parts returns the program of a micro-batch in parts, each of which uses the parameters of at most one unit.
func (st *Stepper) Parts(key ProgramKey) ([]graph.Part, BatchLayout, error) {
	l := st.layout(key.T)
	if p, ok := st.parts[key]; ok {
		return p, l, nil
	}
	t, err := st.Setup.record(key)
	if err != nil {
		return nil, l, err
	}
	p, err := t.CompileParts(st.Dev, st.label(key), st.pool, st.Binder(l), st.Setup.unitOf)
	if err != nil {
		return nil, l, err
	}
	st.parts[key] = p
	return p, l, nil
}

// unitOf returns the unit of a parameter's or a gradient's key, -1 for any other key.
func (s *Setup) unitOf(key any) int {
	switch k := key.(type) {
	case *nn.Param:
		return s.Shared.Unit(k)
	case nn.GradOf:
		return s.Shared.Unit(k.Param)
	}
	return -1
}

// layout is the layout of batches with rows of T tokens.
func (st *Stepper) layout(T int) BatchLayout {
	l, ok := st.layouts[T]
	if !ok {
		l = st.Setup.LayoutOf(T)
		st.layouts[T] = l
	}
	return l
}

func (st *Stepper) label(key ProgramKey) string {
	return fmt.Sprintf("%d rows of %d tokens", st.Setup.BatchRows, key.T)
}

// BuildBegin compiles the program that clears gradients and loss.
func (st *Stepper) BuildBegin() error {
	t := graph.NewTape()
	t.Clear(t.Extern(graph.Extern{Key: lossKey{}, Shape: tensor.Of(1), Name: "loss"}))
	if st.Setup.Layout.Lanes == nil { // gradients in lanes are cleared when a unit takes its lanes
		for i, s := range st.Setup.Layout.Segments {
			t.Clear(memory.SegmentVar(t, st.Setup.Layout, i, plan.Gradient, 0, s.Len))
		}
	}
	var err error
	st.begin, err = t.Compile(st.Dev, "begin", nil, st.Binder(BatchLayout{}))
	return err
}

// BuildUpdate compiles the program that clears gradients and, for each stage, the update: norm, clipping and AdamW.
func (st *Stepper) BuildUpdate() error {
	if err := st.BuildBegin(); err != nil || st.Setup.InRoom() { // in a run over tabs CompileApply makes the updates
		return err
	}
	for k := range st.Setup.Stages {
		t, err := st.Setup.recordUpdate(k)
		if err != nil {
			return err
		}
		update, err := t.Compile(st.Dev, "update", st.pool, st.Binder(BatchLayout{}))
		if err != nil {
			return err
		}
		st.updates = append(st.updates, update)
	}
	return nil
}

// Reset sets the optimizer's state to that before the first step, with the given loss scale.
func (st *Stepper) Reset(scale optim.LossScale) error {
	err := st.Dev.Write(st.state, 0, make([]byte, 4*optim.NumState))
	if err == nil && st.Setup.Scaled() {
		err = st.Dev.Write(st.state, st.Setup.ScaleAt(), scale.Bytes())
	}
	return err
}

// ClearWork clears the gradients and the loss, which begins a step.
func (st *Stepper) ClearWork() device.Work { return device.Work{Run: st.begin.Executable} }

// BatchWork writes a micro-batch to where its programs read it. seed is that of its dropout masks.
func (st *Stepper) BatchWork(l BatchLayout, b *data.Batch, seed uint64) device.Work {
	return device.Work{Buf: st.batch, Data: l.Encode(b, seed)}
}

// Run submits work. Programs in it read the current weights, also if a master was written since.
func (st *Stepper) Run(work ...device.Work) error {
	if err := st.Mem.Refresh(); err != nil {
		return err
	}
	return st.Dev.Submit(work...)
}

// StepInput is the input of a step besides its batches.
type StepInput struct {
	Scalars []optim.Scalars // by stage
	Stage   int
	Seed    uint64
	Step    int // counted from 0
}

// Submit replays one optimizer step in one submission. It returns the read of the step's state, which has begun.
func (st *Stepper) Submit(batches []*data.Batch, in StepInput) (device.Pending, error) {
	var scalars []byte
	for k, sc := range in.Scalars {
		scalars = append(append(scalars, make([]byte, 4*st.Setup.scalarsAt(k)-len(scalars))...), sc.Bytes()...)
	}
	work := []device.Work{{Buf: st.scalars, Data: scalars}, st.ClearWork()}
	for k, b := range batches {
		p, l, err := st.Program(ProgramKey{b.T, true, in.Stage})
		if err != nil {
			return nil, err
		}
		work = append(work, st.BatchWork(l, b, MaskSeed(in.Seed, in.Step, k)), device.Work{Run: p.Executable})
	}
	work = append(work, device.Work{Run: st.updates[in.Stage].Executable})
	if err := st.Run(work...); err != nil {
		return nil, err
	}
	return st.Dev.Fetch(st.state, 0, st.state.Spec().Len)
}

// LossSum runs micro-batches without gradients and returns the sum of their losses.
func (st *Stepper) LossSum(batches []*data.Batch) (float64, error) {
	work := []device.Work{{Buf: st.loss, Data: make([]byte, 4)}}
	for _, b := range batches {
		p, l, err := st.Program(ProgramKey{T: b.T})
		if err != nil {
			return 0, err
		}
		work = append(work, st.BatchWork(l, b, 0), device.Work{Run: p.Executable})
	}
	if err := st.Run(work...); err != nil {
		return 0, err
	}
	return st.ReadLoss()
}

// ReadLoss waits for all submitted work and returns the sum of the losses.
func (st *Stepper) ReadLoss() (float64, error) {
	data, err := st.Dev.Read(st.loss, 0, 1)
	if err != nil {
		return 0, err
	}
	return floatsOf(data)[0], nil
}

// NewTuner makes a tuner for launches that are repeated so often. It reports variants with wrong results to the host.
//
// In a room variants are not timed: the first one with right results is used. So all tabs on the same kind of adapter use the same
// kernels, and compute the same bits.
func NewTuner(dev device.Device, table map[string]string, host report.Host, repeats int, room bool) *tune.Tuner {
	o := tune.Default
	o.Repeats = repeats
	if room {
		o.Worth = math.Inf(1)
	}
	o.Report = func(kernel, variant string, err error) {
		report.Event(host, "warning", "kernel_variant_dropped", 0, map[string]any{"kernel": kernel, "variant": variant},
			"kernel %s: variant %s is not used on this adapter: %v", kernel, variant, err)
	}
	return tune.New(dev, table, o)
}

// floatsOf are the float32 values of little-endian bytes.
func floatsOf(data []byte) []float64 {
	x := make([]float64, len(data)/4)
	for i := range x {
		x[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])))
	}
	return x
}
