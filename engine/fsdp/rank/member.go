package rank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/train"
)

// NewRun describes the run of a config for a room, and counts the tokens of its slots.
func NewRun(id string, cfg *config.Config, files report.Files) (*fsdp.Run, SlotTokens, error) {
	s, err := replay.Prepare(cfg, files, device.UnboundedLimits())
	if err != nil {
		return nil, nil, err
	}
	defer s.Model.Close()
	f := cfg.FSDP
	run := &fsdp.Run{
		ID: id, Strategy: fsdp.Strategy(f.ShardingStrategy), Wrap: f.AutoWrapPolicy, Slots: f.Slots, Shards: f.Shards(), SumFirst: !f.Reproducible,
		ReduceDType: cfg.Precision.ReduceDType, ParamDType: cfg.Precision.ParamDType, MaxGradNorm: cfg.Training.MaxGradNorm,
	}
	for _, seg := range s.Layout.Segments {
		for _, p := range seg.Params {
			run.Params = append(run.Params, fsdp.Param{Name: p.Name, Shape: p.Shape, Unit: p.Unit})
		}
	}
	sampler, err := data.NewSampler(data.Plan{
		Rows: len(s.Train.Samples), Batch: cfg.Training.BatchSize, Micro: f.Slots, Epochs: cfg.Training.Epochs, MaxSteps: cfg.Training.MaxSteps,
	})
	if err != nil {
		return nil, nil, err
	}
	run.Steps = sampler.TotalSteps()
	if run.Eval, err = evaluation(s); err != nil {
		return nil, nil, err
	}
	tokens, err := slotTokens(s, cfg)
	if err != nil {
		return nil, nil, err
	}
	_, err = run.Table()
	return run, tokens, err
}

// member is a tab of a room: the engine of its worker. Calls of the worker put work into a queue that one goroutine
// does in order, so that the tab answers the room also while its GPU is busy.
type member struct {
	loop    *train.Loop
	trainer *train.Trainer
	setup   *replay.Setup
	cfg     *config.Config
	host    report.Host
	dev     device.Device
	ctx     context.Context
	link    Link
	run     *fsdp.Run
	table   *fsdp.Table
	worker  *fsdp.Worker
	counted int           // steps whose tokens are counted
	held    *message.Step // the line of a step that still lacks an evaluation
	fresh   bool          // without shards: the parameters are those before the first step
	done    bool
	saving  bool               // the result is being written, which outlives a connection
	written chan *message.Done // it is written

	gradients map[fsdp.Work][]device.Bytes // of slots that are computed, by segment, on the wire's type; without epochs
	asked     map[fsdp.Header]bool         // pieces of shards that are to be read and sent
	stop      chan struct{}                // ends the computation under way, or the last one
	busy      fsdp.Work                    // what that is

	shards   map[int]*shard // of the goroutine that works
	gather   *gatherer      // nil without shards
	arrivals *arrivals      // units on their way; of the talker
	places   places         // of all parameters
	wire     *wire          // of gradients
	spans    *tracer
	clock    *fsdp.Stopwatch
	usage    device.Usage // as the room knows it

	queue   chan func() (func(), error)
	answers chan func()
	failed  chan error
}

// Room is the room that a tab trains in.
type Room struct {
	Job   *message.RoomJob // where it is and what to say there
	Dial  Dial
	Spans bool // the host is told what the tab does and when
}

