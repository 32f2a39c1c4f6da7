package room

import (
	"bytes"
	"container/heap"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"llamatab/engine/fsdp"
	"llamatab/engine/tensor"
)

// The simulator runs a room and its tabs on a clock of its own. Everything that happens is decided by the seed, so a
// failing seed can be looked at: go test ./server/room -run TestSimulation -seed N -v.

var (
	oneSeed   = flag.Uint64("seed", 0, "run only this seed of the simulation, and print what happens")
	seedCount = flag.Uint64("seeds", 2000, "run `N` seeds of the simulation; 2000 take about 20 seconds of a processor")
	firstSeed = flag.Uint64("first", 1, "the first of the seeds")
)

type sim struct {
	seed  uint64
	rng   *rand.Rand
	now   time.Time
	queue simQueue
	count int

	cfg   Config
	run   *fsdp.Run
	table *fsdp.Table
	want  toyState
	plan  faults

	room      *Room
	life      int // of the server: events of an earlier one are void
	disk      *memDisk
	store     *Local
	lease     Lease
	fence     uint64
	seq       int             // records in the log
	written   time.Time       // when the last record is in the file
	committed uint64          // version that the last commit in the file leads to
	evaluated map[uint64]bool // versions whose evaluations are in the file
	chain     string
	tabs      []*simTab
	nextTab   uint32

	failure string
	trace   []string
	tracing bool
	stats   Stats       // of all lives
	sound   bool        // no slot is poisoned by its data
	leave   func() bool // true ends the simulation in the middle
	struck  bool        // the disk has failed on purpose
	doomed  bool        // and the server is to be killed
	gaveUp  bool        // the room has failed, and has said what is lost
	most    int         // bytes under way to one tab at most

	liars   int                    // members that lie, see hostile
	lied    map[lie]bool           // what they lied about
	doubted map[uint32][]stepRange // steps that the room named, by the tab that it removed
	partial bool                   // some slots are audited, so lies may be added

	live *sync.Mutex // the clock is the real one, and this guards all
}

// faults is what a scenario throws at the run.
type faults struct {
	until                  time.Duration // after which nothing goes wrong any more
	drop, dup, swap, tear  float64       // of a frame
	kill, freeze, cut, die time.Duration // mean time between tabs killed, frozen, cut off; the server killed
	joins, leaves          time.Duration
	pauses                 time.Duration
	rots                   time.Duration // a stored blob changes, is cut short or lost
	strikes                time.Duration // a call of the disk fails
	liar, broken           bool
	lies                   float64 // fraction of the slots in whose results a hostile member lies
}

type simTab struct {
	s        *sim
	id       uint32
	conn     int // counts connections; 0 at the moment none
	open     bool
	worker   *fsdp.Worker
	engine   *toyEngine
	speed    time.Duration
	frozen   time.Time
	dead     bool
	finished bool
	lies     bool
	broken   bool
	group    string
	sockets  [4]time.Time               // control and data, each way: when the last frame arrives
	under    int                        // bytes under way to the tab
	wire     func(socket int, b []byte) // live: the tab's socket
}

type simEvent struct {
	at  time.Time
	seq int
	f   func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}

func (s *sim) fail(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
	}
}

func (s *sim) log(format string, args ...any) {
	if s.tracing {
		s.trace = append(s.trace, fmt.Sprintf("%9.3fs ", s.now.Sub(epochZero).Seconds())+fmt.Sprintf(format, args...))
	}
}

var epochZero = time.Unix(0, 0)

// at lets f happen after d.
func (s *sim) at(d time.Duration, f func()) {
	if s.live != nil {
		time.AfterFunc(d, func() { s.enter(f) })
		return
	}
	s.count++
	heap.Push(&s.queue, simEvent{s.now.Add(max(d, 0)), s.count, f})
}

// enter runs f as the only one, now.
func (s *sim) enter(f func()) {
	s.live.Lock()
	defer s.live.Unlock()
	s.now = time.Now()
	f()
}

// after lets f happen in a tab after d, or later if the tab is frozen then, or never if it is dead.
func (s *sim) after(d time.Duration, t *simTab, f func()) {
	s.at(d, func() {
		switch {
		case t.dead:
		case s.now.Before(t.frozen):
			s.after(t.frozen.Sub(s.now), t, f)
		default:
			f()
		}
	})
}

// chance is true with probability p while faults are on.
func (s *sim) chance(p float64) bool {
	return p > 0 && s.now.Sub(epochZero) < s.plan.until && s.rng.Float64() < p
}

