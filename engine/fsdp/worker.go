package fsdp

import (
	"maps"
	"math"
	"slices"
	"time"

	"llamatab/engine/tensor"
)

// Engine is the memory and the arithmetic of a tab, which a Worker drives. Calls take effect in their order, as on a GPU's queue,
// and return at once; the engine answers calls that take time by calling the worker.
type Engine interface {
	// Compute begins forward and backward of a slot, or only forward for a slot of an evaluation; Worker.Computed answers. At
	// most one slot is being computed.
	Compute(w Work)
	// Forget frees a slot's gradient. If the slot is being computed the engine may stop early; it calls Worker.Computed all the
	// same, and Gathered may not come any more.
	Forget(w Work)
	// Init makes a shard at version 0: the parameters before the first step, and moments of zero.
	Init(shard int)
	// Drop frees a shard.
	Drop(shard int)
	// Apply updates a shard by the reduced gradient that was put there; Worker.Applied answers.
	Apply(shard int, c Commit)
	// Committed reports a step that the room has decided, each once and in order. A tab gets the reports of the steps that it
	// needs, and of the last one.
	Committed(c Commit)
	// Evaluated reports an evaluation: after the step that led to its version, and before any later step.
	Evaluated(e Evaluated)
	// Put takes a piece that was pulled: TypeReduced and TypeState go to a shard, TypeParam and TypeMaster to the unit
	// that was asked for.
	Put(h Header, b Body)
	// Gathered reports that all pieces of a unit's parameters were put; it answers Worker.Gather.
	Gathered(unit int)
	// Finished reports that the run is over.
	Finished()
}

// Body are the numbers of a bulk frame. They may lie outside Go's memory; the worker only passes them on.
type Body interface{ Len() int }

// Port is a worker's way out.
type Port interface {
	// Send sends a control message.
	Send(m Message)
	// SendPiece sends a piece on the data socket: the engine has its bytes.
	SendPiece(h Header, p Piece)
}

// Times of a worker.
const (
	beat  = time.Second     // between two statuses where nothing happens
	retry = 2 * time.Second // until pieces that do not come are asked for again
)

// Worker is the tab's side of the protocol. It brings shards to the version that the room names, has its engine compute slots, and
// answers the room's pulls. It lives as long as its tab, over any number of connections.
type Worker struct {
	engine Engine
	port   Port
	run    *Run
	table  *Table

	online  bool
	status  Status
	orders  Orders
	shards  map[int]*shardHeld
	slots   []*slotHeld // in the order of the orders
	busy    *slotHeld   // being computed
	commits map[uint64]Commit
	gathers map[int][]*Puller // by unit
	version uint64            // that gathers are of
	evals   map[uint64]Evaluated
	// The engine has got the reports of the steps before reportedStep, and of the evaluations of versions before reportedEval.
	reportedStep, reportedEval uint64
	dirty                      bool // the status has changed since it was sent
	sentAt                     time.Time
	done                       bool
}

type shardHeld struct {
	base    uint64
	version uint64
	pull    *Puller // of the state, and later of a reduced gradient
	whole   bool    // there is a state, of version
	apply   bool    // an update is under way
}

type slotHeld struct {
	Work
	begun, ready bool
	gone         bool // not wanted any more
	result       Ready
}

// NewWorker makes the worker of a tab for a run.
func NewWorker(run *Run, table *Table, engine Engine, port Port) *Worker {
	return &Worker{engine: engine, port: port, run: run, table: table,
		shards: map[int]*shardHeld{}, commits: map[uint64]Commit{}, evals: map[uint64]Evaluated{}, gathers: map[int][]*Puller{}}
}

// Connected begins a connection: both sockets are open and the room has said Welcome.
func (w *Worker) Connected(now time.Time) {
	w.online, w.orders.Seq, w.dirty = true, 0, true
	w.eachPull((*Puller).Reset)
	w.settle(now)
}

// Disconnected ends a connection. The tab keeps what it has.
func (w *Worker) Disconnected() { w.online = false }

// Leave tells the room that the tab is about to leave.
func (w *Worker) Leave(now time.Time) { w.status.Leaving = true; w.dirty = true; w.settle(now) }

// Progress counts a piece of work that the engine has done.
func (w *Worker) Progress() { w.status.Progress++ }

// Tick lets time pass; call it a few times a second.
func (w *Worker) Tick(now time.Time) {
	w.eachPull(func(p *Puller) { p.Retry(now, retry) })
	w.settle(now)
}

