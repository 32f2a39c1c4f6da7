package replay

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
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
	parts    map[ProgramKey][]graph.Part // instead, where units are gathered
	layouts  map[int]BatchLayout
	begin    *graph.Program
	updates  []*graph.Program // by stage
}

// ProgramKey tells the programs of a micro-batch apart.
type ProgramKey struct {
	T         int
	Gradients bool
	Stage     int // of the gradients
}

// Keys of the buffers that a stepper brings besides those of the batch.
type (
	scalarsKey int // what the host says of a step, by the stage in which parameters began to train
	stateKey   struct{}
	startsKey  struct{} // of the units' partial sums
	sumsKey    struct{} // of the units
	scaleKey   struct{} // of the loss
)

// staging are the buffers besides parameters and activations.
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

// scalarsSpec is the buffer of what the host says of a step, once for each stage: those differ in the number of updates
// since it began.
func (s *Setup) scalarsSpec() device.Spec {
	return device.Spec{Len: s.scalarsAt(len(s.Stages)-1) + optim.NumScalars, Kind: device.Staging, Label: "step scalars"}
}

func (s *Setup) scalarsAt(stage int) int {
	return stage * max(optim.NumScalars, s.Limits.OffsetAlignment/4)
}

// stateSpec is the buffer of what the device finds out about a step: the optimizer's state, from sumsAt on the sums of
// the units and, in a run that scales its loss, from scaleAt on the scale.
func (s *Setup) stateSpec() device.Spec {
	n := s.SumsAt() + 3*len(s.UnitNames())
	if s.Scaled() {
		n = s.ScaleAt() + optim.NumScale
	}
	return device.Spec{Len: n, Kind: device.Staging, Label: "step state"}
}

// Scaled reports whether gradients are numbers of so few exponents that the loss is scaled.
func (s *Setup) Scaled() bool { return s.Optimizes && s.Numbers.Params == tensor.F16 }

func (s *Setup) ScaleAt() int {
	align := s.Limits.OffsetAlignment / 4
	return device.CeilDiv(s.SumsAt()+3*len(s.UnitNames()), align) * align
}

func (s *Setup) scaleVar(t *graph.Tape) graph.Var {
	return t.Extern(graph.Extern{Key: scaleKey{}, Shape: tensor.Of(optim.NumScale), Name: "loss scale"})
}

func (s *Setup) SumsAt() int { return max(optim.NumState, s.Limits.OffsetAlignment/4) }

func (s *Setup) startsSpec() device.Spec {
	return device.Spec{DType: tensor.I32, Len: len(s.UnitNames()) + 1, Kind: device.Staging, Label: "starts of units"}
}

// UnitNames lists the units that train, in the order of their segments, of which neighbours may belong to one.
func (s *Setup) UnitNames() (names []string) {
	for i, seg := range s.Layout.Segments {
		if i == 0 || seg.Unit != s.Layout.Segments[i-1].Unit {
			names = append(names, seg.Unit)
		}
	}
	return names
}

// unitStarts are the places of the units' partial sums among those of all segments, and the end.
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

// NewStepper allocates what the plan says besides parameters.
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

// Build compiles the programs of every length, so that all is tuned, and all memory is taken, before the first step.
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

// Table is the choice of kernel variants so far.
func (st *Stepper) Table() map[string]string { return st.tuner.Table() }

// addLoss adds a micro-batch's loss to the running sum.
func addLoss(t *graph.Tape, loss graph.Var) {
	op.AddTo(t, loss, t.Extern(graph.Extern{Key: lossKey{}, Shape: loss.Shape, Name: "loss"}), 1)
}

// Binder finds memory for the keys of a program whose batch lies as l says.
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

// programs lists the programs of micro-batches with rows of T tokens that a job may need.
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

// Parts returns the program of a micro-batch in parts. Each part uses parameters of one unit only.
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

// unitOf tells which gathered unit the memory of a key belongs to.
func (s *Setup) unitOf(key any) int {
	switch k := key.(type) {
	case *nn.Param:
		return s.Shared.Unit(k)
	case nn.GradOf:
		return s.Shared.Unit(k.Param)
	}
	return -1
}

// layout is how batches with rows of T tokens lie in memory.
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
	if st.Setup.Layout.Lanes == nil { // which are cleared as units take them over
		for i, s := range st.Setup.Layout.Segments {
			t.Clear(memory.SegmentVar(t, st.Setup.Layout, i, plan.Gradient, 0, s.Len))
		}
	}
	var err error
	st.begin, err = t.Compile(st.Dev, "begin", nil, st.Binder(BatchLayout{}))
	return err
}