// every lets f happen again and again, at random, while faults are on.
func (s *sim) every(mean time.Duration, f func()) {
	if mean == 0 {
		return
	}
	d := time.Duration(s.rng.ExpFloat64() * float64(mean))
	if s.now.Add(d).Sub(epochZero) < s.plan.until {
		s.at(d, func() { f(); s.every(mean, f) })
	}
}

// Server.

const simRoom = "room"

// open takes the lease and opens the room, a new one where the log has no record.
func (s *sim) open() (o *opening, err error) {
	if s.store, err = newLocal("disk", s.disk); err != nil {
		return nil, err
	}
	if s.lease, err = s.store.Acquire(simRoom); err != nil {
		return nil, err
	}
	if o, err = openRoom(simRoom, s.store, s.lease, nil); errors.Is(err, ErrUnborn) {
		first := OpenedRecord(s.cfg, "code", []byte("secret"))
		o, err = openRoom(simRoom, s.store, s.lease, &first)
	}
	return o, err
}

func (s *sim) boot() {
	s.life++
	o, err := s.open()
	if errors.Is(err, errDisk) { // the disk's fault, which passes
		s.log("the room does not open: %v", err)
		s.endOfLife()
		s.at(time.Second, s.boot)
		return
	}
	if err != nil {
		s.fail("the room does not open: %v", err)
		return
	}
	o.room.cfg.Tokens = s.cfg.Tokens
	s.room, s.fence, s.seq, s.chain = o.room, o.fence, len(o.records), o.records[len(o.records)-1].Hash
	var past history
	for _, rec := range o.records {
		past.add(rec)
	}
	s.committed = uint64(len(past.commits))
	clear(s.evaluated)
	for _, e := range past.evals {
		s.evaluated[e.Version] = true
	}
	for _, n := range o.notes {
		s.log("  %s: %s", n.note.Code, n.note.Text)
	}
	records := o.records
	s.log("server up, life %d, step %d, %d records", s.life, s.room.step, len(records))
	for _, fault := range o.faults {
		s.event(fault)
	}
	life := s.life
	var tick func()
	tick = func() {
		if s.life == life && s.room != nil {
			s.event(Ticked{})
			s.at(250*time.Millisecond, tick)
		}
	}
	tick()
}

// rot damages a stored blob.
func (s *sim) rot() {
	blobs := s.disk.paths("/blobs/")
	if len(blobs) == 0 || s.room == nil {
		return
	}
	path := blobs[s.rng.IntN(len(blobs))]
	s.log("%s rots", filepath.Base(path)[:8])
	switch s.rng.IntN(3) {
	case 0:
		s.disk.lose(path)
	case 1:
		s.disk.change(path, func(b []byte) []byte { return b[:s.rng.IntN(len(b)+1)] })
	case 2:
		s.disk.change(path, func(b []byte) []byte {
			if len(b) > 0 {
				b[s.rng.IntN(len(b))] ^= 1 << s.rng.IntN(8)
			}
			return b
		})
	}
}

// endOfLife ends the program, or the machine loses its power.
func (s *sim) endOfLife() {
	if s.rng.IntN(2) == 0 && !s.disk.deaf {
		s.disk.die()
	} else {
		s.disk.power(s.rng)
	}
	s.disk.deaf = false
}

// crash kills the server in whatever it is doing, and starts another a little later.
func (s *sim) crash() {
	if s.room == nil {
		return
	}
	s.log("server killed")
	s.stats.add(s.room.Stats)
	s.room = nil
	s.life++
	torn := appendEntry(nil, Chain(&Record{Kind: Committed, Step: 1 << 40}, s.chain, s.fence))
	s.endOfLife()
	s.disk.change("disk/room/log", func(b []byte) []byte {
		switch s.rng.IntN(3) { // it was writing
		case 0:
			return append(b, torn[:s.rng.IntN(len(torn))]...)
		case 1: // as some file systems leave it
			return append(append(b, torn[:s.rng.IntN(entryHeader)]...), make([]byte, s.rng.IntN(40))...)
		}
		return b
	})
	for _, t := range s.tabs {
		t.hangUp()
	}
	s.at(time.Duration(s.rng.IntN(3000))*time.Millisecond, func() {
		if s.room == nil {
			s.boot()
		}
	})
}