// Receive takes a message from the control socket.
func (w *Worker) Receive(now time.Time, m Message) {
	switch m := m.(type) {
	case Orders:
		w.follow(m)
	case Pull:
		w.serve(m)
	}
	w.settle(now)
}

// follow follows orders that are newer than the last.
func (w *Worker) follow(o Orders) {
	if o.Seq <= w.orders.Seq {
		return
	}
	w.orders, w.status.Seen = o, o.Seq
	for _, c := range o.Commits {
		w.commits[c.Step] = c
	}
	for _, e := range o.Evals {
		w.evals[e.Version] = e
	}
	wanted := map[int]uint64{}
	for _, k := range o.Shards {
		if k.Shard >= 0 && k.Shard < w.table.Shards {
			wanted[k.Shard] = k.Base
		}
	}
	for _, i := range slices.Sorted(maps.Keys(w.shards)) {
		s := w.shards[i]
		base, ok := wanted[i]
		if s.apply || ok && (s.whole && s.version <= o.Version && s.version >= o.Oldest || !s.whole && s.base == base) {
			continue
		}
		// The shard is another tab's now; or the run went back behind its version; or it is too old to be replayed.
		w.engine.Drop(i)
		delete(w.shards, i)
	}
	for i, base := range wanted {
		if w.shards[i] == nil {
			w.shards[i] = &shardHeld{base: base}
		}
	}
	var slots []*slotHeld
	for _, work := range o.Work {
		i := slices.IndexFunc(w.slots, func(s *slotHeld) bool { return s.Any() == work.Any() })
		s := &slotHeld{Work: work}
		if i >= 0 {
			s = w.slots[i]
			s.Epoch, s.result.Epoch = work.Epoch, work.Epoch
		}
		slots = append(slots, s)
	}
	for _, s := range w.slots {
		if !slices.Contains(slots, s) {
			s.gone = true
			if s == w.busy {
				clear(w.gathers)
			}
			if s.begun {
				w.engine.Forget(s.Work)
			}
		}
	}
	w.slots = slots
	if w.version != o.Version {
		w.version = o.Version
		clear(w.gathers)
	}
	w.tellEngine()
}

// tellEngine tells the engine of steps and evaluations, in order.
func (w *Worker) tellEngine() {
	for {
		if w.awaits() {
			e, ok := w.evals[w.reportedStep]
			if !ok {
				return
			}
			w.reportedEval = w.reportedStep + 1
			w.engine.Evaluated(e)
		}
		maps.DeleteFunc(w.evals, func(version uint64, _ Evaluated) bool { return version < w.reportedStep })
		next, ok := uint64(0), false
		for step := range w.commits {
			if step >= w.reportedStep && (!ok || step < next) {
				next, ok = step, true
			}
		}
		if !ok {
			return
		}
		w.reportedStep = next + 1
		w.engine.Committed(w.commits[next])
	}
}

// awaits reports whether the version after the last reported step is evaluated and the engine does not have the result.
func (w *Worker) awaits() bool {
	return w.run.Eval.Due(w.reportedStep) && w.reportedEval <= w.reportedStep
}

// ReceiveBulk takes a frame from the data socket and reports whether it was asked for.
func (w *Worker) ReceiveBulk(now time.Time, h Header, b Body) bool {
	took := int64(h.Len) == int64(b.Len()) && w.wants(now, h)
	if took {
		w.engine.Put(h, b)
		for _, unit := range slices.Sorted(maps.Keys(w.gathers)) {
			if pulls := w.gathers[unit]; pulls != nil && !slices.ContainsFunc(pulls, func(p *Puller) bool { return !p.Done() }) {
				w.gathers[unit] = nil
				w.engine.Gathered(unit)
			}
		}
	}
	w.settle(now)
	return took
}

