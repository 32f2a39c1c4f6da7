package rank

import (
	"context"
	"errors"
	"slices"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/optim"
	"llamatab/engine/peft"
	"llamatab/engine/plan"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/tensor"
	"llamatab/engine/train"
)

// computer is the side of a rank that uses the device. The goroutine that runs work owns it.
type computer struct {
	mail
	ctx     context.Context // ends with the run
	trainer *train.Trainer  // its device, parameters and programs; the communicator records its steps
	setup   *replay.Setup
	cfg     *config.Config
	host    report.Host
	dev     device.Device
	run     *fsdp.Run
	table   *fsdp.Table

	shards map[int]*shard
	gather *gatherer // nil under NO_SHARD
	places places    // of all parameters
	wire   *wire     // of gradients
	spans  *tracer
	clock  *fsdp.Stopwatch
}

// newComputer makes the computer of a communicator that knows its run. The caller starts work on a goroutine of its own.
func newComputer(ctx context.Context, c *communicator) (*computer, error) {
	t := c.loop.Trainer
	d := &computer{
		mail: c.mail, ctx: ctx, trainer: t, setup: c.setup, cfg: c.cfg, host: c.host, dev: t.Dev, run: c.run, table: c.table,
		shards: map[int]*shard{}, places: c.places, spans: c.spans, clock: c.clock,
	}
	var err error
	if d.wire, err = newWire(d.dev, t.Mem, plan.Gradient, d.run.Reduce()); err != nil {
		return nil, err
	}
	if d.setup.Shared != nil {
		if d.gather, err = newGatherer(d); err != nil {
			d.release()
			return nil, err
		}
	}
	return d, nil
}

// work does the tasks in their order until ctx ends or a task fails.
func (d *computer) work() {
	defer d.release()
	for {
		select {
		case <-d.ctx.Done():
			return
		case do := <-d.tasks:
			r, err := do(d)
			if err != nil {
				d.failed <- err
				return
			}
			if r != nil && d.post(d.ctx, r) != nil {
				return
			}
		}
	}
}

// release frees what the computer has allocated on the device.
func (d *computer) release() {
	for _, s := range d.shards {
		s.release(d.trainer)
	}
	if d.gather != nil {
		d.gather.release()
	}
	d.wire.release()
}

// during counts the time of f as an activity.
func (d *computer) during(a fsdp.Activity, f func() error) error {
	before := d.clock.Turn(time.Now(), a)
	defer func() { d.clock.Turn(time.Now(), before) }()
	return f()
}

// own sets the shards whose parameters are read from this tab's own memory in the task that begins.
func (d *computer) own(shards []int) {
	if d.gather != nil {
		d.gather.setOwn(shards)
	}
}

// stateCopy are the copies of a segment that the state of a shard consists of.
var stateCopy = [3]int{plan.Weight, plan.Moment1, plan.Moment2}

// shard returns the memory of shard i. It allocates the memory if there is none.
func (d *computer) shard(i int) (*shard, error) {
	if s := d.shards[i]; s != nil {
		return s, nil
	}
	s, err := newShard(d.trainer, i)
	if err == nil {
		d.shards[i] = s
	}
	return s, err
}

// drop frees the memory of shard i.
func (d *computer) drop(i int) {
	if s := d.shards[i]; s != nil {
		delete(d.shards, i)
		s.release(d.trainer)
	}
}

// readPiece reads the piece of a shard that a frame with header h carries. It is nil if the shard is not here.
func (d *computer) readPiece(h fsdp.Header, p fsdp.Piece) ([]device.Bytes, error) {
	s := d.shards[int(h.Slot)]
	if s == nil {
		return nil, nil
	}
	if h.Type == fsdp.TypeParam {
		return d.readParams(s, false, p)
	}
	part, _ := fsdp.StatePiece(d.table.Shard(int(h.Slot)), int(h.Chunk))
	return s.read(stateCopy[part], p.Off, p.Len)
}

// readParams reads a piece of a shard's parameters: the float32 masters, or the values that tabs compute with.
func (d *computer) readParams(s *shard, master bool, p fsdp.Piece) ([]device.Bytes, error) {
	if master {
		return s.read(plan.Weight, p.Off, p.Len)
	}
	params, err := s.params(d.dev, d.run.Param())
	if err != nil {
		return nil, err
	}
	return s.cut(params, d.run.Param().Size(), p.Off, p.Len), nil
}

// write stores a piece that came: of a reduced gradient, or of a shard's state.
func (d *computer) write(h fsdp.Header, body device.Bytes) error {
	copy := plan.Gradient
	part, piece := fsdp.StatePiece(d.table.Shard(int(h.Slot)), int(h.Chunk))
	if h.Type == fsdp.TypeState {
		copy = stateCopy[part]
	}
	s, err := d.shard(int(h.Slot))
	if err != nil {
		return err
	}
	return s.write(copy, piece.Off, body)
}