// Join trains as a tab of a room until the run is over.
func Join(ctx context.Context, r *train.Loop, room Room) (*message.Done, error) {
	const next = "Start llamatab again; a room goes on where it stood."
	if room.Job == nil || room.Dial == nil {
		return nil, report.Fail("room", report.ExitConfig, "Use llamatab train --tabs N, or join a room in the page.", errors.New("fsdp is set, but the job names no room"))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m := &member{loop: r, trainer: r.Trainer, setup: r.Trainer.Setup, cfg: r.Trainer.Cfg, host: r.Trainer.Host, dev: r.Trainer.Dev, ctx: ctx, fresh: true, gradients: map[fsdp.Work][]device.Bytes{}, asked: map[fsdp.Header]bool{}, shards: map[int]*shard{}, spans: newTracer(room.Spans, r.Trainer.Host, r.Trainer.Dev), places: placesOf(r.Trainer.Setup.Layout), clock: fsdp.NewStopwatch(time.Now()), written: make(chan *message.Done, 1),
		queue: make(chan func() (func(), error), 1<<14), answers: make(chan func()), failed: make(chan error, 1)}
	if err := r.WriteConfig(); err != nil {
		return nil, err
	}
	r.TrainStart = time.Now()
	r.Trainer.Last = r.TrainStart
	var working sync.WaitGroup
	working.Go(func() { m.work(ctx) })
	defer func() { // what is on the device goes once nobody works with it
		stop()
		working.Wait()
		m.release()
	}()
	hello := fsdp.Hello{Code: room.Job.Code, Name: room.Job.Name, Class: m.class()}
	var lost time.Time // since when the room cannot be reached
	for {
		link, welcome, err := room.Dial(ctx, room.Job, hello)
		if err != nil {
			var bye *Farewell
			if errors.As(err, &bye) && !bye.Again {
				return nil, report.Fail("room", report.ExitFailed, next, err)
			}
			if lost.IsZero() {
				lost = time.Now()
			}
			if time.Since(lost) > roomPatience {
				return nil, report.Fail("room", report.ExitFailed, next, fmt.Errorf("the room cannot be reached: %w", err))
			}
			select {
			case err := <-m.failed:
				return nil, err
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Second/2 + rand.N(time.Second)): // not a whole class in the same moment
			}
			continue
		}
		lost = time.Time{}
		hello.Tab, hello.Token = welcome.Tab, welcome.Token
		if err := m.welcome(welcome); err != nil {
			link.Close()
			return nil, report.Fail("room", report.ExitConfig, "Start the tabs from one run.json and one version of llamatab.", err)
		}
		m.link = link
		done, err := m.talk(ctx)
		link.Close()
		m.link = nil
		m.worker.Disconnected()
		var f *report.Error
		switch {
		case errors.As(err, &f):
			return nil, err
		case err != nil:
			return nil, report.Fail("room", report.ExitFailed, next, err)
		case done != nil:
			return done, nil
		}
	}
}

// release frees what the member has made.
func (m *member) release() {
	for _, s := range m.shards {
		s.release(m.trainer)
	}
	if m.gather != nil {
		m.gather.release()
	}
	if m.wire != nil {
		m.wire.release()
	}
}

// roomPatience is how long a tab looks for its room.
const roomPatience = 2 * time.Minute

// Farewell is the room's goodbye as an error.
type Farewell struct{ fsdp.Bye }

func (f *Farewell) Error() string { return "the room says " + f.Code + ": " + f.Reason }

// class names all that bits depend on besides the run: adapter and kernels.
func (m *member) class() string {
	i := m.dev.Info()
	return fmt.Sprintf("%s|%s|%s", i.Backend, i.Vendor, i.Architecture)
}

