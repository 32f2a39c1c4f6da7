package rank

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data/sampling"
	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/engine/replay"
	"llamatab/engine/report"
	"llamatab/engine/train"
)

// Room is the room that a tab trains in.
type Room struct {
	Job   *message.RoomJob // its address, and the code to enter it
	Dial  Dial
	Spans bool // the tab sends the host a span for each thing that it does
}

// communicator is the side of a rank that exchanges messages with the room. Join's goroutine owns it. It implements
// fsdp.Engine and fsdp.Port for its worker: work on the device becomes a task of the computer, so that the tab also answers
// the room while its GPU is busy.
type communicator struct {
	mail
	room    Room
	hello   fsdp.Hello
	loop    *train.Loop // for metrics, evaluations and the summary
	setup   *replay.Setup
	cfg     *config.Config
	host    report.Host
	usageOf func() device.Usage // of the device

	run    *fsdp.Run
	table  *fsdp.Table
	worker *fsdp.Worker // nil before the first welcome
	link   Link         // nil without a connection

	sampler    *sampling.Sampler // its own, because a sampler keeps the order of the last pass
	counted    int               // steps whose input tokens are counted
	incomplete *message.Step     // the metrics of a step whose evaluation has not come yet, nil for none

	initial   bool // under NO_SHARD: the parameters on the device are those before the first step
	finished  bool // the run is over
	saving    bool // the result is being written, which goes on without a connection
	result    *message.Done
	err       error                        // ends the run in this tab
	gradients map[fsdp.Work][]device.Bytes // of computed slots, by segment, in the type of the wire; the keys have no epoch
	reading   map[fsdp.Header]bool         // pieces of shards that a task reads in order to send them
	stop      chan struct{}                // closed to end the slot that is being computed
	busy      fsdp.Work                    // that slot
	arrivals  *arrivals                    // units on their way from the room, nil under NO_SHARD
	places    places                       // of all parameters
	spans     *tracer
	clock     *fsdp.Stopwatch
	usage     device.Usage // that the room was sent last
}

// roomPatience is how long a tab tries to reach its room.
const roomPatience = 2 * time.Minute

// nextStart is the advice where a room is lost.
const nextStart = "Start llamatab again; a room goes on where it stood."

// Farewell is the room's goodbye as an error.
type Farewell struct{ fsdp.Bye }

func (f *Farewell) Error() string { return "the room says " + f.Code + ": " + f.Reason }