// BuildUpdate compiles begin and, for each stage, update: norm, clipping, and AdamW over the runs of neighbours that share
// their hyper-parameters.
func (st *Stepper) BuildUpdate() error {
	if err := st.BuildBegin(); err != nil || st.Setup.InRoom() { // whose tabs update shards
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

// recordUpdate puts an optimizer update of a stage on a new tape.
func (s *Setup) recordUpdate(stage int) (*graph.Tape, error) {
	r, err := s.rates()
	if err != nil {
		return nil, err
	}
	t := graph.NewTape()
	return t, graph.Record(func() { s.update(t, stage, r) })
}

// stepVars are the scalars of a stage and the state of a step.
func stepVars(t *graph.Tape) (scalars func(stage int) graph.Var, state graph.Var) {
	scalars = func(stage int) graph.Var {
		return t.Extern(graph.Extern{Key: scalarsKey(stage), Shape: tensor.Of(optim.NumScalars), Name: "step scalars"})
	}
	return scalars, t.Extern(graph.Extern{Key: stateKey{}, Shape: tensor.Of(optim.NumState), Name: "step state"})
}

func (s *Setup) update(t *graph.Tape, stage int, r *rates) {
	scalars, state := stepVars(t)
	starts := t.Extern(graph.Extern{Key: startsKey{}, Shape: tensor.Of(len(s.UnitNames()) + 1), DType: tensor.I32, Name: s.startsSpec().Label})
	sums := t.Extern(graph.Extern{Key: sumsKey{}, Shape: tensor.Of(len(s.UnitNames()), 3), Name: "sums of units"})
	loss := t.Extern(graph.Extern{Key: lossKey{}, Shape: tensor.Of(1), Name: "loss"})
	var grads, weights []graph.Var
	for i, seg := range s.Layout.Segments {
		grads = append(grads, memory.SegmentVar(t, s.Layout, i, plan.Gradient, 0, seg.Len))
		weights = append(weights, memory.SegmentVar(t, s.Layout, i, plan.Weight, 0, seg.Len))
	}
	gradients := optim.SumSquares(t, grads...)
	if s.Scaled() {
		optim.FinishScaledNorm(t, gradients, loss, scalars(0), state, s.scaleVar(t), r.maxNorm)
	} else {
		optim.FinishNorm(t, gradients, loss, scalars(0), state, r.maxNorm)
	}
	s.adamw(t, s.Layout, stage, r, scalars, state)
	optim.UnitSums(t, gradients, optim.SumSquares(t, grads...), optim.SumSquares(t, weights...), starts, sums)
	memory.RecordPublish(t, s.Layout)
}

// adamw puts AdamW over the runs of neighbours that share their hyper-parameters on a tape, for all that a layout has.
func (s *Setup) adamw(t *graph.Tape, l plan.Layout, stage int, r *rates, scalars func(stage int) graph.Var, state graph.Var) {
	for i, seg := range l.Segments {
		for from := 0; from < len(seg.Params); {
			c, startStage := r.of(seg.Params[from]), s.startStage[seg.Params[from]]
			to := from + 1
			for to < len(seg.Params) && r.of(seg.Params[to]) == c && s.startStage[seg.Params[to]] == startStage {
				to++
			}
			off, end := seg.Offsets[from], seg.Len
			if to < len(seg.Params) {
				end = seg.Offsets[to]
			}
			c.First, c.Site = uint32(off), site(s.Model.Seed, seg.Params[0].Name)
			if from = to; startStage > stage {
				continue // its gradient is zero, and it must not decay either
			}
			at := func(copy int) graph.Var { return memory.SegmentVar(t, l, i, copy, off, end-off) }
			optim.AdamW(t, at(plan.Weight), at(plan.Gradient), at(plan.Moment1), at(plan.Moment2), scalars(startStage), state, c)
		}
	}
}

// site is what the random numbers of a segment's updates are drawn from, besides the step.
func site(seed uint64, first string) uint32 {
	h := fnv.New32a()
	h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	h.Write([]byte(first))
	return h.Sum32()
}

// Reset makes the optimizer's state what it is before the first step, with a loss scale to go on from.
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

// Run replays work on the weights as they are now.
func (st *Stepper) Run(work ...device.Work) error {
	if err := st.Mem.Refresh(); err != nil {
		return err
	}
	return st.Dev.Submit(work...)
}

// StepInput is what differs from step to step besides the batches.
type StepInput struct {
	Scalars []optim.Scalars // by stage
	Stage   int
	Seed    uint64
	Step    int // 0-based
}

// Submit replays one optimizer step in one submission and returns its state, to be waited for.
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

// ReadLoss waits for all that is computed and returns the sum of the losses.
func (st *Stepper) ReadLoss() (float64, error) {
	data, err := st.Dev.Read(st.loss, 0, 1)
	if err != nil {
		return 0, err
	}
	return floatsOf(data)[0], nil
}

// NewTuner makes a tuner for launches that are repeated so often. It tells the host of variants that compute wrong.
//
// In a room nothing is timed: the first variant that computes right is taken, which is the same one in all tabs of an
// adapter, as it must be for them to compute the same bits.
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