// welcome takes in what the room is for, and checks that it is this run.
func (m *member) welcome(w fsdp.Welcome) error {
	run := new(fsdp.Run)
	if err := json.Unmarshal(w.Run, run); err != nil {
		return fmt.Errorf("what the room is for cannot be read: %w", err)
	}
	table, err := run.Table()
	if err != nil {
		return err
	}
	n := 0
	for _, seg := range m.setup.Layout.Segments {
		for _, p := range seg.Params {
			if n >= len(run.Params) || run.Params[n].Name != p.Name || !run.Params[n].Shape.Equal(p.Shape) {
				return fmt.Errorf("the room trains other parameters: number %d is not %s of shape %v", n, p.Name, p.Shape)
			}
			n++
		}
	}
	if n != len(run.Params) || run.Steps != m.trainer.Total() || run.Slots != m.cfg.Micro() || run.SumFirst == m.cfg.FSDP.Reproducible {
		return fmt.Errorf("the room's run of %d steps, %d slots and %d parameters is not this one of %d, %d and %d",
			run.Steps, run.Slots, len(run.Params), m.trainer.Total(), m.cfg.Micro(), n)
	}
	if f := m.cfg.FSDP; run.Strategy != fsdp.Strategy(f.ShardingStrategy) || run.Wrap != f.AutoWrapPolicy || run.Strategy.Sharded() && run.Shards != f.Shards() {
		return fmt.Errorf("the room shares the run by %s in %d shards, wrapped by %s, and this tab by %s in %d, wrapped by %s",
			run.Strategy, run.Shards, run.Wrap, f.ShardingStrategy, f.Shards(), f.AutoWrapPolicy)
	}
	eval, err := evaluation(m.setup)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(run.Eval, eval) {
		return errors.New("the room evaluates at other steps, or on other rows, than this tab")
	}
	if m.worker == nil {
		m.run, m.table = run, table
		if m.wire, err = newWire(m.trainer.Mem, plan.Gradient, run.Reduce()); err != nil {
			return err
		}
		if m.setup.Shared != nil {
			m.arrivals = &arrivals{m: m, wanted: map[int]*image{}}
			if m.gather, err = newGatherer(m); err != nil {
				return err
			}
		}
		m.worker = fsdp.NewWorker(run, table, m, m)
	}
	return nil
}