// computeSlot computes the gradient of a slot, by segment, in the type of the wire. It sets the loss and the tokens of r.
func (d *computer) computeSlot(r *fsdp.Ready, stop <-chan struct{}) (gradient []device.Bytes, err error) {
	rows := d.trainer.Rows(int(r.Step))
	from, to := r.Micro(d.run)
	if to = min(to, len(rows)); from >= to { // the last step of an epoch may have fewer micro-batches than slots
		for _, seg := range d.setup.Layout.Segments {
			gradient = append(gradient, device.Heap(make([]byte, seg.Len*d.run.Reduce().Size())))
		}
		return gradient, nil
	}
	var batches []*data.Batch
	for k := from; k < to; k++ {
		b, err := d.trainer.Collate(rows[k])
		if err != nil {
			return nil, err
		}
		batches = append(batches, b)
		r.Tokens += b.Tokens
	}
	if d.gather != nil { // such a slot has one micro-batch, as the lanes do not hold the gradients of all units at a time
		gradient, err = d.gather.compute(d.ctx, r.Work, batches[0], replay.MaskSeed(d.cfg.Training.Seed, int(r.Step), from), stop)
	} else {
		err = d.runBatches(r.Work, batches, from)
	}
	if err != nil {
		return nil, err
	}
	if r.Loss, err = d.trainer.Stepper.ReadLoss(); err != nil {
		return nil, err
	}
	if d.gather == nil {
		defer d.spans.begin(message.Span{What: "pack", Step: int(r.Step) + 1, Slot: r.Slot})()
		err = d.during(fsdp.Encoding, func() (err error) {
			gradient, err = d.wire.all()
			return err
		})
	}
	return gradient, err
}

// runBatches computes micro-batches, numbered from first on, under NO_SHARD. Their gradients are added on the device.
func (d *computer) runBatches(w fsdp.Work, batches []*data.Batch, first int) error {
	st := d.trainer.Stepper
	work := []device.Work{st.ClearWork()}
	for i, b := range batches {
		p, l, err := st.Program(replay.ProgramKey{T: b.T, Gradients: true})
		if err != nil {
			return err
		}
		work = append(work, st.BatchWork(l, b, replay.MaskSeed(d.cfg.Training.Seed, int(w.Step), first+i)), device.Work{Run: p.Executable})
	}
	end := d.spans.onGPU(message.Span{What: "compute", Step: int(w.Step) + 1, Slot: w.Slot})
	return errors.Join(st.Run(work...), end())
}

// evaluateSlot computes the loss of a slot of an evaluation, and of a classifier the confusion matrix. It sets them in r.
func (d *computer) evaluateSlot(r *fsdp.Ready, stop <-chan struct{}) error {
	first := r.Slot * d.setup.BatchRows
	d.host.Emit(message.Envelope{Type: "progress", Progress: &message.Progress{Phase: "eval", Done: int64(first), Total: int64(d.setup.Valid.Len()), Unit: "rows"}})
	b, err := d.setup.BatchFrom(d.setup.Valid, first)
	if err != nil {
		return err
	}
	if err := d.evaluateBatch(r, b, stop); err != nil {
		return err
	}
	r.Tokens = b.Tokens
	if d.run.Eval.Classes == 0 {
		return nil
	}
	confusion := fsdp.Confusion{}
	err = d.trainer.Stepper.CountPredictions(confusion, b)
	r.Confusion = confusion.List()
	return err
}

// evaluateBatch sets the loss of a batch.
func (d *computer) evaluateBatch(r *fsdp.Ready, b *data.Batch, stop <-chan struct{}) (err error) {
	if d.gather == nil {
		end := d.spans.onGPU(message.Span{What: "evaluate", Step: int(r.Step) + 1, Slot: r.Slot})
		r.Loss, err = d.trainer.Stepper.LossSum([]*data.Batch{b})
		return errors.Join(err, end())
	}
	if _, err := d.gather.compute(d.ctx, r.Work, b, 0, stop); err != nil {
		return err
	}
	r.Loss, err = d.trainer.Stepper.ReadLoss()
	return err
}

// apply updates shard i by the reduced gradient that was written to it.
func (d *computer) apply(i int, c fsdp.Commit) error {
	s, err := d.shard(i)
	if err != nil {
		return err
	}
	rate, err := learningRate(d.cfg.Training, c.Step, d.trainer.Total())
	if err != nil {
		return err
	}
	tr := d.cfg.Training
	scalars := optim.Scalars{LR: rate, Tokens: c.Tokens, Step: c.Updates, Number: int(c.Step), Beta1: tr.Beta1, Beta2: tr.Beta2}
	end := d.spans.onGPU(message.Span{What: "apply", Step: int(c.Step) + 1})
	if err := d.during(fsdp.Applying, func() error { return errors.Join(s.update(d.trainer, scalars, c.Factor), end()) }); err != nil {
		return err
	}
	d.spans.memory(int(c.Step) + 1)
	return nil
}

// writeResult writes the result and returns its folder. What the tab has no shard of comes from the room's last checkpoint.
func (d *computer) writeResult() (dir string, err error) {
	if d.gather != nil {
		d.trainer.Mem.ReadTrainedWith(d.gather.masters(d.ctx))
		if err := d.addWhole(); err != nil {
			return "", err
		}
	}
	dir = d.trainer.ResultDir()
	return dir, d.trainer.WriteResult(dir)
}

// addWhole brings all trained parameters to the device if the result has tensors that are computed from them.
func (d *computer) addWhole() error {
	m := d.setup.Model
	if m.Method == nil || !slices.ContainsFunc(m.AdapterTensors(), func(t peft.Tensor) bool { return t.Param == nil }) {
		return nil
	}
	for _, p := range d.trainer.Trained() {
		if err := d.trainer.Mem.AddWhole(p); err != nil {
			return err
		}
	}
	return nil
}

// elementSize is the number of bytes of a parameter's element: of a float32 master, or of the value that tabs compute with.
func elementSize(run *fsdp.Run, master bool) int {
	if master {
		return tensor.F32.Size()
	}
	return run.Param().Size()
}
