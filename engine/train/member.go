package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/dist"
	"llamatab/engine/message"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
)

// Lane is one of the two sockets between a tab and its room.
type Lane int

const (
	ControlLane Lane = iota
	DataLane
)

// Link is a connection to a room. Frames are whole.
type Link interface {
	// Send sends a frame. It does not wait until the frame has arrived.
	Send(l Lane, frame []byte) error
	// Frames are what comes, of both lanes; closed when the connection has ended.
	Frames() <-chan []byte
	Close()
}

// Dial opens both sockets to a room: it says hello on the first and hands back the welcome, then attaches the second.
type Dial func(ctx context.Context, room *message.RoomJob, hello dist.Hello) (Link, dist.Welcome, error)

// RoomRun describes the run of a config for the room that it is to take place in.
func RoomRun(id string, cfg *config.Config, files Files) (*dist.Run, error) {
	s, err := Prepare(cfg, files, unbounded)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	f := cfg.FSDP
	run := &dist.Run{
		ID: id, Strategy: dist.Strategy(f.ShardingStrategy), Wrap: f.AutoWrapPolicy, Slots: f.Slots, Shards: f.Shards(),
		ReduceDType: cfg.Precision.ReduceDType, ParamDType: cfg.Precision.ParamDType, MaxGradNorm: cfg.Training.MaxGradNorm,
	}
	for _, seg := range s.Layout.Segments {
		for _, p := range seg.Params {
			run.Params = append(run.Params, dist.Param{Name: p.Name, Shape: p.Shape, Unit: p.Unit})
		}
	}
	sampler, err := data.NewSampler(data.Plan{
		Rows: len(s.Train.Samples), Batch: cfg.Training.BatchSize, Micro: f.Slots, Epochs: cfg.Training.Epochs, MaxSteps: cfg.Training.MaxSteps,
	})
	if err != nil {
		return nil, err
	}
	run.Steps = sampler.TotalSteps()
	_, err = run.Table()
	return run, err
}

// member is a tab of a room: the engine of its worker. Calls of the worker put work into a queue that one goroutine
// does in order, so that the tab answers the room also while its GPU is busy.
type member struct {
	*runner
	ctx     context.Context
	link    Link
	run     *dist.Run
	table   *dist.Table
	worker  *dist.Worker
	counted int  // steps whose tokens are counted
	fresh   bool // without shards: the parameters are those before the first step
	done    bool

	gradients map[dist.Work][]byte // of slots that are computed, on the wire's type; without epochs
	stop      chan struct{}        // ends the computation under way, or the last one
	busy      dist.Work            // what that is

	shards map[int]*shard // of the goroutine that works
	gather *gatherer      // nil without shards
	trace  func(what string, unit int)

	queue   chan func() (func(), error)
	answers chan func()
	failed  chan error
}

// member trains as a tab of the job's room until the run is over.
func (r *runner) member(ctx context.Context) (*message.Done, error) {
	const next = "Start llamatab again; a room goes on where it stood."
	if r.job.Room == nil || r.job.Dial == nil {
		return nil, fail("room", exitConfig, "Use llamatab train --tabs N, or join a room in the page.", errors.New("fsdp is set, but the job names no room"))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m := &member{runner: r, ctx: ctx, fresh: true, gradients: map[dist.Work][]byte{}, shards: map[int]*shard{}, trace: r.job.Trace,
		queue: make(chan func() (func(), error), 1<<14), answers: make(chan func()), failed: make(chan error, 1)}
	if err := r.writeConfig(); err != nil {
		return nil, err
	}
	r.trainStart = time.Now()
	r.last = r.trainStart
	var working sync.WaitGroup
	working.Go(func() { m.work(ctx) })
	defer func() { // what is on the device goes once nobody works with it
		stop()
		working.Wait()
		m.release()
	}()
	hello := dist.Hello{Code: r.job.Room.Code, Name: r.job.Room.Name, Class: m.class()}
	var lost time.Time // since when the room cannot be reached
	for {
		link, welcome, err := r.job.Dial(ctx, r.job.Room, hello)
		if err != nil {
			var bye *Farewell
			if errors.As(err, &bye) && !bye.Again {
				return nil, fail("room", exitFailed, next, err)
			}
			if lost.IsZero() {
				lost = time.Now()
			}
			if time.Since(lost) > roomPatience {
				return nil, fail("room", exitFailed, next, fmt.Errorf("the room cannot be reached: %w", err))
			}
			select {
			case err := <-m.failed:
				return nil, err
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Second):
			}
			continue
		}
		lost = time.Time{}
		hello.Tab, hello.Token = welcome.Tab, welcome.Token
		if err := m.welcome(welcome); err != nil {
			link.Close()
			return nil, fail("room", exitConfig, "Start the tabs from one run.json and one version of llamatab.", err)
		}
		m.link = link
		done, err := m.talk(ctx)
		link.Close()
		m.link = nil
		m.worker.Disconnected()
		var f *Error
		switch {
		case errors.As(err, &f):
			return nil, err
		case err != nil:
			return nil, fail("room", exitFailed, next, err)
		case done != nil:
			return done, nil
		}
	}
}