// talk serves one connection until it ends, or until the run is over and what it leaves is written or not wanted.
func (m *member) talk(ctx context.Context) (*message.Done, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	m.usage = device.Usage{}
	m.worker.Connected(time.Now())
	for {
		m.clock.Set(time.Now(), fsdp.Fetching, m.worker.Waits())
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-m.failed:
			return nil, err
		case done := <-m.written:
			return done, nil
		case answer := <-m.answers:
			answer()
		case <-tick.C:
			m.worker.Tick(time.Now())
			if !m.done || m.saving {
				continue
			}
			switch m.host.Control() {
			case message.Stop:
				return &message.Done{}, nil
			case message.Save:
				m.saving = true
				own := m.worker.Whole()
				m.queue <- func() (func(), error) {
					if m.gather != nil {
						m.gather.from(own)
					}
					done, err := m.leave(ctx)
					m.written <- done
					return nil, err
				}
			}
		case a, ok := <-m.link.Frames():
			if !ok {
				return nil, nil
			}
			if bye, err := m.receive(a); err != nil || bye != nil {
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

func (m *member) receive(a Arrival) (*fsdp.Bye, error) {
	if a.Body != nil {
		h, err := fsdp.ParseHeader(a.Head)
		if err != nil {
			return &fsdp.Bye{Code: "protocol"}, err
		}
		m.worker.ReceiveBulk(time.Now(), h, a.Body)
		return nil, nil
	}
	f, err := fsdp.Parse(a.Head)
	if err != nil {
		return &fsdp.Bye{Code: "protocol"}, err
	}
	msg, err := fsdp.Decode(f)
	if err != nil {
		return &fsdp.Bye{Code: "protocol"}, err
	}
	if bye, ok := msg.(fsdp.Bye); ok {
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

// Send implements fsdp.Port.
func (m *member) Send(msg fsdp.Message) {
	if s, ok := msg.(fsdp.Status); ok {
		u := m.dev.Usage()
		s.Spent, s.Memory = m.clock.Spent(time.Now()), u.Total()
		if u != m.usage {
			m.usage, s.Usage = u, u.Map()
		}
		msg = s
	}
	m.link.Send(ControlLane, fsdp.Encode(msg))
}

// during lets f happen as an activity of the goroutine that works.
func (m *member) during(a fsdp.Activity, f func() error) error {
	before := m.clock.Turn(time.Now(), a)
	defer func() { m.clock.Turn(time.Now(), before) }()
	return f()
}

// SendPiece implements fsdp.Port.
func (m *member) SendPiece(h fsdp.Header, p fsdp.Piece) {
	send := func(body []device.Bytes) {
		if m.link == nil { // the room will ask again
			return
		}
		for _, b := range body {
			h.Len += uint32(b.Len())
		}
		switch h.Type {
		case fsdp.TypeGradient:
			m.spans.mark(message.Span{What: "send", Step: int(h.Step) + 1, Slot: int(h.Slot), Bytes: int64(h.Len)})
		case fsdp.TypeParam:
			m.spans.mark(message.Span{What: "publish", Step: int(h.Step) + 1, Bytes: int64(h.Len)})
		}
		sent := m.clock.Begin(time.Now(), fsdp.Sending)
		m.link.Send(DataLane, h.Append(nil), body...)
		sent(time.Now())
	}
	if h.Type == fsdp.TypeGradient {
		if g, ok := m.gradients[fsdp.Work{Step: h.Step, Slot: int(h.Slot)}]; ok {
			send(m.places.cut(g, m.run.Reduce().Size(), p.Off, p.Len))
		}
		return
	}
	asked := h
	if m.asked[asked] { // again, as the answer takes its time
		return
	}
	m.asked[asked] = true
	m.queue <- func() (func(), error) {
		var body []device.Bytes
		err := m.during(fsdp.Encoding, func() (err error) {
			body, err = m.part(h, p)
			return err
		})
		return func() {
			delete(m.asked, asked)
			if body != nil { // else the room learns that the shard is gone
				send(body)
			}
		}, err
	}
}

// part reads what a frame with header h carries of a shard.
func (m *member) part(h fsdp.Header, p fsdp.Piece) ([]device.Bytes, error) {
	s := m.shards[int(h.Slot)]
	if s == nil {
		return nil, nil
	}
	if h.Type == fsdp.TypeParam {
		return m.own(s, false, p)
	}
	part, _ := fsdp.StatePiece(m.table.Shard(int(h.Slot)), int(h.Chunk))
	return s.read(m.dev, stateCopy[part], p.Off, p.Len)
}

// own is a piece of a shard's parameters: as tabs compute with them, or in full.
func (m *member) own(s *shard, master bool, p fsdp.Piece) ([]device.Bytes, error) {
	if master {
		return s.read(m.dev, plan.Weight, p.Off, p.Len)
	}
	params, err := s.params(m.run.Param())
	if err != nil {
		return nil, err
	}
	return s.cut(params, m.run.Param().Size(), p.Off, p.Len), nil
}

// stateCopy are the copies of a segment that a shard's state consists of.
var stateCopy = [3]int{plan.Weight, plan.Moment1, plan.Moment2}

// shard is the memory of shard i, which is made where it is not there.
func (m *member) shard(i int) (*shard, error) {
	if s := m.shards[i]; s != nil {
		return s, nil
	}
	s, err := newShard(m.trainer, i)
	if err == nil {
		m.shards[i] = s
	}
	return s, err
}

// Put implements fsdp.Engine.
func (m *member) Put(f fsdp.Header, b fsdp.Body) {
	body := b.(device.Bytes)
	switch f.Type {
	case fsdp.TypeParam, fsdp.TypeMaster:
		m.arrivals.put(f, body)
		return
	case fsdp.TypeReduced:
		m.spans.mark(message.Span{What: "reduced", Step: int(f.Step) + 1, Bytes: int64(f.Len)})
	}
	i, copy := int(f.Slot), plan.Gradient
	part, piece := fsdp.StatePiece(m.table.Shard(i), int(f.Chunk))
	if f.Type == fsdp.TypeState {
		copy, m.fresh = stateCopy[part], false
	}
	m.queue <- func() (func(), error) {
		s, err := m.shard(i)
		if err == nil {
			err = s.write(m.dev, copy, piece.Off, body)
		}
		return nil, err
	}
}

// Init implements fsdp.Engine. Without shards, the parameters before the first step are there from the beginning.
func (m *member) Init(i int) {
	there := m.gather == nil && m.fresh
	m.fresh = true
	m.queue <- func() (func(), error) {
		s, err := m.shard(i)
		if err == nil && !there {
			err = s.init(m.trainer)
		}
		return nil, err
	}
}

// Drop implements fsdp.Engine. Without shards, the memory stays for what comes in its place.
func (m *member) Drop(i int) {
	m.fresh = false
	if m.gather == nil {
		return
	}
	m.queue <- func() (func(), error) {
		if s := m.shards[i]; s != nil {
			delete(m.shards, i)
			s.release(m.trainer)
		}
		return nil, nil
	}
}

// Gathered implements fsdp.Engine.
func (m *member) Gathered(unit int) { m.arrivals.complete(unit) }

// Forget implements fsdp.Engine. A slot under way is ended at the next unit, or without shards computed to its end.
func (m *member) Forget(w fsdp.Work) {
	if !w.Eval {
		delete(m.gradients, fsdp.Work{Step: w.Step, Slot: w.Slot})
	}
	if m.stop != nil && m.busy == w.Any() {
		close(m.stop)
		m.stop = nil
	}
}

// Compute implements fsdp.Engine: one micro-batch, forward and backward, and its gradient on the wire's type; or one of an
// evaluation.
func (m *member) Compute(w fsdp.Work) {
	stop := make(chan struct{})
	m.stop, m.busy = stop, w.Any()
	own := m.worker.Whole()
	m.queue <- func() (func(), error) {
		if m.gather != nil {
			m.gather.from(own)
		}
		r := fsdp.Ready{Work: w}
		var gradient []device.Bytes
		err := m.during(fsdp.Computing, func() (err error) {
			if w.Eval {
				return m.evaluateSlot(&r, stop)
			}
			gradient, err = m.slot(&r, stop)
			return err
		})
		if err != nil && !errors.Is(err, errForgotten) {
			return nil, err
		}
		return func() {
			if err == nil && !w.Eval {
				m.gradients[fsdp.Work{Step: w.Step, Slot: w.Slot}] = gradient
			}
			m.worker.Computed(time.Now(), r)
		}, nil
	}
}

// slot computes a slot: its gradient, by segment, as it travels. What it was is filled in.
func (m *member) slot(r *fsdp.Ready, stop <-chan struct{}) (gradient []device.Bytes, err error) {
	rows := m.trainer.Sampler.Step(int(r.Step))
	from, to := r.Micro(m.run)
	if to = min(to, len(rows)); from >= to { // the last step of an epoch may have fewer
		for _, seg := range m.setup.Layout.Segments {
			gradient = append(gradient, device.Heap(make([]byte, seg.Len*m.run.Reduce().Size())))
		}
		return gradient, nil
	}
	var batches []*data.Batch
	for k := from; k < to; k++ {
		batches = append(batches, m.trainer.Collate(rows[k]))
		r.Tokens += batches[k-from].Tokens
	}
	if m.gather != nil { // one micro-batch: gradients of all units do not lie on the device at a time
		gradient, err = m.gather.compute(m.ctx, r.Work, batches[0], replay.MaskSeed(m.cfg.Training.Seed, int(r.Step), from), stop)
	} else {
		err = m.whole(r.Work, batches, from)
	}
	if err != nil {
		return nil, err
	}
	if r.Loss, err = m.trainer.Stepper.ReadLoss(); err != nil {
		return nil, err
	}
	if m.gather == nil {
		defer m.spans.begin(message.Span{What: "pack", Step: int(r.Step) + 1, Slot: r.Slot})()
		err = m.during(fsdp.Encoding, func() (err error) {
			gradient, err = m.wire.all()
			return err
		})
	}
	return gradient, err
}

// whole computes micro-batches, numbered from first on, where all parameters are here. Their gradients add up on the
// device.
func (m *member) whole(w fsdp.Work, batches []*data.Batch, first int) error {
	work := []device.Work{{Run: m.trainer.Stepper.Begin.Executable}}
	for i, b := range batches {
		p, l, err := m.trainer.Stepper.Program(replay.ProgramKey{T: b.T, Gradients: true})
		if err != nil {
			return err
		}
		work = append(work, device.Work{Buf: m.trainer.Stepper.Batch, Data: l.Encode(b, replay.MaskSeed(m.cfg.Training.Seed, int(w.Step), first+i))}, device.Work{Run: p.Executable})
	}
	end := m.spans.onGPU(message.Span{What: "compute", Step: int(w.Step) + 1, Slot: w.Slot})
	return errors.Join(m.trainer.Stepper.Run(work...), end())
}

// Apply implements fsdp.Engine.
func (m *member) Apply(i int, c fsdp.Commit) {
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
		end := m.spans.onGPU(message.Span{What: "apply", Step: int(c.Step) + 1})
		if err := m.during(fsdp.Applying, func() error { return errors.Join(s.update(m.trainer, scalars, c.Factor), end()) }); err != nil {
			return nil, err
		}
		m.spans.memory(int(c.Step) + 1)
		return func() { m.worker.Applied(time.Now(), i) }, nil
	}
}

// Committed implements fsdp.Engine.
func (m *member) Committed(c fsdp.Commit) {
	rate, err := m.rate(c)
	if err != nil {
		m.failed <- err
		return
	}
	if !c.Applied {
		report.Event(m.host, "warning", "nonfinite_step_skipped", int(c.Step)+1, nil, "step %d: its gradient was not finite, and the update was not applied", c.Step+1)
	}
	m.line(c, rate)
}

// rate is the learning rate of a step.
func (m *member) rate(c fsdp.Commit) (float64, error) {
	tr := m.cfg.Training
	mult, err := optim.Multiplier(tr.Scheduler, int(c.Step), tr.WarmupSteps, m.trainer.Total(), tr.LearningRate)
	return tr.LearningRate * mult, err
}

// line puts a step on record, one after which the loss on held-out rows is measured together with that.
func (m *member) line(c fsdp.Commit, rate float64) {
	now := time.Now()
	m.trainer.Submitted = int(c.Step) + 1
	step := &message.Step{Step: int(c.Step) + 1, Epoch: m.trainer.Sampler.Epoch(int(c.Step) + 1), Loss: message.Float(c.Loss), GradNorm: message.Float(c.Norm),
		LearningRate: rate, Tokens: c.Tokens, StepSeconds: now.Sub(m.trainer.Last).Seconds(), GPUBytes: m.dev.Usage().Total()}
	step.TokensPerSecond = float64(c.Tokens) / max(step.StepSeconds, 1e-9)
	for ; m.counted <= int(c.Step); m.counted++ { // a tab that joined late counts what came before as well
		for _, rows := range m.trainer.Sampler.Step(m.counted) {
			m.trainer.Seen += int64(m.trainer.Collate(rows).Inputs)
		}
	}
	step.NumInputTokensSeen = m.trainer.Seen
	m.trainer.Last = now
	m.loop.Tokens += int64(c.Tokens)
	if m.loop.FirstStep == 0 {
		m.loop.FirstStep = now.Sub(m.loop.Options.Start).Seconds()
	}
	if c.Applied && c.Tokens > 0 {
		m.trainer.Watch.Band.Spike(c.Loss) // the mean, which evaluations are held against
	}
	if m.run.Eval.Due(uint64(step.Step)) {
		m.held = step
		return
	}
	m.tell(step)
}

func (m *member) tell(step *message.Step) {
	m.host.Emit(message.Envelope{Type: "step", Step: step}, message.Envelope{Type: "progress", Progress: &message.Progress{
		Phase: "train", Done: int64(step.Step), Total: int64(m.trainer.Total()), Unit: "steps"}})
}

// Finished implements fsdp.Engine. All tabs can write what the run leaves: the host says which is to.
func (m *member) Finished() {
	m.done = true
	report.NewProgress(m.host, "wait", "", 0)
}

// leave writes the result. Where this tab has a part only, the rest comes from the room's last checkpoint.
func (m *member) leave(ctx context.Context) (*message.Done, error) {
	if m.gather != nil {
		m.trainer.Mem.Remote = m.gather.masters(ctx)
		if err := m.assemble(); err != nil {
			return nil, err
		}
	}
	dir := train.ModelDir
	if m.setup.Model.Method != nil {
		dir = train.AdapterDir
	}
	if err := errors.Join(m.trainer.Result(dir), m.trainer.Out.Commit(dir)); err != nil {
		return nil, err
	}
	return &message.Done{Files: []string{dir}}, m.loop.Summary()
}