func (a *Stats) add(b Stats) {
	a.Commits += b.Commits
	a.Skips += b.Skips
	a.Evaluations += b.Evaluations
	a.Refused += b.Refused
	a.NotFinite += b.NotFinite
	a.Copies += b.Copies
	a.Recomputed += b.Recomputed
	a.Restored += b.Restored
	a.Audits += b.Audits
	a.Lost += b.Lost
	a.Rewound += b.Rewound
	a.Liars += b.Liars
	a.BytesIn += b.BytesIn
	a.BytesOut += b.BytesOut
	a.Frames += b.Frames
	a.OrdersSent += b.OrdersSent
	a.Statuses += b.Statuses
}

func (s *sim) event(e Event) {
	if s.room == nil || s.failure != "" {
		return
	}
	life := s.life
	for _, effect := range s.room.Handle(s.now, e) {
		s.effect(effect, life)
	}
}

// ifAlive lets an answer come to the room after a while, if that life goes on.
func (s *sim) ifAlive(life int, d time.Duration, f func() Event) {
	s.at(d, func() {
		if s.life == life && s.room != nil {
			s.event(f())
		}
	})
}

func (s *sim) effect(effect Effect, life int) {
	disk := time.Duration(s.rng.IntN(20)) * time.Millisecond
	switch e := effect.(type) {
	case Send:
		if o, ok := e.Message.(fsdp.Orders); ok && o.Version > s.committed {
			s.fail("tab %d hears of version %d before the log has it", e.Tab, o.Version)
		} else if ok {
			for _, eval := range o.Evals {
				if !s.evaluated[eval.Version] {
					s.fail("tab %d hears of the evaluation of version %d before the log has it", e.Tab, eval.Version)
				}
			}
		}
		if t := s.tab(e.Tab); t != nil && t.open {
			t.toTab(0, fsdp.Encode(e.Message))
		}
	case SendBulk:
		if t := s.tab(e.Tab); t != nil && t.open {
			t.toTab(1, e.Frame.Append(nil))
		}
	case Drop:
		s.log("drop tab %d: %s", e.Tab, e.Bye.Code)
		if t := s.tab(e.Tab); t != nil {
			if !e.Bye.Again {
				t.dead = true
			}
			t.hangUp()
		}
	case Append:
		if s.written.Before(s.now) { // records are written in order, each a while after it was to be
			s.written = s.now
		}
		s.written = s.written.Add(disk)
		s.at(s.written.Sub(s.now), func() {
			if s.life != life || s.room == nil {
				return
			}
			rec := e.Record
			if err := s.store.Append(simRoom, s.seq, Chain(&rec, s.chain, s.fence)); err != nil {
				s.event(Logged{rec, err})
				return
			}
			s.chain, s.seq = rec.Hash, s.seq+1
			switch rec.Kind {
			case Committed:
				s.committed = rec.Step + 1
			case Evaluated:
				s.evaluated[rec.Step] = true
			}
			s.ifAlive(life, time.Millisecond, func() Event { // it lasts, though nobody knows yet
				if rec.Kind == Rewound { // until then tabs may hear of the versions that are given up now
					s.committed = rec.Step
					maps.DeleteFunc(s.evaluated, func(version uint64, _ bool) bool { return version > rec.Step })
				}
				return Logged{Record: rec}
			})
		})
	case Store:
		data := e.Data
		s.at(disk, func() { // it is there even if the server dies before it hears of it
			if s.life != life || s.room == nil {
				return
			}
			hash, err := s.store.Put(simRoom, data)
			s.event(Stored{Tag: e.Tag, Hash: hash, Err: err})
		})
	case Load:
		s.ifAlive(life, disk, func() Event {
			data, err := s.store.Get(simRoom, e.Hash, e.Off, e.Len)
			return Loaded{Tag: e.Tag, Data: data, Err: err}
		})
	case Delete:
		if err := s.store.Delete(simRoom, e.Hashes...); err != nil {
			s.log("blobs cannot be deleted: %v", err)
		}
	case Note:
		if e.Code == "doubtful" && s.doubted != nil {
			s.doubted[e.Tab] = slices.Clone(s.room.unchecked[e.Tab])
		}
		s.log("  step %d %s: %s", e.Step, e.Code, e.Text)
	}
}

// Tabs.

func (s *sim) tab(id uint32) *simTab {
	for _, t := range s.tabs {
		if t.id == id && !t.dead {
			return t
		}
	}
	return nil
}