// release frees what the member has made.
func (m *member) release() {
	for _, s := range m.shards {
		s.release(m.Trainer)
	}
	if m.gather != nil {
		m.gather.release()
	}
}

// roomPatience is how long a tab looks for its room.
const roomPatience = 2 * time.Minute

// Farewell is the room's goodbye as an error.
type Farewell struct{ dist.Bye }

func (f *Farewell) Error() string { return "the room says " + f.Code + ": " + f.Reason }

// class names all that bits depend on besides the run: adapter and kernels.
func (m *member) class() string {
	i := m.dev.Info()
	return fmt.Sprintf("%s|%s|%s", i.Backend, i.Vendor, i.Architecture)
}

// welcome takes in what the room is for, and checks that it is this run.
func (m *member) welcome(w dist.Welcome) error {
	run := new(dist.Run)
	if err := json.Unmarshal(w.Run, run); err != nil {
		return fmt.Errorf("what the room is for cannot be read: %w", err)
	}
	table, err := run.Table()
	if err != nil {
		return err
	}
	n := 0
	for _, seg := range m.Layout.Segments {
		for _, p := range seg.Params {
			if n >= len(run.Params) || run.Params[n].Name != p.Name || !run.Params[n].Shape.Equal(p.Shape) {
				return fmt.Errorf("the room trains other parameters: number %d is not %s of shape %v", n, p.Name, p.Shape)
			}
			n++
		}
	}
	if n != len(run.Params) || run.Steps != m.Total() || run.Slots != m.cfg.Micro() {
		return fmt.Errorf("the room's run of %d steps, %d slots and %d parameters is not this one of %d, %d and %d",
			run.Steps, run.Slots, len(run.Params), m.Total(), m.cfg.Micro(), n)
	}
	if f := m.cfg.FSDP; run.Strategy != dist.Strategy(f.ShardingStrategy) || run.Wrap != f.AutoWrapPolicy || run.Strategy.Sharded() && run.Shards != f.Shards() {
		return fmt.Errorf("the room shares the run by %s in %d shards, wrapped by %s, and this tab by %s in %d, wrapped by %s",
			run.Strategy, run.Shards, run.Wrap, f.ShardingStrategy, f.Shards(), f.AutoWrapPolicy)
	}
	if m.worker == nil {
		m.run, m.table = run, table
		if m.shared != nil {
			if m.gather, err = newGatherer(m); err != nil {
				return err
			}
		}
		m.worker = dist.NewWorker(run, table, m, m)
	}
	return nil
}

