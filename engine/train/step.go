package train

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"

	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/graph"
	"llamatab/engine/nn"
	"llamatab/engine/op"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/tune"
)

// stepper holds the programs of an optimizer step and replays them. A step is
//
//	begin: clear the gradients and the loss;   for each micro-batch: write it, forward, backward;   update
type stepper struct {
	setup *Setup
	dev   device.Device
	mem   *memory
	tuner *tune.Tuner
	pool  *graph.Pool

	batch, loss, scalars, state, units, rope, classLogits device.Buffer

	micro   map[programKey]*graph.Program
	parts   map[programKey][]graph.Part // instead, where units are gathered
	layouts map[int]batchLayout
	begin   *graph.Program
	updates []*graph.Program // by stage
}

// programKey tells the programs of a micro-batch apart.
type programKey struct {
	T         int
	gradients bool
	stage     int // of the gradients
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
	specs := []device.Spec{s.ropeSpec(), s.batchSpec(), lossSpec, {Len: int(dims / 4), Class: device.Staging, Label: "dimensions of launches"}}
	if s.Model.Decoder.Classes > 0 {
		specs = append(specs, s.classLogitsSpec())
	}
	if s.steps {
		inFlight := device.Spec{Len: int(device.ReadBackBytes(4*s.stateSpec().Len) / 4), Class: device.Staging, Label: "read-back"}
		specs = append(specs, s.scalarsSpec(), s.stateSpec(), s.startsSpec(), inFlight, inFlight)
	}
	return append(specs, s.wireSpecs()...)
}

var lossSpec = device.Spec{Len: 1, Class: device.Staging, Label: "loss"}

// scalarsSpec is the buffer of what the host says of a step, once for each stage: those differ in the number of updates
// since it began.
func (s *Setup) scalarsSpec() device.Spec {
	return device.Spec{Len: s.scalarsAt(len(s.stages)-1) + optim.NumScalars, Class: device.Staging, Label: "step scalars"}
}

func (s *Setup) scalarsAt(stage int) int {
	return stage * max(optim.NumScalars, s.limits.OffsetAlignment/4)
}

// stateSpec is the buffer of what the device finds out about a step: the optimizer's state, from sumsAt on the sums of
// the units and, in a run that scales its loss, from scaleAt on the scale.
func (s *Setup) stateSpec() device.Spec {
	n := s.sumsAt() + 3*len(s.unitNames())
	if s.scaled() {
		n = s.scaleAt() + optim.NumScale
	}
	return device.Spec{Len: n, Class: device.Staging, Label: "step state"}
}

// scaled reports whether gradients are numbers of so few exponents that the loss is scaled.
func (s *Setup) scaled() bool { return s.steps && s.numbers.params == tensor.F16 }

func (s *Setup) scaleAt() int {
	align := s.limits.OffsetAlignment / 4
	return device.CeilDiv(s.sumsAt()+3*len(s.unitNames()), align) * align
}

func (s *Setup) scaleVar(t *graph.Tape) graph.Var {
	return t.Extern(graph.Extern{Key: scaleKey{}, Shape: tensor.Of(optim.NumScale), Name: "loss scale"})
}

func (s *Setup) sumsAt() int { return max(optim.NumState, s.limits.OffsetAlignment/4) }

func (s *Setup) startsSpec() device.Spec {
	return device.Spec{DType: tensor.I32, Len: len(s.unitNames()) + 1, Class: device.Staging, Label: "starts of units"}
}

// unitNames lists the units that train, in the order of their segments, of which neighbours may belong to one.
func (s *Setup) unitNames() (names []string) {
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
	return device.Spec{DType: tensor.I32, Len: s.layoutOf(s.longest()).size, Class: device.Staging, Label: "batch"}
}