func (s *sim) join() *simTab {
	s.nextTab++
	t := &simTab{s: s, id: s.nextTab, speed: time.Duration(100+s.rng.IntN(400)) * time.Millisecond, group: string(rune('a' + s.rng.IntN(2)))}
	t.engine = newToy(s, t)
	t.worker = fsdp.NewWorker(s.run, s.table, t.engine, t)
	s.tabs = append(s.tabs, t)
	s.log("%v arrives", t)
	t.connect()
	var tick func()
	tick = func() {
		t.worker.Tick(s.now)
		s.after(300*time.Millisecond, t, tick)
	}
	s.after(0, t, tick)
	return t
}

func (t *simTab) connect() {
	if t.dead {
		return
	}
	if t.s.room == nil {
		t.s.after(time.Second, t, t.connect)
		return
	}
	t.conn++
	t.open, t.under = true, 0
	t.sockets = [4]time.Time{}
	conn, life := t.conn, t.s.life
	t.s.event(Joined{t.id, fsdp.Hello{Platform: "toy", Group: t.group}})
	t.s.after(5*time.Millisecond, t, func() {
		if t.conn != conn || !t.open || t.s.life != life {
			return
		}
		t.s.event(Attached{t.id})
		t.worker.Connected(t.s.now)
	})
}

// hangUp ends the connection; a tab that lives comes back.
func (t *simTab) hangUp() {
	if !t.open {
		return
	}
	t.open = false
	t.conn++
	if t.dead {
		return
	}
	t.s.after(0, t, t.worker.Disconnected)
	t.s.after(time.Duration(200+t.s.rng.IntN(1500))*time.Millisecond, t, t.connect)
}

// travel brings a frame through a socket: in order but where the scenario swaps, and whole but where it tears.
func (t *simTab) travel(socket int, b []byte, arrive func(b []byte)) {
	s, conn := t.s, t.conn
	if s.chance(s.plan.drop) {
		return
	}
	n := 1
	if s.chance(s.plan.dup) {
		n = 2
	}
	for range n {
		at := s.now.Add(time.Duration(1+s.rng.IntN(8)) * time.Millisecond)
		if s.chance(s.plan.swap) {
			at = at.Add(time.Duration(s.rng.IntN(500)) * time.Millisecond)
		} else {
			if at.Before(t.sockets[socket]) {
				at = t.sockets[socket]
			}
			t.sockets[socket] = at
		}
		b := b
		if s.chance(s.plan.tear) {
			b = b[:s.rng.IntN(len(b))]
		}
		s.at(at.Sub(s.now), func() {
			if t.conn == conn && t.open {
				arrive(b)
			}
		})
	}
}

// toTab sends a frame from the room.
func (t *simTab) toTab(socket int, b []byte) {
	if socket == 1 {
		t.under += len(b)
		t.s.most = max(t.s.most, t.under)
	}
	t.travel(socket, b, func(b []byte) {
		conn := t.conn
		t.s.after(0, t, func() {
			if t.conn != conn || !t.open {
				return
			}
			f, err := fsdp.Parse(b)
			if err != nil { // a torn frame ends a connection
				t.s.log("%v got a bad frame: %v", t, err)
				t.s.event(Gone{t.id, "bad frame"})
				t.hangUp()
				return
			}
			if f.Type.Bulk() {
				t.under -= len(b)
				t.worker.ReceiveBulk(t.s.now, f.Header, numbers(f.Body))
				return
			}
			m, err := fsdp.Decode(f)
			if err != nil {
				t.s.fail("the room sent what cannot be decoded: %v", err)
				return
			}
			t.worker.Receive(t.s.now, m)
		})
	})
}

// toRoom sends a frame to the room.
func (t *simTab) toRoom(socket int, b []byte) {
	if t.wire != nil {
		t.wire(socket, b)
		return
	}
	if !t.open {
		return
	}
	life := t.s.life
	t.travel(2+socket, b, func(b []byte) {
		if t.s.life != life {
			return
		}
		f, err := fsdp.Parse(b)
		if err != nil {
			t.s.log("the room got a bad frame of %v: %v", t, err)
			t.s.event(Gone{t.id, "bad frame"})
			t.hangUp()
			return
		}
		if f.Type.Bulk() {
			t.s.event(GotFrame{t.id, f})
			return
		}
		m, err := fsdp.Decode(f)
		if err != nil {
			t.s.fail("%v sent what cannot be decoded: %v", t, err)
			return
		}
		t.s.event(GotMessage{t.id, m})
	})
}

// Send implements fsdp.Port.
func (t *simTab) Send(m fsdp.Message) { t.toRoom(0, fsdp.Encode(m)) }