// talk serves one connection until it ends, or until the run is over and what it leaves is written or not wanted.
func (m *member) talk(ctx context.Context) (*message.Done, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	m.worker.Connected(time.Now())
	result, saving := make(chan *message.Done, 1), false
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-m.failed:
			return nil, err
		case done := <-result:
			return done, nil
		case answer := <-m.answers:
			answer()
		case <-tick.C:
			m.worker.Tick(time.Now())
			if !m.done || saving {
				continue
			}
			switch m.host.Control() {
			case message.Stop:
				return &message.Done{}, nil
			case message.Save:
				saving = true
				m.queue <- func() (func(), error) {
					done, err := m.leave(ctx)
					result <- done
					return nil, err
				}
			}
		case b, ok := <-m.link.Frames():
			if !ok {
				return nil, nil
			}
			if bye, err := m.receive(b); err != nil || bye != nil {
				if bye != nil && bye.Again {
					return nil, nil
				}
				return nil, errors.Join(err, &Farewell{*bye})
			}
		}
	}
}

// post has f called where the worker is, once there is a connection.
func (m *member) post(ctx context.Context, f func()) error {
	select {
	case m.answers <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *member) receive(b []byte) (*dist.Bye, error) {
	f, err := dist.Parse(b)
	if err != nil {
		return &dist.Bye{Code: "protocol"}, err
	}
	if f.Type.Bulk() {
		m.worker.ReceiveBulk(time.Now(), f)
		return nil, nil
	}
	msg, err := dist.Decode(f)
	if err != nil {
		return &dist.Bye{Code: "protocol"}, err
	}
	if bye, ok := msg.(dist.Bye); ok {
		return &bye, nil
	}
	m.worker.Receive(time.Now(), msg)
	return nil, nil
}

// work does what is queued, in order.
func (m *member) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-m.queue:
			answer, err := job()
			if err != nil {
				m.failed <- err
				return
			}
			if answer == nil {
				continue
			}
			select {
			case m.answers <- answer:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Send implements dist.Port.
func (m *member) Send(msg dist.Message) { m.link.Send(ControlLane, dist.Encode(msg)) }

// SendPiece implements dist.Port.
func (m *member) SendPiece(h dist.Header, p dist.Piece) {
	send := func(body []byte) {
		if m.link != nil { // else the room will ask again
			f := dist.Frame{Header: h, Body: body}
			m.link.Send(DataLane, f.Append(make([]byte, 0, dist.HeaderLen+len(body))))
		}
	}
	if h.Type == dist.TypeGradient {
		size := m.run.Reduce().Size()
		if g, ok := m.gradients[dist.Work{Step: h.Step, Slot: int(h.Slot)}]; ok {
			send(g[size*p.Off : size*(p.Off+p.Len)])
		}
		return
	}
	m.queue <- func() (func(), error) {
		body, err := m.part(h, p)
		return func() {
			if body != nil { // else the room learns that the shard is gone
				send(body)
			}
		}, err
	}
}

// part reads what a frame with header h carries of a shard.
func (m *member) part(h dist.Header, p dist.Piece) ([]byte, error) {
	s := m.shards[int(h.Slot)]
	if s == nil {
		return nil, nil
	}
	if h.Type == dist.TypeParam {
		size := m.run.Param().Size()
		wire, err := s.params(m.dev, m.run.Param())
		if err != nil {
			return nil, err
		}
		return wire[size*p.Off : size*(p.Off+p.Len)], nil
	}
	part, _ := dist.StatePiece(m.table.Shard(int(h.Slot)), int(h.Chunk))
	return s.read(m.dev, stateCopy[part], p.Off, p.Len)
}

// stateCopy are the copies of a segment that a shard's state consists of.
var stateCopy = [3]int{plan.Weight, plan.Moment1, plan.Moment2}

// shard is the memory of shard i, which is made where it is not there.
func (m *member) shard(i int) (*shard, error) {
	if s := m.shards[i]; s != nil {
		return s, nil
	}
	s, err := m.newShard(i)
	if err == nil {
		m.shards[i] = s
	}
	return s, err
}

// Put implements dist.Engine.
func (m *member) Put(f dist.Frame) {
	if f.Type == dist.TypeParam || f.Type == dist.TypeMaster {
		m.gather.put(f)
		return
	}
	i, copy := int(f.Slot), plan.Gradient
	part, piece := dist.StatePiece(m.table.Shard(i), int(f.Chunk))
	if f.Type == dist.TypeState {
		copy, m.fresh = stateCopy[part], false
	}
	m.queue <- func() (func(), error) {
		s, err := m.shard(i)
		if err == nil {
			err = s.write(m.dev, copy, piece.Off, f.Body)
		}
		return nil, err
	}
}

// Init implements dist.Engine. Without shards, the parameters before the first step are there from the beginning.
func (m *member) Init(i int) {
	there := m.gather == nil && m.fresh
	m.fresh = true
	m.queue <- func() (func(), error) {
		s, err := m.shard(i)
		if err == nil && !there {
			err = s.init(m.Trainer)
		}
		return nil, err
	}
}

// Drop implements dist.Engine. Without shards, the memory stays for what comes in its place.
func (m *member) Drop(i int) {
	m.fresh = false
	if m.gather == nil {
		return
	}
	m.queue <- func() (func(), error) {
		if s := m.shards[i]; s != nil {
			delete(m.shards, i)
			s.release(m.Trainer)
		}
		return nil, nil
	}
}

// Gathered implements dist.Engine.
func (m *member) Gathered(unit int) { m.gather.gathered(unit) }

// Forget implements dist.Engine. A slot under way is ended at the next unit, or without shards computed to its end.
func (m *member) Forget(w dist.Work) {
	w = dist.Work{Step: w.Step, Slot: w.Slot}
	delete(m.gradients, w)
	if m.stop != nil && m.busy == w {
		close(m.stop)
		m.stop = nil
	}
}

// Compute implements dist.Engine: one micro-batch, forward and backward, and its gradient on the wire's type.
func (m *member) Compute(w dist.Work) {
	stop := make(chan struct{})
	m.stop, m.busy = stop, dist.Work{Step: w.Step, Slot: w.Slot}
	m.queue <- func() (func(), error) {
		r := dist.Ready{Work: w}
		gradient, err := m.slot(&r, stop)
		if err != nil && !errors.Is(err, errForgotten) {
			return nil, err
		}
		return func() {
			if err == nil {
				m.gradients[dist.Work{Step: w.Step, Slot: w.Slot}] = gradient
			}
			m.worker.Computed(time.Now(), r)
		}, nil
	}
}

// slot computes a slot. What it was is filled in.
func (m *member) slot(r *dist.Ready, stop <-chan struct{}) (gradient []byte, err error) {
	rows := m.sampler.Step(int(r.Step))
	if r.Slot >= len(rows) { // the last step of an epoch may have fewer
		return make([]byte, m.table.Len*m.run.Reduce().Size()), nil
	}
	b := m.collate(rows[r.Slot])
	seed := maskSeed(m.cfg.Training.Seed, int(r.Step), r.Slot)
	if m.gather != nil {
		gradient, err = m.gather.compute(m.ctx, r.Step, b, seed, stop)
	} else {
		gradient, err = m.whole(b, seed)
	}
	if err != nil {
		return nil, err
	}
	loss, err := m.dev.Read(m.stepper.loss, 0, 1)
	if err != nil {
		return nil, err
	}
	r.Loss, r.Tokens = floatsOf(loss)[0], b.Tokens
	return gradient, nil
}

// whole computes a micro-batch where all parameters are here.
func (m *member) whole(b *data.Batch, seed uint64) ([]byte, error) {
	p, l, err := m.stepper.program(programKey{T: b.T, gradients: true})
	if err != nil {
		return nil, err
	}
	if err := m.stepper.run(device.Work{Run: m.stepper.begin.Executable}, device.Work{Buf: m.stepper.batch, Data: l.encode(b, seed)},
		device.Work{Run: p.Executable}); err != nil {
		return nil, err
	}
	return m.gradient()
}

// gradient reads all gradients back, segment by segment, rounded for the wire.
func (m *member) gradient() ([]byte, error) {
	d := m.run.Reduce()
	out := make([]byte, 0, m.table.Len*d.Size())
	for i, seg := range m.Layout.Segments {
		raw, err := m.dev.Read(m.mem.segments[i][plan.Gradient], 0, seg.Len)
		if err != nil {
			return nil, err
		}
		for j, p := range seg.Params {
			if out, err = narrow(out, raw[4*seg.Offsets[j]:][:4*p.Shape.Size()], d); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// Apply implements dist.Engine.
func (m *member) Apply(i int, c dist.Commit) {
	m.fresh = false
	m.queue <- func() (func(), error) {
		s, err := m.shard(i)
		if err != nil {
			return nil, err
		}
		rate, err := m.rate(c)
		if err != nil {
			return nil, err
		}
		tr := m.cfg.Training
		scalars := optim.Scalars{LR: rate, Tokens: c.Tokens, Step: c.Updates, Number: int(c.Step), Beta1: tr.Beta1, Beta2: tr.Beta2}
		if err := s.update(m.Trainer, scalars, c.Factor); err != nil {
			return nil, err
		}
		m.happened("apply", i)
		return func() { m.worker.Applied(time.Now(), i) }, nil
	}
}

// happened puts an event of a step on the trace.
func (m *member) happened(what string, unit int) {
	if m.trace != nil {
		m.trace(what, unit)
	}
}

// Committed implements dist.Engine.
func (m *member) Committed(c dist.Commit) {
	rate, err := m.rate(c)
	if err != nil {
		m.failed <- err
		return
	}
	if !c.Applied {
		event(m.host, "warning", "nonfinite_step_skipped", int(c.Step)+1, nil, "step %d: its gradient was not finite, and the update was not applied", c.Step+1)
	}
	m.tell(c, rate)
}

// rate is the learning rate of a step.
func (m *member) rate(c dist.Commit) (float64, error) {
	tr := m.cfg.Training
	mult, err := optim.Multiplier(tr.Scheduler, int(c.Step), tr.WarmupSteps, m.Total(), tr.LearningRate)
	return tr.LearningRate * mult, err
}

// tell puts a step on record.
func (m *member) tell(c dist.Commit, rate float64) {
	now := time.Now()
	m.Trainer.done = int(c.Step) + 1
	step := &message.Step{Step: int(c.Step) + 1, Epoch: m.sampler.Epoch(int(c.Step) + 1), Loss: message.Float(c.Loss), GradNorm: message.Float(c.Norm),
		LearningRate: rate, Tokens: c.Tokens, StepSeconds: now.Sub(m.last).Seconds(), GPUBytes: m.dev.Usage().Total()}
	step.TokensPerSecond = float64(c.Tokens) / max(step.StepSeconds, 1e-9)
	for ; m.counted <= int(c.Step); m.counted++ { // a tab that joined late counts what came before as well
		for _, rows := range m.sampler.Step(m.counted) {
			m.seen += int64(m.collate(rows).Inputs)
		}
	}
	step.NumInputTokensSeen = m.seen
	m.last = now
	m.tokens += int64(c.Tokens)
	if m.firstStep == 0 {
		m.firstStep = now.Sub(m.start).Seconds()
	}
	m.host.Emit(message.Envelope{Type: "step", Step: step}, message.Envelope{Type: "progress", Progress: &message.Progress{
		Phase: "train", Done: int64(step.Step), Total: int64(m.Total()), Unit: "steps"}})
}

// Finished implements dist.Engine. All tabs can write what the run leaves: the host says which is to.
func (m *member) Finished() {
	m.done = true
	newProgress(m.host, "wait", "", 0)
}

// leave writes the result. Where this tab has a part only, the rest comes from the room's last checkpoint.
func (m *member) leave(ctx context.Context) (*message.Done, error) {
	if m.gather != nil {
		m.mem.remote = m.gather.masters(ctx)
		if err := m.assemble(); err != nil {
			return nil, err
		}
	}
	dir := modelDir
	if m.Method != nil {
		dir = adapterDir
	}
	if err := errors.Join(m.result(dir), m.out.commit(dir)); err != nil {
		return nil, err
	}
	return &message.Done{Files: []string{dir}}, m.summary()
}