// newStepper allocates what the plan says besides parameters.
func newStepper(setup *Setup, dev device.Device, mem *memory, host report.Host, table map[string]string) (st *stepper, err error) {
	st = &stepper{setup: setup, dev: dev, mem: mem, micro: map[programKey]*graph.Program{}, parts: map[programKey][]graph.Part{}, layouts: map[int]batchLayout{}}
	st.tuner = newTuner(dev, table, host, setup.repeats, setup.inRoom())
	mem.tuner = st.tuner
	defer func() {
		if err != nil {
			st.free()
		}
	}()
	for _, b := range []struct {
		into *device.Buffer
		spec device.Spec
		skip bool
	}{
		{&st.rope, setup.ropeSpec(), false}, {&st.batch, setup.batchSpec(), false},
		{&st.loss, lossSpec, false}, {&st.classLogits, setup.classLogitsSpec(), setup.Model.Decoder.Classes == 0},
		{&st.scalars, setup.scalarsSpec(), !setup.steps}, {&st.state, setup.stateSpec(), !setup.steps}, {&st.units, setup.startsSpec(), !setup.steps},
	} {
		if b.skip {
			continue
		}
		if *b.into, err = dev.Alloc(b.spec); err != nil {
			return nil, err
		}
	}
	if setup.steps {
		starts, _ := binary.Append(nil, binary.LittleEndian, setup.unitStarts())
		if err = dev.Write(st.units, 0, starts); err != nil {
			return nil, err
		}
	}
	rotations := op.RopeTable(setup.Model.Decoder.InvFreq, setup.Model.Decoder.RopeScale, setup.ropeFrom(), setup.ropeRows())
	if err = tensor.Round(rotations, setup.numbers.buffers); err == nil {
		err = dev.Write(st.rope, 0, tensor.EncodeF32(nil, rotations, tensor.F32))
	}
	if err != nil {
		return nil, err
	}
	st.pool, err = graph.NewPool(dev, setup.activations)
	return st, err
}

func (st *stepper) free() {
	for _, p := range st.micro {
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
			st.dev.Free(b)
		}
	}
}

// build compiles the programs of every length, so that all is tuned, and all memory is taken, before the first step.
func (st *stepper) build(h report.Host) error {
	p := report.NewProgress(h, "compile", "programs", int64(len(st.setup.lengths)))
	for i, T := range st.setup.lengths {
		for _, key := range st.setup.programs(T) {
			var err error
			if st.setup.shared != nil {
				_, _, err = st.stretches(key)
			} else {
				_, _, err = st.program(key)
			}
			if err != nil {
				return err
			}
		}
		p.Update(int64(i+1), "")
	}
	device.Trim(st.dev)
	return nil
}

// table is the choice of kernel variants so far.
func (st *stepper) table() map[string]string { return st.tuner.Table() }

// addLoss adds a micro-batch's loss to the running sum.
func addLoss(t *graph.Tape, loss graph.Var) {
	op.AddTo(t, loss, t.Extern(graph.Extern{Key: lossKey{}, Shape: loss.Shape, Name: "loss"}), 1)
}

// binder finds memory for the keys of a program whose batch lies as l says.
func (st *stepper) binder(l batchLayout) graph.Binder {
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
			return device.Slice{Buf: st.scalars, Off: st.setup.scalarsAt(int(k)), Len: optim.NumScalars}, nil
		case stateKey:
			return device.Slice{Buf: st.state, Len: optim.NumState}, nil
		case startsKey:
			return device.All(st.units), nil
		case sumsKey:
			at := st.setup.sumsAt()
			return device.Slice{Buf: st.state, Off: at, Len: 3 * len(st.setup.unitNames())}, nil
		case scaleKey:
			return device.Slice{Buf: st.state, Off: st.setup.scaleAt(), Len: optim.NumScale}, nil
		}
		return st.mem.find(key)
	}}
}

// programs lists the programs of micro-batches with rows of T tokens that a job may need.
func (s *Setup) programs(T int) (keys []programKey) {
	if s.grads {
		for k := range max(len(s.stages), 1) {
			keys = append(keys, programKey{T, true, k})
		}
	}
	if !s.grads || s.Valid != nil {
		keys = append(keys, programKey{T: T})
	}
	return keys
}