// Join trains as a tab of a room until the run is over.
func Join(ctx context.Context, loop *train.Loop, room Room) (*message.Done, error) {
	if room.Job == nil || room.Dial == nil {
		return nil, report.Fail("room", report.ExitConfig, "Use llamatab train --tabs N, or join a room in the page.", errors.New("fsdp is set, but the job names no room"))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c, err := newCommunicator(loop, room)
	if err != nil {
		return nil, err
	}
	if err := loop.Follow(); err != nil {
		return nil, err
	}
	var computing sync.WaitGroup
	defer func() {
		stop()
		computing.Wait()
	}()
	for {
		link, welcome, err := c.connect(ctx)
		if err != nil {
			return nil, err
		}
		c.hello.Tab, c.hello.Token = welcome.Tab, welcome.Token
		if err := c.checkRun(welcome); err != nil {
			link.Close()
			return nil, report.Fail("room", report.ExitConfig, "Start the tabs from one run.json and one version of llamatab.", err)
		}
		if c.worker == nil {
			if err := c.begin(ctx, &computing); err != nil { // of the device: it may be lost, or its memory full
				link.Close()
				return nil, err
			}
		}
		c.link = link
		err = c.talk(ctx)
		link.Close()
		c.link = nil
		c.worker.Disconnected()
		var f *report.Error
		switch {
		case errors.As(err, &f):
			return nil, err
		case err != nil:
			return nil, report.Fail("room", report.ExitFailed, nextStart, err)
		case c.result != nil:
			return c.result, nil
		}
	}
}

func newCommunicator(loop *train.Loop, room Room) (*communicator, error) {
	t := loop.Trainer
	sampler, err := sampling.New(t.Setup.DataPlan(t.Cfg))
	if err != nil {
		return nil, err
	}
	return &communicator{
		mail: newMail(), room: room, hello: fsdp.Hello{Code: room.Job.Code, Name: room.Job.Name, Platform: platform(t.Dev.Info())},
		loop: loop, setup: t.Setup, cfg: t.Cfg, host: t.Host, usageOf: t.Dev.Usage, sampler: sampler, initial: true,
		gradients: map[fsdp.Work][]device.Bytes{}, reading: map[fsdp.Header]bool{}, places: placesOf(t.Setup.Layout),
		spans: newTracer(room.Spans, t.Host, t.Dev), clock: fsdp.NewStopwatch(time.Now()),
	}, nil
}

// platform names all that the bits of results depend on besides the run: adapter and kernels.
func platform(i device.Info) string {
	return fmt.Sprintf("%s|%s|%s", i.Backend, i.Vendor, i.Architecture)
}

// connect dials the room until it answers, for up to roomPatience.
func (c *communicator) connect(ctx context.Context) (Link, fsdp.Welcome, error) {
	fail := func(err error) (Link, fsdp.Welcome, error) { return nil, fsdp.Welcome{}, err }
	var since time.Time // the first failure
	for {
		link, welcome, err := c.room.Dial(ctx, c.room.Job, c.hello)
		if err == nil {
			return link, welcome, nil
		}
		var bye *Farewell
		if errors.As(err, &bye) && !bye.Again {
			return fail(report.Fail("room", report.ExitFailed, nextStart, err))
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > roomPatience {
			return fail(report.Fail("room", report.ExitFailed, nextStart, fmt.Errorf("the room cannot be reached: %w", err)))
		}
		select {
		case err := <-c.failed:
			return fail(err)
		case <-ctx.Done():
			return fail(ctx.Err())
		case <-time.After(time.Second/2 + rand.N(time.Second)): // the tabs of a classroom do not all dial in the same moment
		}
	}
}

// checkRun checks that the room trains the run of this tab.
func (c *communicator) checkRun(w fsdp.Welcome) error {
	run, table, err := parseRun(w.Run, c.setup, c.loop.Trainer.Total())
	if err == nil && c.worker == nil {
		c.run, c.table = run, table
	}
	return err
}

// begin makes the worker, and starts the computer's goroutine.
func (c *communicator) begin(ctx context.Context, computing *sync.WaitGroup) error {
	d, err := newComputer(ctx, c)
	if err != nil {
		return err
	}
	computing.Go(d.work)
	if c.setup.Shared != nil {
		c.arrivals = &arrivals{c: c, wanted: map[int]*image{}}
	}
	c.worker = fsdp.NewWorker(c.run, c.table, c, c)
	return nil
}

// talk serves one connection. It returns without an error when the connection has ended, or when the run is over and the
// result is written or not wanted.
func (c *communicator) talk(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	c.usage = device.Usage{}
	c.worker.Connected(time.Now())
	for c.err == nil && c.result == nil {
		c.clock.Set(time.Now(), fsdp.Fetching, c.worker.Waits())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-c.failed:
			return err
		case r := <-c.replies:
			r(c)
		case <-tick.C:
			c.worker.Tick(time.Now())
			c.control()
		case a, ok := <-c.link.Frames():
			if !ok {
				return c.err
			}
			if bye, err := c.receive(a); err != nil || bye != nil {
				if bye != nil && bye.Again {
					return nil
				}
				return errors.Join(err, &Farewell{*bye})
			}
		}
	}
	return c.err
}

// control follows what the host wants of a run that is over: to write the result, or not.
func (c *communicator) control() {
	if !c.finished || c.saving {
		return
	}
	switch c.host.Control() {
	case message.Stop:
		c.result = &message.Done{}
	case message.Save:
		c.saving = true
		own := c.worker.Whole()
		c.tasks <- func(d *computer) (reply, error) {
			d.own(own)
			dir, err := d.writeResult()
			return func(c *communicator) {
				c.err = c.loop.Summary()
				c.result = &message.Done{Files: []string{dir}}
			}, err
		}
	}
}

// receive passes a frame to the worker. It returns the room's goodbye, or an error with one of its own.
func (c *communicator) receive(a Arrival) (*fsdp.Bye, error) {
	if a.Body != nil {
		h, err := fsdp.ParseHeader(a.Head)
		if err != nil {
			return &fsdp.Bye{Code: "protocol"}, err
		}
		c.worker.ReceiveBulk(time.Now(), h, a.Body)
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
	c.worker.Receive(time.Now(), msg)
	return nil, nil
}

// Send implements fsdp.Port.
func (c *communicator) Send(msg fsdp.Message) {
	if s, ok := msg.(fsdp.Status); ok {
		u := c.usageOf()
		s.Spent, s.Memory = c.clock.Spent(time.Now()), u.Total()
		if u != c.usage {
			c.usage, s.Usage = u, u.Map()
		}
		msg = s
	}
	c.link.Send(ControlSocket, fsdp.Encode(msg))
}

// SendPiece implements fsdp.Port.
func (c *communicator) SendPiece(h fsdp.Header, p fsdp.Piece) {
	if h.Type == fsdp.TypeGradient {
		if g, ok := c.gradients[fsdp.Work{Step: h.Step, Slot: int(h.Slot)}]; ok {
			c.sendBody(h, c.places.cut(g, c.run.Reduce().Size(), p.Off, p.Len))
		}
		return
	}
	if c.reading[h] { // the room asks again before the task is done
		return
	}
	c.reading[h] = true
	c.tasks <- func(d *computer) (reply, error) {
		var body []device.Bytes
		err := d.during(fsdp.Encoding, func() (err error) {
			body, err = d.readPiece(h, p)
			return err
		})
		return func(c *communicator) {
			delete(c.reading, h)
			if body != nil { // nil: the tab does not have the shard any more, and the room does not expect it
				c.sendBody(h, body)
			}
		}, err
	}
}

// sendBody sends a frame on the data socket. Without a connection it sends nothing, and the room asks again.
func (c *communicator) sendBody(h fsdp.Header, body []device.Bytes) {
	if c.link == nil {
		return
	}
	for _, b := range body {
		h.Len += uint32(b.Len())
	}
	switch h.Type {
	case fsdp.TypeGradient:
		c.spans.mark(message.Span{What: "send", Step: int(h.Step) + 1, Slot: int(h.Slot), Bytes: int64(h.Len)})
	case fsdp.TypeParam:
		c.spans.mark(message.Span{What: "publish", Step: int(h.Step) + 1, Bytes: int64(h.Len)})
	}
	sent := c.clock.Begin(time.Now(), fsdp.Sending)
	c.link.Send(DataSocket, h.Append(nil), body...)
	sent(time.Now())
}

// Put implements fsdp.Engine.
func (c *communicator) Put(h fsdp.Header, b fsdp.Body) {
	body := b.(device.Bytes)
	switch h.Type {
	case fsdp.TypeParam, fsdp.TypeMaster:
		c.arrivals.put(h, body)
		return
	case fsdp.TypeReduced:
		c.spans.mark(message.Span{What: "reduced", Step: int(h.Step) + 1, Bytes: int64(h.Len)})
	}
	if h.Type == fsdp.TypeState {
		c.initial = false
	}
	c.tasks <- func(d *computer) (reply, error) { return nil, d.write(h, body) }
}

// Init implements fsdp.Engine. Under NO_SHARD the parameters before the first step are on the device from the beginning.
func (c *communicator) Init(shard int) {
	loaded := c.arrivals == nil && c.initial
	c.initial = true
	c.tasks <- func(d *computer) (reply, error) {
		s, err := d.shard(shard)
		if err == nil && !loaded {
			err = s.init(d.trainer)
		}
		return nil, err
	}
}

// Drop implements fsdp.Engine. Under NO_SHARD the memory stays for the state that the room sends next.
func (c *communicator) Drop(shard int) {
	c.initial = false
	if c.arrivals != nil {
		c.tasks <- func(d *computer) (reply, error) {
			d.drop(shard)
			return nil, nil
		}
	}
}

// Gathered implements fsdp.Engine.
func (c *communicator) Gathered(unit int) { c.arrivals.complete(unit) }

// Forget implements fsdp.Engine. A slot that is being computed ends at its next unit, or under NO_SHARD runs to its end.
func (c *communicator) Forget(w fsdp.Work) {
	if !w.Eval {
		delete(c.gradients, fsdp.Work{Step: w.Step, Slot: w.Slot})
	}
	if c.stop != nil && c.busy == w.Any() {
		close(c.stop)
		c.stop = nil
	}
}

// Compute implements fsdp.Engine: the loss of a slot of a step and its gradient in the type of the wire, or the loss of a slot
// of an evaluation.
func (c *communicator) Compute(w fsdp.Work) {
	stop := make(chan struct{})
	c.stop, c.busy = stop, w.Any()
	own := c.worker.Whole()
	c.tasks <- func(d *computer) (reply, error) {
		d.own(own)
		r := fsdp.Ready{Work: w}
		var gradient []device.Bytes
		err := d.during(fsdp.Computing, func() (err error) {
			if w.Eval {
				return d.evaluateSlot(&r, stop)
			}
			gradient, err = d.computeSlot(&r, stop)
			return err
		})
		if err != nil && !errors.Is(err, errForgotten) {
			return nil, err
		}
		return func(c *communicator) {
			if err == nil && !w.Eval {
				c.gradients[fsdp.Work{Step: w.Step, Slot: w.Slot}] = gradient
			}
			c.worker.Computed(time.Now(), r)
		}, nil
	}
}

// Apply implements fsdp.Engine.
func (c *communicator) Apply(shard int, commit fsdp.Commit) {
	c.initial = false
	c.tasks <- func(d *computer) (reply, error) {
		if err := d.apply(shard, commit); err != nil {
			return nil, err
		}
		return func(c *communicator) { c.worker.Applied(time.Now(), shard) }, nil
	}
}

// learningRate is the scheduled learning rate of a step, counted from 0, of a run of so many steps.
func learningRate(t config.Training, step uint64, total int) (float64, error) {
	m, err := train.Schedule(&t, total).Multiplier(int(step))
	return t.LearningRate * m, err
}

// Committed implements fsdp.Engine. It records the metrics of a step, together with its evaluation if it has one.
func (c *communicator) Committed(commit fsdp.Commit) {
	rate, err := learningRate(c.cfg.Training, commit.Step, c.loop.Trainer.Total())
	if err != nil {
		c.err = err
		return
	}
	n := int(commit.Step) + 1
	if !commit.Applied {
		report.Event(c.host, "warning", "nonfinite_step_skipped", n, nil, "step %d: its gradient was not finite, and the update was not applied", n)
	}
	step := &message.Step{Step: n, Epoch: c.sampler.Epoch(n), Loss: message.Float(commit.Loss), GradNorm: message.Float(commit.Norm), LearningRate: rate, Tokens: commit.Tokens}
	inputs := int64(0)
	for ; c.counted < n; c.counted++ { // a tab that joined late also counts the steps before
		for _, rows := range c.sampler.Step(c.counted) {
			for _, row := range rows {
				inputs += int64(c.loop.Trainer.Setup.Train.RowLen(row))
			}
		}
	}
	c.loop.FollowStep(step, commit.Applied, inputs)
	if c.run.Eval.Due(uint64(n)) {
		c.incomplete = step
		return
	}
	c.report(step)
}

// report sends the metrics of a step to the host.
func (c *communicator) report(step *message.Step) {
	c.host.Emit(message.Envelope{Type: "step", Step: step}, message.Envelope{Type: "progress", Progress: &message.Progress{
		Phase: "train", Done: int64(step.Step), Total: int64(c.loop.Trainer.Total()), Unit: "steps"}})
}

// Evaluated implements fsdp.Engine. It completes the metrics of the step that led to the evaluated version.
func (c *communicator) Evaluated(e fsdp.Evaluated) {
	found := measuredOf(e)
	c.loop.RestartStepTime()
	if e.Version == 0 {
		c.loop.RecordStart(found, c.worker.Version() == 0) // for a tab that joins later it is no news
		return
	}
	step := c.incomplete
	if step == nil || step.Step != int(e.Version) {
		return
	}
	c.incomplete = nil
	found.AddTo(step)
	c.report(step)
	if err := c.loop.FollowEvaluation(step.Step, found, e.Best, int(e.BestStep)); err != nil {
		c.err = err
	}
}

// Finished implements fsdp.Engine. Any tab can write the result. The host says which one does.
func (c *communicator) Finished() {
	c.finished = true
	report.NewProgress(c.host, "wait", "", 0)
}