// SendPiece implements fsdp.Port.
func (t *simTab) SendPiece(h fsdp.Header, p fsdp.Piece) {
	send := func() {
		f := fsdp.Frame{Header: h, Body: t.engine.bytes(h, p)}
		if f.Body == nil {
			return // it went meanwhile
		}
		if t.s.rng.IntN(2) == 0 {
			f.Flags |= fsdp.FlagCRC
		}
		t.toRoom(1, f.Append(nil))
	}
	if h.Type == fsdp.TypeGradient {
		send()
	} else {
		t.engine.then(send)
	}
}

func (s *sim) alive() []*simTab {
	var list []*simTab
	for _, t := range s.tabs {
		if !t.dead {
			list = append(list, t)
		}
	}
	return list
}

// victim is a tab that something may happen to; nil leaves the last honest one alone where kills are not to be all.
func (s *sim) victim() *simTab {
	list := s.alive()
	if len(list) == 0 {
		return nil
	}
	return list[s.rng.IntN(len(list))]
}

// scenario draws a run and its faults from the seed.
func scenario(seed uint64) *sim {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &sim{seed: seed, rng: rng, now: epochZero, disk: newMemDisk(), evaluated: map[uint64]bool{}}
	pick := func(n int) int { return rng.IntN(n) }
	var params []fsdp.Param
	for i := range 1 + pick(5) {
		shape := tensor.Of(1+pick(9), 1+pick(7))
		if pick(4) == 0 {
			shape = tensor.Of(1) // a gate
		}
		params = append(params, fsdp.Param{Name: fmt.Sprintf("p%d", i), Shape: shape, Unit: fmt.Sprintf("u%d", i/2)})
	}
	dtypes := []string{"bfloat16", "float32"}
	s.cfg = Config{
		Run: fsdp.Run{ID: fmt.Sprint(seed), Strategy: fsdp.Strategies[pick(4)], Wrap: []string{"transformer", "none", "size:20"}[pick(3)], Params: params,
			Slots: 1 + pick(6), Shards: 1 + pick(5), Steps: 2 + pick(6), ReduceDType: dtypes[pick(2)], ParamDType: dtypes[pick(2)],
			MaxGradNorm: []float64{0, 0.01, 1}[pick(3)], Checkpoint: 1 + pick(4), Piece: 4 + pick(40), Window: 1 + pick(4)},
		MinTabs: 1 + pick(3), MaxTabs: 50, Schedule: seed,
	}
	mean := func(n int) time.Duration {
		if pick(2) == 0 {
			return 0
		}
		return time.Duration(500+pick(n)) * time.Millisecond
	}
	p := func(x float64) float64 {
		if pick(2) == 0 {
			return 0
		}
		return x * rng.Float64()
	}
	s.plan = faults{until: time.Duration(5+pick(30)) * time.Second, drop: p(0.1), dup: p(0.1), swap: p(0.2), tear: p(0.01),
		kill: mean(8000), freeze: mean(8000), cut: mean(6000), die: mean(8000), joins: mean(8000), leaves: mean(10000), pauses: mean(10000)}
	if pick(5) == 0 {
		s.plan = faults{} // the run without faults
	}
	if pick(3) == 0 {
		s.cfg.Audit = 0.3
	}
	if pick(3) == 0 {
		s.plan.rots = time.Duration(500+pick(6000)) * time.Millisecond
	}
	if pick(5) == 0 {
		s.plan.strikes = time.Duration(500+pick(6000)) * time.Millisecond
	}
	s.cfg.Run.SumFirst = pick(4) == 0
	if pick(4) == 0 { // one bad tab among three that stay
		s.plan.kill, s.plan.freeze, s.plan.leaves, s.plan.cut, s.plan.die = 0, 0, 0, 0, 0
		s.plan.liar, s.plan.broken = pick(2) == 0, pick(2) == 0
		s.cfg.MinTabs = 4
		if s.plan.liar {
			s.plan.drop, s.plan.tear = 0, 0 // a lie goes through where nobody is there to compare with
			s.cfg.Audit = 1                 // each step is audited: the slot of the lie too, if there is but one
			s.cfg.Run.Slots = 1
			if pick(2) == 0 { // lies about tokens are found without an audit
				s.cfg.Tokens = func(step uint64, from, to int) (tokens int) {
					for k := from; k < to; k++ {
						tokens += toyTokens(seed, step, k)
					}
					return tokens
				}
			}
		}
	}
	if pick(2) == 0 {
		e := &fsdp.Evaluation{Every: pick(4), First: pick(2) == 0, Classes: []int{0, 3}[pick(2)]}
		e.First = e.First || e.Every == 0
		for range 1 + pick(5) {
			e.Tokens = append(e.Tokens, 1+pick(9))
		}
		s.cfg.Run.Eval = e
	}
	return s
}