// program returns the compiled program of a micro-batch.
func (st *stepper) program(key programKey) (*graph.Program, batchLayout, error) {
	l := st.layout(key.T)
	if p, ok := st.micro[key]; ok {
		return p, l, nil
	}
	t, err := st.setup.record(key)
	if err != nil {
		return nil, l, err
	}
	p, err := t.Compile(st.dev, st.label(key), st.pool, st.binder(l))
	if err != nil {
		return nil, l, err
	}
	st.micro[key] = p
	return p, l, nil
}

// stretches returns the program of a micro-batch in parts that need parameters of one unit at a time.
func (st *stepper) stretches(key programKey) ([]graph.Part, batchLayout, error) {
	l := st.layout(key.T)
	if p, ok := st.parts[key]; ok {
		return p, l, nil
	}
	t, err := st.setup.record(key)
	if err != nil {
		return nil, l, err
	}
	p, err := t.CompileParts(st.dev, st.label(key), st.pool, st.binder(l), st.setup.unitOf)
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
		return s.shared.Unit(k)
	case nn.GradOf:
		return s.shared.Unit(k.Param)
	}
	return -1
}

// layout is how batches with rows of T tokens lie in memory.
func (st *stepper) layout(T int) batchLayout {
	l, ok := st.layouts[T]
	if !ok {
		l = st.setup.layoutOf(T)
		st.layouts[T] = l
	}
	return l
}

func (st *stepper) label(key programKey) string {
	return fmt.Sprintf("%d rows of %d tokens", st.setup.batch, key.T)
}

// buildBegin compiles the program that clears gradients and loss.
func (st *stepper) buildBegin() error {
	t := graph.NewTape()
	t.Clear(t.Extern(graph.Extern{Key: lossKey{}, Shape: tensor.Of(1), Name: "loss"}))
	if st.setup.Layout.Lanes == nil { // which are cleared as units take them over
		for i, s := range st.setup.Layout.Segments {
			t.Clear(segmentVar(t, st.setup.Layout, i, plan.Gradient, 0, s.Len))
		}
	}
	var err error
	st.begin, err = t.Compile(st.dev, "begin", nil, st.binder(batchLayout{}))
	return err
}

