package fsdp

import (
	"maps"
	"math"
	"slices"
	"time"

	"llamatab/engine/tensor"
)

// Engine is what a worker drives: the memory and the arithmetic of a tab. Calls take effect in their order, as on a
// GPU's queue, and return at once; what takes time is answered by a call of the worker.
type Engine interface {
	// Compute begins forward and backward of a slot, of an evaluation's forward alone; Worker.Computed answers. Only one slot
	// is computed at a time.
	Compute(w Work)
	// Forget lets a slot's gradient go. The slot under way may be ended early, as nobody wants it; Gathered may then
	// not come any more, and Worker.Computed is called all the same.
	Forget(w Work)
	// Init makes a shard at version 0: the parameters before the first step, and moments of zero.
	Init(shard int)
	// Drop lets a shard go.
	Drop(shard int)
	// Apply updates a shard by the reduced gradient that was put there; Worker.Applied answers.
	Apply(shard int, c Commit)
	// Committed tells of a step that the room has decided, once, in order. A tab hears of those that it needs, and of the
	// last.
	Committed(c Commit)
	// Evaluated tells of an evaluation: after the step that led to its version, if that was told, and before any later one.
	Evaluated(e Evaluated)
	// Put takes a piece that was pulled: TypeReduced and TypeState go to a shard, TypeParam and TypeMaster to the unit
	// that was asked for.
	Put(h Header, b Body)
	// Gathered tells that all pieces of a unit's parameters were put, after Worker.Gather.
	Gathered(unit int)
	// Finished tells that the run is over.
	Finished()
}

// Body are the numbers of a bulk frame, wherever they are: the worker has no business with them.
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

// Worker is the tab's side of the protocol. It brings shards to the version that the room names, has slots computed,
// and serves what the room pulls. It lives as long as its tab does, over any number of connections.
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
	// toldStep and toldEval count what the engine was told: the steps before toldStep, and the evaluations of the versions
	// before toldEval.
	toldStep, toldEval uint64
	dirty              bool // the status has changed since it was sent
	sentAt             time.Time
	done               bool
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

// Leave tells the room that the tab is about to go.
func (w *Worker) Leave(now time.Time) { w.status.Leaving = true; w.dirty = true; w.settle(now) }

// Progress counts something that the engine got done.
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

// follow takes in orders that are newer than the last.
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
		// Not ours any more; from a future that did not happen; or older than what the room remembers.
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

// tellEngine lets the engine hear of steps and evaluations, in order.
func (w *Worker) tellEngine() {
	for {
		if w.awaits() {
			e, ok := w.evals[w.toldStep]
			if !ok {
				return
			}
			w.toldEval = w.toldStep + 1
			w.engine.Evaluated(e)
		}
		maps.DeleteFunc(w.evals, func(version uint64, _ Evaluated) bool { return version < w.toldStep })
		next, ok := uint64(0), false
		for step := range w.commits {
			if step >= w.toldStep && (!ok || step < next) {
				next, ok = step, true
			}
		}
		if !ok {
			return
		}
		w.toldStep = next + 1
		w.engine.Committed(w.commits[next])
	}
}

// awaits tells whether the version that the engine has heard of last is evaluated, and it has not heard the outcome.
func (w *Worker) awaits() bool { return w.run.Eval.Due(w.toldStep) && w.toldEval <= w.toldStep }

// ReceiveBulk takes a frame from the data socket and reports whether it was wanted.
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

// wants takes note of a piece that was pulled.
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

// Computed tells how a slot's computation ended.
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

// Applied tells that a shard's update is done.
func (w *Worker) Applied(now time.Time, shard int) {
	s := w.shards[shard]
	s.apply, s.pull = false, nil
	s.version++
	w.status.Progress++
	w.dirty = true
	w.settle(now)
}

// Whole lists the shards that the tab has at the version that is computed with.
func (w *Worker) Whole() (own []int) {
	for i := range w.table.Shards {
		if v, ok := w.Held(i); ok && v == w.version {
			own = append(own, i)
		}
	}
	return own
}

// Gather asks for the parameters of a unit as they are computed with, or for its masters once the run is over;
// Engine.Gathered answers. What is in own is not fetched: the engine adds it.
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

// Version is that of the parameters that the room computes with.
func (w *Worker) Version() uint64 { return w.version }

// Held is the version of a shard, and whether the tab has it.
func (w *Worker) Held(shard int) (uint64, bool) {
	s := w.shards[shard]
	if s == nil || !s.whole {
		return 0, false
	}
	return s.version, true
}

// serve sends pieces of what the tab has; what it does not have the room will ask somebody else for.
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

// settle does all that can be done now.
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
		if !s.pull.Done() || w.busy != nil && w.holdsAll() { // who computes with it reads it until the end
			return
		}
		s.apply = true
		w.engine.Apply(i, c)
		return
	}
}

// holdsAll tells whether slots are computed from the shards themselves, not from gathered parameters.
func (w *Worker) holdsAll() bool { return !w.run.Strategy.Sharded() }

// current tells whether all shards that are wanted are at the version that is wanted.
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
		if step < min(oldest, w.toldStep) {
			delete(w.commits, step)
		}
	}
	for _, s := range w.slots {
		if s.ready {
			w.status.Slots = append(w.status.Slots, s.result)
		}
	}
	if w.status.Awaits = 0; w.awaits() {
		w.status.Awaits = w.toldStep
	}
	w.dirty, w.sentAt = false, now
	w.port.Send(w.status)
}

// Waits tells whether something was asked for that has not come.
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