// simulate runs the scenario to its end and checks what must hold.
func (s *sim) simulate() {
	s.run = &s.cfg.Run
	var err error
	if s.table, err = s.run.Table(); err != nil {
		s.fail("%v", err)
		return
	}
	if !s.run.SumFirst && !s.partial { // else the log will say in what slots
		s.want = toyReference(s.run, s.table, s.seed, nil)
	}
	s.boot()
	for i := range s.cfg.MinTabs {
		t := s.join()
		t.lies, t.broken = s.plan.liar && i >= 1 && i <= max(s.liars, 1), s.plan.broken && i == 2
	}
	kill := func(t *simTab) {
		if t != nil {
			s.log("%v killed", t)
			t.dead = true
			if t.open {
				t.open = false
				s.at(time.Duration(s.rng.IntN(100))*time.Millisecond, func() { s.event(Gone{t.id, "killed"}) })
			}
		}
	}
	s.every(s.plan.kill, func() { kill(s.victim()) })
	s.every(s.plan.freeze, func() {
		if t := s.victim(); t != nil {
			t.frozen = s.now.Add(time.Duration(s.rng.IntN(25)) * time.Second)
			s.log("%v frozen until %v", t, t.frozen.Sub(epochZero))
		}
	})
	s.every(s.plan.cut, func() {
		if t := s.victim(); t != nil && t.open {
			s.log("%v cut off", t)
			s.event(Gone{t.id, "cut off"})
			t.hangUp()
		}
	})
	s.every(s.plan.die, s.crash)
	s.every(s.plan.rots, s.rot)
	s.every(s.plan.strikes, func() {
		s.struck = true
		left := s.rng.IntN(4)
		s.disk.fault = func(op, path string) error {
			if left--; left >= 0 {
				return nil
			}
			s.disk.fault = nil
			s.log("%s %s fails", op, path)
			return fmt.Errorf("%s %s: %w", op, path, errDisk)
		}
	})
	s.every(s.plan.joins, func() {
		if len(s.alive()) < 8 {
			s.join()
		}
	})
	s.every(s.plan.leaves, func() {
		if t := s.victim(); t != nil {
			s.log("%v leaves", t)
			t.worker.Leave(s.now)
			s.at(time.Second, func() { kill(t) })
		}
	})
	s.every(s.plan.pauses, func() {
		s.event(Asked{Op: Pause})
		s.at(2*time.Second, func() { s.event(Asked{Op: Resume}) })
	})
	s.at(s.plan.until+2*time.Second, func() { // from here on all is well, and somebody is there; the run may be over
		s.event(Asked{Op: Resume})
		for len(s.alive()) < s.cfg.MinTabs {
			s.join()
		}
	})
	// A step takes at most the tabs' slowest pace for all slots one after another, gathers included, thrice; and a
	// frozen tab or one that does not answer is waited for.
	pace := 600 * time.Millisecond
	slots := s.run.Steps * (s.run.Slots + 1)
	if s.run.Eval != nil {
		slots += (s.run.Steps + 1) * (len(s.run.Eval.Tokens) + 1)
	}
	limit := s.plan.until + time.Minute + 3*time.Duration(slots)*pace*time.Duration(2+len(s.table.Units))
	for s.queue.Len() > 0 && s.failure == "" {
		e := heap.Pop(&s.queue).(simEvent)
		s.now = e.at
		if s.now.Sub(epochZero) > limit {
			s.dump()
			s.fail("not done after %v: step %d of %d", limit, s.step(), s.run.Steps)
			return
		}
		e.f()
		if s.leave != nil && s.leave() {
			return
		}
		if s.room != nil && s.room.phase == Failed {
			if (s.plan.rots > 0 || s.struck) && strings.Contains(s.room.reason, "damaged, and no tab holds") {
				s.gaveUp = true
				s.stats.add(s.room.Stats)
				return
			}
			if !s.struck {
				s.fail("the room failed: %s", s.room.reason)
			}
			s.crash() // by whoever runs the server
		}
		if s.doomed {
			s.doomed = false
			s.crash()
		}
		if s.room != nil && s.room.phase == Done { // a little trouble more, and then rest
			s.plan.until = min(s.plan.until, s.now.Sub(epochZero)+3*time.Second)
		}
		if s.room != nil && s.room.phase == Done && s.now.Sub(epochZero) > s.plan.until && s.allFinished() {
			break
		}
	}
	if s.failure == "" && s.room != nil {
		s.stats.add(s.room.Stats)
		for tab := range s.room.removed {
			if s.liars > 0 && (tab < 2 || int(tab) > s.liars+1) {
				s.fail("the honest tab %d was removed", tab)
			}
		}
		if s.partial {
			s.checkDoubts()
		} else {
			s.check()
		}
	}
}