// buildUpdate compiles begin and, for each stage, update: norm, clipping, and AdamW over the runs of neighbours that share
// their hyper-parameters.
func (st *stepper) buildUpdate() error {
	if err := st.buildBegin(); err != nil || st.setup.inRoom() { // whose tabs update shards
		return err
	}
	for k := range st.setup.stages {
		t, err := st.setup.recordUpdate(k)
		if err != nil {
			return err
		}
		update, err := t.Compile(st.dev, "update", st.pool, st.binder(batchLayout{}))
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
	starts := t.Extern(graph.Extern{Key: startsKey{}, Shape: tensor.Of(len(s.unitNames()) + 1), DType: tensor.I32, Name: s.startsSpec().Label})
	sums := t.Extern(graph.Extern{Key: sumsKey{}, Shape: tensor.Of(len(s.unitNames()), 3), Name: "sums of units"})
	loss := t.Extern(graph.Extern{Key: lossKey{}, Shape: tensor.Of(1), Name: "loss"})
	var grads, weights []graph.Var
	for i, seg := range s.Layout.Segments {
		grads = append(grads, segmentVar(t, s.Layout, i, plan.Gradient, 0, seg.Len))
		weights = append(weights, segmentVar(t, s.Layout, i, plan.Weight, 0, seg.Len))
	}
	gradients := optim.SumSquares(t, grads...)
	if s.scaled() {
		optim.FinishScaledNorm(t, gradients, loss, scalars(0), state, s.scaleVar(t), r.maxNorm)
	} else {
		optim.FinishNorm(t, gradients, loss, scalars(0), state, r.maxNorm)
	}
	s.adamw(t, s.Layout, stage, r, scalars, state)
	optim.UnitSums(t, gradients, optim.SumSquares(t, grads...), optim.SumSquares(t, weights...), starts, sums)
	recordPublish(t, s.Layout)
}

// adamw puts AdamW over the runs of neighbours that share their hyper-parameters on a tape, for all that a layout has.
func (s *Setup) adamw(t *graph.Tape, l plan.Layout, stage int, r *rates, scalars func(stage int) graph.Var, state graph.Var) {
	for i, seg := range l.Segments {
		for from := 0; from < len(seg.Params); {
			c, thaw := r.of(seg.Params[from]), s.thaw[seg.Params[from]]
			to := from + 1
			for to < len(seg.Params) && r.of(seg.Params[to]) == c && s.thaw[seg.Params[to]] == thaw {
				to++
			}
			off, end := seg.Offsets[from], seg.Len
			if to < len(seg.Params) {
				end = seg.Offsets[to]
			}
			c.First, c.Site = uint32(off), site(s.Model.Seed, seg.Params[0].Name)
			if from = to; thaw > stage {
				continue // its gradient is zero, and it must not decay either
			}
			at := func(copy int) graph.Var { return segmentVar(t, l, i, copy, off, end-off) }
			optim.AdamW(t, at(plan.Weight), at(plan.Gradient), at(plan.Moment1), at(plan.Moment2), scalars(thaw), state, c)
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

// reset makes the optimizer's state what it is before the first step, with a loss scale to go on from.
func (st *stepper) reset(scale optim.LossScale) error {
	err := st.dev.Write(st.state, 0, make([]byte, 4*optim.NumState))
	if err == nil && st.setup.scaled() {
		err = st.dev.Write(st.state, st.setup.scaleAt(), scale.Bytes())
	}
	return err
}

// run replays work on the weights as they are now.
func (st *stepper) run(work ...device.Work) error {
	if err := st.mem.refresh(); err != nil {
		return err
	}
	return st.dev.Submit(work...)
}

// stepInput is what differs from step to step besides the batches.
type stepInput struct {
	scalars []optim.Scalars // by stage
	stage   int
	seed    uint64
	step    int // 0-based
}

// submit replays one optimizer step in one submission and returns its state, to be waited for.
func (st *stepper) submit(batches []*data.Batch, in stepInput) (device.Pending, error) {
	var scalars []byte
	for k, sc := range in.scalars {
		scalars = append(append(scalars, make([]byte, 4*st.setup.scalarsAt(k)-len(scalars))...), sc.Bytes()...)
	}
	work := []device.Work{{Buf: st.scalars, Data: scalars}, {Run: st.begin.Executable}}
	for k, b := range batches {
		p, l, err := st.program(programKey{b.T, true, in.stage})
		if err != nil {
			return nil, err
		}
		work = append(work, device.Work{Buf: st.batch, Data: l.encode(b, maskSeed(in.seed, in.step, k))}, device.Work{Run: p.Executable})
	}
	work = append(work, device.Work{Run: st.updates[in.stage].Executable})
	if err := st.run(work...); err != nil {
		return nil, err
	}
	return st.dev.Fetch(st.state, 0, st.state.Spec().Len)
}

// lossSum runs micro-batches without gradients and returns the sum of their losses.
func (st *stepper) lossSum(batches []*data.Batch) (float64, error) {
	work := []device.Work{{Buf: st.loss, Data: make([]byte, 4)}}
	for _, b := range batches {
		p, l, err := st.program(programKey{T: b.T})
		if err != nil {
			return 0, err
		}
		work = append(work, device.Work{Buf: st.batch, Data: l.encode(b, 0)}, device.Work{Run: p.Executable})
	}
	if err := st.run(work...); err != nil {
		return 0, err
	}
	return st.readLoss()
}

// readLoss waits for all that is computed and returns the sum of the losses.
func (st *stepper) readLoss() (float64, error) {
	data, err := st.dev.Read(st.loss, 0, 1)
	if err != nil {
		return 0, err
	}
	return floatsOf(data)[0], nil
}

// newTuner makes a tuner for launches that are repeated so often. It tells the host of variants that compute wrong.
//
// In a room nothing is timed: the first variant that computes right is taken, which is the same one in all tabs of an
// adapter, as it must be for them to compute the same bits.
func newTuner(dev device.Device, table map[string]string, host report.Host, repeats int, room bool) *tune.Tuner {
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
