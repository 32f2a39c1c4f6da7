package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/dist"
	"llamatab/engine/graph"
	"llamatab/engine/message"
	"llamatab/engine/optim"
	"llamatab/engine/plan"
	"llamatab/engine/tensor"
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

func (s *Setup) inRoom() bool { return s.cfg != nil && s.cfg.FSDP != nil }

// RoomRun describes the run of a config for the room that it is to take place in.
func RoomRun(id string, cfg *config.Config, files Files) (*dist.Run, error) {
	s, err := Prepare(cfg, files, unbounded)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	f := cfg.FSDP
	run := &dist.Run{
		ID: id, Strategy: dist.Strategy(f.ShardingStrategy), Wrap: f.AutoWrapPolicy, Slots: f.Slots, Shards: 1,
		ReduceDType: cfg.Precision.ReduceDType, ParamDType: "float32", MaxGradNorm: cfg.Training.MaxGradNorm,
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
	link    Link
	run     *dist.Run
	table   *dist.Table
	worker  *dist.Worker
	places  []place // of all parameters in order, by where they begin among the flat ones
	apply   *graph.Program
	counted int  // steps whose tokens are counted
	fresh   bool // the parameters are those before the first step
	done    bool

	gradients map[dist.Work][]byte // of slots that are computed, on the wire's type; without epochs
	queue     chan func() (func(), error)
	answers   chan func()
	failed    chan error
}

// place is where a parameter lies in a segment.
type place struct{ flat, n, segment, off int }

// member trains as a tab of the job's room until the run is over.
func (r *runner) member(ctx context.Context) (*message.Done, error) {
	const next = "Start llamatab again; a room goes on where it stood."
	if r.job.Room == nil || r.job.Dial == nil {
		return nil, fail("room", exitConfig, "Use llamatab train --tabs N, or join a room in the page.", errors.New("fsdp is set, but the job names no room"))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m := &member{runner: r, fresh: true, gradients: map[dist.Work][]byte{},
		queue: make(chan func() (func(), error), 1<<14), answers: make(chan func()), failed: make(chan error, 1)}
	if err := m.build(); err != nil {
		return nil, err
	}
	defer m.apply.Release()
	if err := r.writeConfig(); err != nil {
		return nil, err
	}
	r.trainStart = time.Now()
	r.last = r.trainStart
	go m.work(ctx)
	hello := dist.Hello{Code: r.job.Room.Code, Name: r.job.Room.Name, Class: m.class()}
	var lost time.Time // since when the room cannot be reached
	for !m.done {
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
		err = m.talk(ctx)
		link.Close()
		m.link = nil
		m.worker.Disconnected()
		if err != nil {
			return nil, fail("room", exitFailed, next, err)
		}
	}
	return m.finishRoom(ctx)
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

func (m *member) build() error {
	r, err := m.rates()
	if err != nil {
		return err
	}
	t := graph.NewTape()
	if err := graph.Record(func() {
		scalars, state := stepVars(t)
		m.adamw(t, 0, r, scalars, state)
		recordPublish(t, m.Layout)
	}); err != nil {
		return err
	}
	m.apply, err = t.Compile(m.dev, "apply", m.stepper.pool, m.stepper.binder(batchLayout{}))
	flat := 0
	for i, seg := range m.Layout.Segments {
		for j, p := range seg.Params {
			m.places = append(m.places, place{flat, p.Shape.Size(), i, seg.Offsets[j]})
			flat += p.Shape.Size()
		}
	}
	return err
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
	if n != len(run.Params) || run.Steps != m.Total() || run.Slots != m.cfg.Micro() || run.Strategy.Sharded() {
		return fmt.Errorf("the room's run of %d steps, %d slots and %d parameters is not this one of %d, %d and %d",
			run.Steps, run.Slots, len(run.Params), m.Total(), m.cfg.Micro(), n)
	}
	if m.worker == nil {
		m.run, m.table = run, table
		m.worker = dist.NewWorker(run, table, m, m)
	}
	return nil
}

// talk serves one connection until it ends.
func (m *member) talk(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	m.worker.Connected(time.Now())
	for !m.done {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-m.failed:
			return err
		case answer := <-m.answers:
			answer()
		case <-tick.C:
			m.worker.Tick(time.Now())
		case b, ok := <-m.link.Frames():
			if !ok {
				return nil
			}
			if bye, err := m.receive(b); err != nil || bye != nil {
				if bye != nil && bye.Again {
					return nil
				}
				return errors.Join(err, &Farewell{*bye})
			}
		}
	}
	return nil
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
	part, _ := dist.StatePiece(m.table.Shard(0), int(h.Chunk))
	m.queue <- func() (func(), error) {
		body, err := m.read(stateCopy[part], p.Off, p.Len)
		return func() { send(body) }, err
	}
}

// stateCopy are the copies of a segment that a shard's state consists of.
var stateCopy = [3]int{plan.Weight, plan.Moment1, plan.Moment2}

// each calls f for the runs of segments that flat parameters off to off+n-1 lie in; at counts from off.
func (m *member) each(off, n int, f func(at int, p place) error) error {
	for _, p := range m.places {
		from, to := max(off, p.flat), min(off+n, p.flat+p.n)
		if from < to {
			if err := f(from-off, place{flat: from, n: to - from, segment: p.segment, off: p.off + from - p.flat}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *member) read(copy, off, n int) ([]byte, error) {
	out := make([]byte, 0, 4*n)
	err := m.each(off, n, func(_ int, p place) error {
		b, err := m.dev.Read(m.mem.segments[p.segment][copy], p.off, p.n)
		out = append(out, b...)
		return err
	})
	return out, err
}

// Put implements dist.Engine.
func (m *member) Put(f dist.Frame) {
	copy := plan.Gradient
	_, piece := dist.StatePiece(m.table.Shard(0), int(f.Chunk))
	if f.Type == dist.TypeState {
		part, _ := dist.StatePiece(m.table.Shard(0), int(f.Chunk))
		copy, m.fresh = stateCopy[part], false
	}
	m.queue <- func() (func(), error) {
		m.mem.stale = m.mem.stale || copy == plan.Weight
		return nil, m.each(piece.Off, piece.Len, func(at int, p place) error {
			return m.dev.Write(m.mem.segments[p.segment][copy], p.off, f.Body[4*at:4*(at+p.n)])
		})
	}
}

// Init implements dist.Engine: the parameters before the first step are in the files.
func (m *member) Init(int) {
	if m.fresh {
		return
	}
	m.fresh = true
	m.queue <- func() (func(), error) {
		for i, seg := range m.Layout.Segments {
			for _, copy := range []int{plan.Moment1, plan.Moment2} {
				if err := m.dev.Write(m.mem.segments[i][copy], 0, make([]byte, 4*seg.Len)); err != nil {
					return nil, err
				}
			}
		}
		return nil, m.mem.load(m.Model, m.Params(), m.host)
	}
}

// Drop implements dist.Engine: the memory stays for what comes in its place.
func (m *member) Drop(int) { m.fresh = false }

// Gathered implements dist.Engine: without shards nothing is gathered.
func (m *member) Gathered(int) {}

// Forget implements dist.Engine. A slot under way is computed to its end.
func (m *member) Forget(w dist.Work) { delete(m.gradients, dist.Work{Step: w.Step, Slot: w.Slot}) }

// Compute implements dist.Engine: one micro-batch, forward and backward, and its gradient on the wire's type.
func (m *member) Compute(w dist.Work) {
	m.queue <- func() (func(), error) {
		r := dist.Ready{Work: w}
		gradient := make([]byte, m.table.Len*m.run.Reduce().Size())
		if rows := m.sampler.Step(int(w.Step)); w.Slot < len(rows) { // the last step of an epoch may have fewer
			b := m.collate(rows[w.Slot])
			p, l, err := m.stepper.program(programKey{T: b.T, gradients: true})
			if err != nil {
				return nil, err
			}
			if err := m.stepper.run(device.Work{Run: m.stepper.begin.Executable},
				device.Work{Buf: m.stepper.batch, Data: l.encode(b, maskSeed(m.cfg.Training.Seed, int(w.Step), w.Slot))}, device.Work{Run: p.Executable}); err != nil {
				return nil, err
			}
			loss, err := m.dev.Read(m.stepper.loss, 0, 1)
			if err != nil {
				return nil, err
			}
			r.Loss, r.Tokens = floatsOf(loss)[0], b.Tokens
			if gradient, err = m.gradient(); err != nil {
				return nil, err
			}
		}
		return func() {
			m.gradients[dist.Work{Step: w.Step, Slot: w.Slot}] = gradient
			m.worker.Computed(time.Now(), r)
		}, nil
	}
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
			b := raw[4*seg.Offsets[j]:][:4*p.Shape.Size()]
			if d == tensor.F32 {
				out = append(out, b...)
				continue
			}
			x := make([]float32, p.Shape.Size())
			if err := tensor.DecodeF32(x, b, tensor.F32); err != nil {
				return nil, err
			}
			out = tensor.EncodeF32(out, x, d)
		}
	}
	return out, nil
}

// Apply implements dist.Engine: AdamW with the room's factor in place of what the device would find out itself.
func (m *member) Apply(shard int, c dist.Commit) {
	m.fresh = false
	m.queue <- func() (func(), error) {
		tr := m.cfg.Training
		mult, err := optim.Multiplier(tr.Scheduler, int(c.Step), tr.WarmupSteps, m.Total(), tr.LearningRate)
		if err != nil {
			return nil, err
		}
		scalars := optim.Scalars{LR: tr.LearningRate * mult, Tokens: c.Tokens, Step: c.Updates, Number: int(c.Step), Beta1: tr.Beta1, Beta2: tr.Beta2}
		if err := m.stepper.run(device.Work{Buf: m.stepper.scalars, Data: scalars.Bytes()}, device.Work{Buf: m.stepper.state, Data: optim.Decided(c.Factor)},
			device.Work{Run: m.apply.Executable}); err != nil {
			return nil, err
		}
		if err := m.dev.Sync(); err != nil {
			return nil, err
		}
		return func() {
			m.tell(c, scalars.LR)
			m.worker.Applied(time.Now(), shard)
		}, nil
	}
}

// Skipped tells that a step changes nothing.
func (m *member) Skipped(c dist.Commit) {
	event(m.host, "warning", "nonfinite_step_skipped", int(c.Step)+1, nil, "step %d: its gradient was not finite, and the update was not applied", c.Step+1)
	m.tell(c, 0)
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

// Finished implements dist.Engine.
func (m *member) Finished() { m.done = true }

// finishRoom writes what the run leaves, if the host wants it from this tab: all tabs have the same.
func (m *member) finishRoom(ctx context.Context) (*message.Done, error) {
	newProgress(m.host, "wait", "", 0)
	for {
		switch m.host.Control() {
		case message.Save:
			return m.leave()
		case message.Stop:
			return &message.Done{}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// leave writes the result.
func (m *member) leave() (*message.Done, error) {
	dir := modelDir
	if m.Method != nil {
		dir = adapterDir
	}
	if err := errors.Join(m.result(dir), m.out.commit(dir)); err != nil {
		return nil, err
	}
	return &message.Done{Files: []string{dir}}, m.summary()
}