// dump logs where a run stands that does not go on.
func (s *sim) dump() {
	if s.room == nil {
		return
	}
	r := s.room
	s.log("phase %s, step %d, sealed %v, base %d, saving %v, audit %+v, places %v", r.phase, r.step, r.sealed(), r.base.version, r.saving, r.audit, r.places)
	for k, sl := range r.slots {
		s.log("  slot %d: %+v pull %+v", k, *sl, sl.pull)
	}
	for _, t := range r.inOrder() {
		s.log("  %s: online %v attached %v keep %v held %v work %v status %+v sent %+v", t.label(), t.online, t.attached, t.keep, t.held, t.work, t.status, t.sent)
	}
	for _, t := range s.alive() {
		s.log("  %v: open %v engine %+v fetch %v worker %+v", t, t.open, t.engine.now, t.engine.fetch, t.worker)
	}
}

func (s *sim) step() uint64 {
	if s.room == nil {
		return 0
	}
	return s.room.step
}

func (s *sim) allFinished() bool {
	for _, t := range s.alive() {
		if !t.finished && len(t.engine.shards) > 0 {
			return false
		}
	}
	return true
}

// check holds the end against the reference.
func (s *sim) check() {
	s.disk.fault = nil
	entries, tail, err := s.store.Read(simRoom)
	if err != nil {
		s.fail("%v", err)
		return
	}
	all, err := ParseLog(entries, tail)
	if err != nil || len(tail.Bytes) > 0 {
		s.fail("the log does not verify: %v, and %d bytes that are no entry", err, len(tail.Bytes))
		return
	}
	var records []Record // commits that count
	var evals []fsdp.Evaluated
	for _, rec := range all {
		switch rec.Kind {
		case Rewound:
			records = records[:rec.Step]
			evals = slices.DeleteFunc(evals, func(e fsdp.Evaluated) bool { return e.Version > rec.Step })
		case Committed:
			records = append(records, rec)
		case Evaluated:
			if evals = append(evals, *rec.Eval); rec.Step != uint64(len(records)) || len(rec.Slots) != len(s.run.Eval.Tokens) {
				s.fail("the evaluation %+v stands after %d commits", rec, len(records))
			}
		}
	}
	if s.run.SumFirst {
		var groups []int
		for _, rec := range records {
			groups = append(groups, len(rec.Slots))
		}
		if len(groups) != s.run.Steps || slices.Min(groups) < 1 || slices.Max(groups) > s.run.Slots {
			s.fail("the steps had %v slots, at most %d micro-batches each", groups, s.run.Slots)
			return
		}
		s.want = toyReference(s.run, s.table, s.seed, groups)
	}
	if len(records) != s.run.Steps {
		s.fail("%d commits in the log, want %d", len(records), s.run.Steps)
		return
	}
	for i, rec := range records {
		w := s.want.commits[i]
		if rec.Step != w.Step || rec.Applied != w.Applied || rec.Factor != w.Factor || rec.Updates != w.Updates || rec.Loss != w.Loss || rec.Norm != w.Norm || rec.Applied && rec.Tokens != w.Tokens {
			s.fail("commit %d is %+v, want %+v", i, rec, w)
			return
		}
		if !s.run.SumFirst && len(rec.Slots) != s.run.Slots {
			s.fail("commit %d names %d slots", i, len(rec.Slots))
		}
	}
	if !reflect.DeepEqual(evals, s.want.evals) {
		s.fail("the evaluations are %+v, want %+v", evals, s.want.evals)
		return
	}
	for _, t := range s.alive() {
		if t.finished && (t.engine.heard < uint64(s.run.Steps) || s.run.Eval.Due(t.engine.heard) && !t.engine.judged[t.engine.heard]) {
			s.fail("%v is finished and has heard of version %d only, evaluated: %v", t, t.engine.heard, t.engine.judged)
		}
	}
	final := s.room.Final()
	for i := range s.table.Shards {
		v := s.table.Shard(i)
		var want []byte
		for _, x := range [][]float32{s.want.p, s.want.m, s.want.v} {
			v.Flat(0, v.Len, func(_ int, sp fsdp.Span) { want = tensor.EncodeF32(want, x[sp.Off:sp.Off+sp.Len], tensor.F32) })
		}
		if got, err := s.store.Get(simRoom, final[i], 0, int64(len(want))); s.room.bad[final[i]] || (s.plan.rots > 0 || s.struck) && err != nil {
			s.log("the final state of shard %d is damaged, which is known: %v", i, err)
		} else if !bytes.Equal(got, want) {
			s.fail("the final state of shard %d differs from the run without faults", i)
			return
		}
		for _, t := range s.alive() {
			version, ok := t.worker.Held(i)
			if held := t.engine.shards[i]; ok && version == uint64(s.run.Steps) && !slices.Equal(bitsOf(held.p), bitsOf(wantOf(v, s.want.p))) {
				s.fail("%v ends with another shard %d", t, i)
				return
			}
		}
	}
	live := s.room.Live()
	if blobs := s.disk.paths("/blobs/"); len(blobs) > len(live)+s.life {
		s.fail("%d blobs are kept, %d are needed", len(blobs), len(live))
	}
	bound := 2 * (s.table.Shards + 1) * 2 * s.run.Window * (4*s.run.Piece + fsdp.HeaderLen)
	if s.plan.drop+s.plan.dup+s.plan.swap+s.plan.tear == 0 && s.plan.freeze == 0 && s.most > bound {
		s.fail("%d bytes were under way to one tab, the windows allow %d", s.most, bound)
	}
	if !s.plan.liar && s.stats.Liars > 0 {
		s.fail("an honest tab was called a liar")
	}
}