// wants reports whether a piece was pulled and has not come yet, and notes that it has come.
func (w *Worker) wants(now time.Time, h Header) bool {
	fits := func(p *Puller, piece func() Piece, size int, flag uint16) bool {
		return p != nil && p.Want.Kind == h.Type && p.Want.Step == h.Step && p.Want.Slot == int(h.Slot) &&
			int(h.Chunk) >= p.Want.From && int(h.Chunk) < p.Want.To && int(h.Len) == size*piece().Len && h.Flags&(FlagF32|FlagBF16) == flag
	}
	if int(h.Slot) >= w.table.Shards {
		return false
	}
	v := w.table.Shard(int(h.Slot))
	plain := func() Piece { return v.Pieces[h.Chunk] }
	if h.Type == TypeParam || h.Type == TypeMaster {
		d := w.run.Param()
		if h.Type == TypeMaster {
			d = tensor.F32
		}
		for _, pulls := range w.gathers {
			for _, p := range pulls {
				if fits(p, plain, d.Size(), Flag(d)) {
					return p.Got(now, int(h.Chunk))
				}
			}
		}
		return false
	}
	s := w.shards[int(h.Slot)]
	if s == nil {
		return false
	}
	piece := plain
	if h.Type == TypeState {
		piece = func() Piece { _, p := StatePiece(v, int(h.Chunk)); return p }
	}
	return fits(s.pull, piece, 4, FlagF32) && s.pull.Got(now, int(h.Chunk))
}

// Computed takes the result of a slot from the engine.
func (w *Worker) Computed(now time.Time, r Ready) {
	if math.IsNaN(r.Loss - r.Loss) {
		r.Loss, r.Invalid = 0, true
	}
	s := w.busy
	if s == nil || s.Any() != r.Any() {
		return
	}
	w.busy = nil
	w.status.Progress++
	if s.gone {
		w.engine.Forget(s.Work)
	} else {
		s.ready, s.result = true, r
		s.result.Epoch = s.Epoch
		w.dirty = true
	}
	w.settle(now)
}

// Applied is the engine's message that a shard's update is done.
func (w *Worker) Applied(now time.Time, shard int) {
	s := w.shards[shard]
	s.apply, s.pull = false, nil
	s.version++
	w.status.Progress++
	w.dirty = true
	w.settle(now)
}

// Whole lists the shards that the tab holds at the current version.
func (w *Worker) Whole() (own []int) {
	for i := range w.table.Shards {
		if v, ok := w.Held(i); ok && v == w.version {
			own = append(own, i)
		}
	}
	return own
}

// Gather pulls the parameters of a unit in param_dtype, or its masters once the run is over; Engine.Gathered answers. The shards
// in own are not pulled: the engine adds them.
func (w *Worker) Gather(now time.Time, unit int, own []int) {
	kind := TypeParam
	if w.orders.Done {
		kind = TypeMaster
	}
	var pulls []*Puller
	for i := range w.table.Shards {
		if slices.Contains(own, i) {
			continue
		}
		if from, to := w.table.Shard(i).UnitPieces(unit); from < to {
			pulls = append(pulls, NewPuller(Pull{Kind: kind, Step: w.version, Slot: i, From: from, To: to}))
		}
	}
	if pulls == nil {
		w.engine.Gathered(unit)
	} else {
		w.gathers[unit] = pulls
	}
	w.settle(now)
}

// Version is the version that slots are computed from.
func (w *Worker) Version() uint64 { return w.version }

// Held is the version of a shard, false if the tab does not hold it.
func (w *Worker) Held(shard int) (uint64, bool) {
	s := w.shards[shard]
	if s == nil || !s.whole {
		return 0, false
	}
	return s.version, true
}

// serve answers a pull of the room. A pull of something that the tab does not have gets no answer: the room asks another tab.
func (w *Worker) serve(p Pull) {
	var view *View
	pieces, flag := 0, uint16(FlagF32)
	switch p.Kind {
	case TypeGradient:
		if !slices.ContainsFunc(w.slots, func(s *slotHeld) bool {
			return s.ready && !s.Eval && s.Slot == p.Slot && s.Step == p.Step && s.Epoch == p.Epoch
		}) {
			return
		}
		view = w.table.All()
		pieces, flag = len(view.Pieces), Flag(w.run.Reduce())
	case TypeParam, TypeState:
		s := w.shards[p.Slot]
		if s == nil || !s.whole || s.apply || s.version != p.Step {
			return
		}
		view = w.table.Shard(p.Slot)
		pieces, flag = StatePieces(view), FlagF32
		if p.Kind == TypeParam {
			pieces, flag = len(view.Pieces), Flag(w.run.Param())
		}
	}
	for i := p.From; i < min(p.To, pieces); i++ {
		_, piece := StatePiece(view, i)
		w.port.SendPiece(Header{Type: p.Kind, Flags: flag, Slot: uint16(p.Slot), Epoch: p.Epoch, Step: p.Step,
			Unit: uint16(piece.Unit), Chunk: uint32(i), Chunks: uint32(pieces)}, piece)
	}
}

// settle does all that the worker can do now.
func (w *Worker) settle(now time.Time) {
	for _, i := range slices.Sorted(maps.Keys(w.shards)) {
		w.advance(i, w.shards[i])
	}
	w.compute()
	if !w.online {
		return
	}
	w.eachPull(func(p *Puller) {
		for {
			pull, ok := p.Ask(now, w.run.Window, nil)
			if !ok {
				return
			}
			w.port.Send(pull)
		}
	})
	if w.dirty || now.Sub(w.sentAt) >= beat {
		w.sendStatus(now)
	}
	if w.orders.Done && !w.done && w.current() && !w.awaits() {
		w.done = true
		w.engine.Finished()
	}
}

// advance brings a shard nearer to the version that is wanted.
func (w *Worker) advance(i int, s *shardHeld) {
	if !s.whole {
		switch v := w.table.Shard(i); {
		case s.base == 0 || v.Len == 0:
			w.engine.Init(i)
		case s.pull == nil:
			s.pull = NewPuller(Pull{Kind: TypeState, Step: s.base, Slot: i, To: StatePieces(v)})
			return
		case !s.pull.Done():
			return
		}
		s.whole, s.version, s.pull, w.dirty = true, s.base, nil, true
	}
	for !s.apply && s.version < w.orders.Version {
		c, ok := w.commits[s.version]
		if !ok {
			return // the next orders bring it
		}
		if !c.Applied {
			s.version++
			w.dirty = true
			continue
		}
		if s.pull == nil {
			s.pull = NewPuller(Pull{Kind: TypeReduced, Step: s.version, Slot: i, To: len(w.table.Shard(i).Pieces)})
		}
		if !s.pull.Done() || w.busy != nil && w.holdsAll() { // a slot being computed reads the shard
			return
		}
		s.apply = true
		w.engine.Apply(i, c)
		return
	}
}

// holdsAll reports whether slots are computed from the shard itself, not from gathered parameters.
func (w *Worker) holdsAll() bool { return !w.run.Strategy.Sharded() }

// current reports whether all shards of the orders are at the version of the orders.
func (w *Worker) current() bool {
	for _, s := range w.shards {
		if !s.whole || s.apply || s.version != w.orders.Version {
			return false
		}
	}
	return true
}

// compute begins the next slot if there is one and all it needs is there.
func (w *Worker) compute() {
	if w.busy != nil || w.holdsAll() && (len(w.shards) == 0 || !w.current()) || !w.holdsAll() && !w.orders.Gather {
		return
	}
	for _, s := range w.slots {
		if !s.begun && s.Step == w.orders.Version {
			s.begun, w.busy = true, s
			w.engine.Compute(s.Work)
			return
		}
	}
}

// sendStatus sends the status.
func (w *Worker) sendStatus(now time.Time) {
	w.status.Seq++
	w.status.Held, w.status.Slots = nil, nil
	oldest := w.orders.Version
	for _, i := range slices.Sorted(maps.Keys(w.shards)) {
		if s := w.shards[i]; s.whole {
			w.status.Held = append(w.status.Held, Held{i, s.version})
			oldest = min(oldest, s.version)
		} else {
			oldest = min(oldest, s.base)
		}
	}
	for step := range w.commits {
		if step < min(oldest, w.reportedStep) {
			delete(w.commits, step)
		}
	}
	for _, s := range w.slots {
		if s.ready {
			w.status.Slots = append(w.status.Slots, s.result)
		}
	}
	if w.status.Awaits = 0; w.awaits() {
		w.status.Awaits = w.reportedStep
	}
	w.dirty, w.sentAt = false, now
	w.port.Send(w.status)
}

// Waits reports whether pieces were asked for that have not come.
func (w *Worker) Waits() (waits bool) {
	w.eachPull(func(p *Puller) { waits = waits || p.Waits() })
	return waits
}

func (w *Worker) eachPull(f func(p *Puller)) {
	for _, i := range slices.Sorted(maps.Keys(w.shards)) {
		if p := w.shards[i].pull; p != nil {
			f(p)
		}
	}
	for _, u := range slices.Sorted(maps.Keys(w.gathers)) {
		for _, p := range w.gathers[u] {
			f(p)
		}
	}
}