func wantOf(v *fsdp.View, x []float32) []float32 {
	var out []float32
	v.Flat(0, v.Len, func(_ int, sp fsdp.Span) { out = append(out, x[sp.Off:sp.Off+sp.Len]...) })
	return out
}

func bitsOf(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, f := range x {
		b[i] = math.Float32bits(f)
	}
	return b
}

// trySeed simulates a seed, and once more with a trace if it fails.
func trySeed(t *testing.T, seed uint64, scenario func(seed uint64) *sim) (s *sim) {
	defer func() {
		if e := recover(); e != nil {
			t.Errorf("seed %d", seed)
			panic(e)
		}
	}()
	s = scenario(seed)
	s.tracing = *oneSeed != 0
	s.simulate()
	if s.tracing {
		t.Log("\n" + strings.Join(s.trace, "\n"))
	}
	if s.failure == "" {
		return s
	}
	again := scenario(seed)
	again.tracing = true
	again.simulate()
	tail := again.trace[max(0, len(again.trace)-60):]
	t.Errorf("seed %d (%s, %d slots, %d shards, %d steps): %s\nreplay it with: go test ./server/room -run %s -seed %d -v\nits end:\n%s",
		seed, s.run.Strategy, s.run.Slots, s.run.Shards, s.run.Steps, s.failure, strings.Split(t.Name(), "/")[0], seed, strings.Join(tail, "\n"))
	return s
}

// Every seed is a run of its own; two halves run side by side.
func TestSimulation(t *testing.T) {
	if *oneSeed != 0 {
		trySeed(t, *oneSeed, scenario)
		return
	}
	simulateSeeds(t, *firstSeed, *seedCount)
}

// simulateSeeds tries seeds and checks that together they met with every kind of trouble.
func simulateSeeds(t *testing.T, first, n uint64) {
	var mu sync.Mutex
	var sum Stats
	begin := time.Now()
	t.Run("seeds", func(t *testing.T) {
		const parts = 4
		for part := range uint64(parts) {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for seed := first + part; seed < first+n && !t.Failed(); seed += parts {
					s := trySeed(t, seed, scenario)
					mu.Lock()
					sum.add(s.stats)
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%.0f seeds a second; %+v", float64(n)/time.Since(begin).Seconds(), sum)
	for what, n := range map[string]int64{"recomputed": sum.Recomputed, "restored": sum.Restored, "copies": sum.Copies, "refused": sum.Refused,
		"not finite": sum.NotFinite, "skips": int64(sum.Skips), "evaluations": int64(sum.Evaluations), "liars": sum.Liars, "audits": sum.Audits, "damaged blobs": sum.Lost, "rewinds": sum.Rewound} {
		if n == 0 && !t.Failed() {
			t.Errorf("no seed saw any %s: the simulation misses something", what)
		}
	}
}
