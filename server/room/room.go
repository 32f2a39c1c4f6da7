package room

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// Config is what a room is opened with.
type Config struct {
	Run      fsdp.Run `json:"run"`
	Name     string   `json:"name,omitempty"`
	MinTabs  int      `json:"min_tabs"` // the run starts by itself with so many tabs; 0: the owner starts it
	MaxTabs  int      `json:"max_tabs"`
	Audit    float64  `json:"audit"`              // fraction of slots that a second tab computes, to compare
	Schedule uint64   `json:"schedule,omitempty"` // seeds the choice of audits

	// Tokens lets the room remove a tab that says another number of tokens. nil: only audits compare tokens.
	Tokens Tokens `json:"-"`
}

// Tokens is the number of counted tokens in the micro-batches [from, to) of a step, counted from 0.
type Tokens func(step uint64, from, to int) int

// Times of a room, as the protocol's document gives them.
const (
	suspectAfter  = 5 * time.Second  // without a status: the tab's slots are given to others as well
	deadAfter     = 15 * time.Second // without a status: the tab is dropped
	forgetAfter   = 2 * time.Minute  // offline: the tab is forgotten
	graceAfter    = 3 * time.Second  // offline: the tab's shards are given to others
	attachWithin  = 10 * time.Second // between the control socket and the data socket of a tab
	retryAfter    = 2 * time.Second  // pieces that have not come are asked for again
	retryBusy     = 15 * time.Second // the same for a shard of a tab that is computing
	stallAfter    = 10 * time.Second // pieces that have not come are pulled from another tab
	stuckAfter    = 2 * time.Minute  // the same for a shard of a tab that is computing
	repeatAfter   = time.Second      // orders that the tab has not seen are sent again
	copyFloor     = 2 * time.Second  // a slot is given to a second tab after this time at the earliest
	copyFactor    = 3                // and after so many times the mean time of a slot
	aheadPerTab   = 2                // slots of a tab: one that it computes, one that the room pulls meanwhile
	copiesOfASlot = 3
)

// Phase is a state of the room.
type Phase = message.RoomPhase

const (
	Lobby      = message.RoomLobby
	Evaluating = message.RoomEvaluating
	Computing  = message.RoomComputing
	Deciding   = message.RoomDeciding
	Saving     = message.RoomSaving
	Done       = message.RoomDone
	Failed     = message.RoomFailed
)

// Room is the state of a room. See the package's text.
type Room struct {
	cfg   Config
	run   *fsdp.Run
	table *fsdp.Table
	all   *fsdp.View

	now      time.Time
	opened   time.Time // of the first event
	reopened bool      // the log had records of an earlier life
	effects  []Effect
	started  bool
	paused   bool
	locked   bool // no further tab may join
	phase    Phase
	epoch    uint32
	step     uint64 // the step being computed, and the version that its slots are computed from
	updates  int
	chain    string // hash of the last record
	reason   string // of Failed

	tabs    map[uint32]*tab
	sorted  []*tab // by number
	removed map[uint32]bool
	changed bool // the event changed what tabs have or have to do; otherwise only the pulls go on

	slots              []*slot
	folded             []uint16      // by piece: slots 0 to n-1 are in the sum
	acc                []float32     // the sum of the gradients
	sums               []float64     // by piece: its sum of squares, once all slots are in it
	stepPace, evalPace time.Duration // see pace

	reduced map[uint64][]byte         // by step: the reduced gradient, shard after shard, float32
	commits map[uint64]Record         // by step: since the checkpoint before the last
	evals   map[uint64]fsdp.Evaluated // by version, all of them
	starts  []int                     // of each shard in a reduced gradient, elements

	places map[string][]place // by group, by shard
	params []params           // by shard
	saving *saving
	base   saved // the last checkpoint
	before saved // the one before it
	loads  map[string]load
	bad    map[string]bool // blobs that are damaged, and needed
	alarm  time.Time       // since when
	audit  *audit
	// toAudit are slots of the step that are to be audited, one after another.
	toAudit   []int
	unchecked map[uint32][]stepRange // by tab
	secret    maphash.Seed           // of the hashes that audits compare: no tab can make two gradients collide

	Stats Stats
}

// Stats counts what has happened in a room.
type Stats message.RoomStats

// tab is what the room knows of a tab.
type tab struct {
	id                    uint32
	name, platform, group string
	online, attached      bool
	joined, heard         time.Time
	away                  time.Time // since when it is not online
	status                fsdp.Status
	sent                  fsdp.Orders
	sentAt                time.Time
	dirty                 bool
	keep                  map[int]bool
	held                  map[int]uint64
	work                  []fsdp.Work
	slots                 int // computed so far, whose gradients were added
	slotTime              time.Duration
	leaving               bool
	usage                 map[string]int64 // bytes on its GPU by kind
	in, out               int64
	took, refused         int64 // bulk frames
}

// New makes the room that the records of a log lead to.
func New(cfg Config, records []Record) (*Room, error) {
	table, err := cfg.Run.Table()
	if err != nil {
		return nil, err
	}
	if cfg.MaxTabs == 0 {
		cfg.MaxTabs = 64
	}
	r := &Room{cfg: cfg, table: table, all: table.All(), phase: Lobby, tabs: map[uint32]*tab{}, removed: map[uint32]bool{},
		reduced: map[uint64][]byte{}, commits: map[uint64]Record{}, evals: map[uint64]fsdp.Evaluated{}, places: map[string][]place{}, loads: map[string]load{}, bad: map[string]bool{}, unchecked: map[uint32][]stepRange{}, secret: maphash.MakeSeed()}
	r.run = &r.cfg.Run
	r.folded, r.sums = make([]uint16, len(r.all.Pieces)), make([]float64, len(r.all.Pieces))
	r.acc = make([]float32, table.Len)
	r.params = make([]params, table.Shards)
	for i, at := 0, 0; i < table.Shards; i++ {
		r.starts = append(r.starts, at)
		at += table.Shard(i).Len
	}
	for i, rec := range records {
		if err := r.replay(rec); err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrDamaged, i, err)
		}
	}
	if r.reopened = len(records) > 1; len(records) > 0 {
		r.epoch += 1 << 16 // above what orders since the last record have used
	}
	r.effects = nil // the blobs were deleted when the records were written
	r.resetSlots(r.run.Slots, len(r.all.Pieces))
	if r.phase != Done && r.started {
		r.begin()
	}
	return r, nil
}

// nextEpoch numbers an order or a pull. No number is used twice, so a frame that answers an older order is recognised.
func (r *Room) nextEpoch() uint32 { r.epoch++; return r.epoch }

// Handle takes an event that happens at time now and returns its effects, in the order in which they must be carried out.
func (r *Room) Handle(now time.Time, e Event) []Effect {
	r.now, r.effects, r.changed = now, nil, true
	if r.opened.IsZero() {
		r.opened = now
	}
	switch e := e.(type) {
	case Joined:
		r.join(e)
	case Attached:
		if t := r.tabs[e.Tab]; t != nil && t.online {
			t.attached, t.dirty = true, true
		}
	case Gone:
		if t := r.tabs[e.Tab]; t != nil && t.online {
			r.lose(t, e.Reason)
		}
	case GotMessage:
		if t := r.tabs[e.Tab]; t != nil && t.online {
			_, pull := e.Message.(fsdp.Pull)
			r.changed = !pull
			r.hear(t, e.Message)
		}
	case GotFrame:
		r.changed = false // set again by the last piece of a slot or a shard
		if t := r.tabs[e.Tab]; t != nil && t.attached {
			r.bulk(t, e.Frame)
		} else {
			r.Stats.Refused++
		}
	case Asked:
		r.ask(e)
	case Stored:
		r.stored(e)
	case Logged:
		r.logged(e)
	case Loaded:
		r.loaded(e)
	case Damaged:
		r.damaged(e)
	case Ticked:
	}
	if r.phase != Failed {
		r.settle()
	}
	return r.effects
}

func (r *Room) do(e Effect) { r.effects = append(r.effects, e) }

func (r *Room) note(code string, tab uint32, format string, args ...any) {
	r.do(Note{Code: code, Tab: tab, Step: r.step, Text: fmt.Sprintf(format, args...)})
}

// Codes of a Moment, in their order within a step.
const (
	Evaluates  = "evaluates"  // it is to compute a slot of an evaluation
	Given      = "given"      // it is to compute a slot
	Computes   = "computes"   // it has seen the order and is computing the slot
	Pulled     = "pulled"     // the first piece of a slot's gradient has come, others are missing
	Folded     = "folded"     // the gradient of a slot is added completely
	Updates    = "updates"    // it was sent the last piece of a reduced gradient and updates a shard
	Publishes  = "publishes"  // the first piece of a shard's new parameters has come
	Gathers    = "gathers"    // it is sent a first piece of parameters
	Saves      = "saves"      // the first piece of a shard's state has come, for a checkpoint
	Recovering = "recovering" // it is sent a first piece of a shard's state
	Commits    = "commits"    // of all tabs: the step is decided
)

func (r *Room) moment(code string, tab uint32, format string, args ...any) {
	r.do(Moment{Code: code, Tab: tab, Step: r.step, Text: fmt.Sprintf(format, args...)})
}

// inOrder lists the tabs by number: no result depends on the order of a map.
func (r *Room) inOrder() []*tab { return r.sorted }

// listed makes a new list of the tabs; loops over the old list go on.
func (r *Room) listed() {
	r.sorted = slices.SortedFunc(maps.Values(r.tabs), func(a, b *tab) int { return cmp.Compare(a.id, b.id) })
}

func (r *Room) join(e Joined) {
	if r.removed[e.Tab] {
		r.do(Drop{e.Tab, fsdp.Bye{Code: "removed", Reason: "the room's owner has removed this tab"}})
		return
	}
	t := r.tabs[e.Tab]
	if t == nil {
		online := 0
		for _, o := range r.tabs {
			if o.online {
				online++
			}
		}
		if online >= r.cfg.MaxTabs {
			r.do(Drop{e.Tab, fsdp.Bye{Code: "full", Reason: fmt.Sprintf("the room has room for %d tabs", r.cfg.MaxTabs)}})
			return
		}
		t = &tab{id: e.Tab, keep: map[int]bool{}, held: map[int]uint64{}, joined: r.now}
		r.tabs[e.Tab] = t
		r.listed()
	}
	t.name, t.platform = e.Hello.Name, e.Hello.Platform
	t.group = cmp.Or(e.Hello.Group, t.group, r.smallestGroup())
	t.online, t.attached, t.leaving, t.heard, t.dirty = true, false, false, r.now, true
	t.status, t.sent, t.sentAt = fsdp.Status{}, fsdp.Orders{}, time.Time{}
	t.away = r.now // when it connected: the data socket must follow within attachWithin
	r.note("joined", t.id, "%s joined", t.label())
}

func (t *tab) label() string {
	if t.name != "" {
		return fmt.Sprintf("tab %d (%s)", t.id, t.name)
	}
	return fmt.Sprintf("tab %d", t.id)
}

// lose marks a tab as offline. Its slots are given to others at once, its shards after graceAfter.
func (r *Room) lose(t *tab, reason string) {
	r.changed = true
	t.online, t.attached, t.away, t.held = false, false, r.now, map[int]uint64{}
	r.release(t)
	r.note("gone", t.id, "%s is gone: %s", t.label(), reason)
}

// release takes all slots from t.
func (r *Room) release(t *tab) {
	t.work = nil
	for _, s := range r.slots {
		s.without(t.id)
	}
	r.audit.without(t.id)
}

func (r *Room) hear(t *tab, m fsdp.Message) {
	switch m := m.(type) {
	case fsdp.Status:
		r.Stats.Statuses++
		if m.Seq <= t.status.Seq {
			return
		}
		t.status, t.heard = m, r.now
		if m.Usage != nil {
			t.usage = m.Usage
		}
		t.held = map[int]uint64{}
		for _, h := range m.Held {
			if h.Shard < r.table.Shards {
				t.held[h.Shard] = h.Version
				// It has what it was told to drop, or was updating when the run went back, or lacks commits: the orders were for
				// what it had before.
				ahead := h.Version > r.step
				lacks := h.Version < r.step && !slices.ContainsFunc(t.sent.Commits, func(c fsdp.Commit) bool { return c.Step == h.Version })
				t.dirty = t.dirty || (!t.keep[h.Shard] || ahead || lacks) && m.Seen == t.sent.Seq
			}
		}
		t.dirty = t.dirty || r.lacksEval(t) && m.Seen == t.sent.Seq
		if m.Error != "" {
			r.note("tab_failed", t.id, "%s cannot go on: %s", t.label(), m.Error)
			r.do(Drop{t.id, fsdp.Bye{Code: "failed", Reason: m.Error}})
			r.lose(t, m.Error)
			return
		}
		if m.Leaving && !t.leaving {
			t.leaving = true
			r.release(t)
			r.note("leaving", t.id, "%s is about to leave", t.label())
		}
		for _, ready := range m.Slots {
			r.ready(t, ready)
		}
		for _, w := range t.work {
			if s := r.slots[w.Slot]; m.Seen == t.sent.Seq && s.copyAt(t.id) != nil && !s.copyAt(t.id).ready {
				r.moment(Computes, t.id, "%s computes slot %d", t.label(), w.Slot)
				break
			}
		}
	case fsdp.Pull:
		r.serve(t, m)
	}
}

// ask carries out an operation of the room's owner.
func (r *Room) ask(e Asked) {
	switch e.Op {
	case Start:
		r.start("by its owner")
	case Pause, Resume:
		r.paused = e.Op == Pause
		r.note(string(e.Op), 0, "the run is paused: %v", r.paused)
		r.dirtyAll()
	case Lock, Unlock:
		if r.locked == (e.Op == Lock) {
			return
		}
		r.locked = e.Op == Lock
		r.do(Append{Record{Kind: map[bool]Kind{true: Locked, false: Unlocked}[r.locked], Epoch: r.epoch}})
		r.note(string(e.Op), 0, "the room is locked: %v", r.locked)
	case Remove:
		if r.removed[e.Tab] {
			return
		}
		r.removed[e.Tab] = true
		r.do(Append{Record{Kind: Removed, Tab: e.Tab, Epoch: r.epoch}})
		t := r.tabs[e.Tab]
		if t == nil { // it is still loading: it is not let in
			return
		}
		r.expel(t, fsdp.Bye{Code: "removed", Reason: "the room's owner has removed this tab"})
	}
}

func (r *Room) expel(t *tab, bye fsdp.Bye) {
	r.do(Drop{t.id, bye})
	if t.online {
		r.lose(t, bye.Reason)
	}
	t.away = time.Time{} // no grace
}

func (r *Room) start(how string) {
	if r.started {
		return
	}
	r.started = true
	r.do(Append{Record{Kind: Started, Epoch: r.epoch}})
	r.note("started", 0, "started %s", how)
	r.begin()
}

func (r *Room) dirtyAll() {
	for _, t := range r.tabs {
		t.dirty = true
	}
}

// settle does all that the room can do now, and sends orders to the tabs.
func (r *Room) settle() {
	if !r.changed {
		r.pull()
	}
	if !r.changed {
		return
	}
	r.watch()
	r.rescue()
	r.place() // also before the start, when moving a shard costs nothing
	if !r.started && r.cfg.MinTabs > 0 {
		ready := 0
		for _, t := range r.tabs {
			if t.attached {
				ready++
			}
		}
		if ready >= r.cfg.MinTabs {
			r.start(fmt.Sprintf("with %d tabs", ready))
		}
	}
	if r.started && r.works() {
		r.assign()
	}
	r.pull()
	switch {
	case !r.started:
	case r.phase == Computing:
		r.decide()
	case r.phase == Evaluating:
		r.conclude()
	}
	for _, t := range r.inOrder() {
		r.order(t)
	}
}

// pull goes on with all that is pulled.
func (r *Room) pull() {
	if !r.started {
		return
	}
	r.pullParams()
	r.pullState()
	if r.phase == Computing {
		r.pullGradients()
		r.runAudit()
	}
}

// watch drops tabs that are silent for too long, and forgets tabs that stay away.
func (r *Room) watch() {
	for _, t := range r.inOrder() {
		switch silent := r.now.Sub(t.heard); {
		case t.online && silent >= deadAfter:
			r.do(Drop{t.id, fsdp.Bye{Code: "silent", Reason: "nothing was heard for a while", Again: true}})
			r.lose(t, fmt.Sprintf("nothing was heard for %v", silent.Round(time.Second)))
		case t.online && !t.attached && r.now.Sub(t.away) >= attachWithin:
			r.do(Drop{t.id, fsdp.Bye{Code: "unattached", Reason: "the data socket did not come", Again: true}})
			r.lose(t, "its data socket did not come")
		case !t.online && r.now.Sub(t.away) >= forgetAfter && !r.audit.involves(t.id):
			delete(r.tabs, t.id)
			r.listed()
		}
	}
}

// suspect reports whether a tab has sent no status for so long that others should compute its slots as well.
func (r *Room) suspect(t *tab) bool { return r.now.Sub(t.heard) >= suspectAfter }

// order sends t its orders where they changed, or were not seen for a while.
func (r *Room) order(t *tab) {
	if !t.attached {
		return
	}
	unseen := t.status.Seen < t.sent.Seq && t.status.Seq > 0 && r.now.Sub(t.sentAt) >= repeatAfter
	if !t.dirty && !unseen && t.sent.Seq > 0 {
		return
	}
	o := fsdp.Orders{Seq: t.sent.Seq + 1, Epoch: r.epoch, Version: r.step, Oldest: r.oldest(), Gather: r.sealed(), Work: slices.Clone(t.work),
		Done: r.phase == Done, Phase: string(r.Phase())}
	oldest := r.step
	for _, i := range slices.Sorted(maps.Keys(t.keep)) {
		base := r.baseOf(i)
		o.Shards = append(o.Shards, fsdp.Keep{Shard: i, Base: base})
		if v, ok := t.held[i]; ok {
			oldest = min(oldest, v)
		} else {
			oldest = min(oldest, base)
		}
	}
	if oldest == r.step && oldest > 0 {
		oldest-- // the last commit carries the loss that the page shows
	}
	for s := oldest; s < r.step && len(o.Commits) < fsdp.MaxCommits; s++ {
		if rec, ok := r.commits[s]; ok { // a shard that is too old for that starts again from the last checkpoint
			o.Commits = append(o.Commits, rec.Commit())
		}
	}
	o.Evals = r.evalsFor(t, o.Commits)
	t.sent, t.sentAt, t.dirty = o, r.now, false
	r.Stats.OrdersSent++
	r.do(Send{Tab: t.id, Message: o})
}

// Phase is what people are shown: the phase, or that the room is paused.
func (r *Room) Phase() Phase {
	if r.paused && r.works() {
		return message.RoomPaused
	}
	return r.phase
}

// Step is the step being computed: the version of the parameters that it starts from.
func (r *Room) Step() uint64 { return r.step }

// Config is what the room was opened with, defaults filled in.
func (r *Room) Config() Config { return r.cfg }

// fail ends the room because its storage failed. Tabs are told to come back: the server may be started again.
func (r *Room) fail(err error) {
	r.phase, r.reason = Failed, err.Error()
	r.note("storage_failed", 0, "the room cannot go on: %v", err)
	for _, t := range r.inOrder() {
		if t.online {
			r.do(Drop{t.id, fsdp.Bye{Code: "storage", Reason: err.Error(), Again: true}})
		}
	}
}

var errRecord = errors.New("it contradicts the records before it")

// replay applies a record of the log.
func (r *Room) replay(rec Record) error {
	r.epoch = max(r.epoch, rec.Epoch)
	switch rec.Kind {
	case Opened, Reopened:
	case Started:
		r.started = true
	case Committed:
		if rec.Step != r.step || r.step >= uint64(r.run.Steps) {
			return fmt.Errorf("%w: a commit of step %d at step %d", errRecord, rec.Step, r.step)
		}
		r.take(rec)
		r.noteCommit(rec, true)
		r.step++
	case Evaluated:
		if rec.Eval == nil || rec.Step != r.step || rec.Eval.Version != r.step || !r.evaluationDue() {
			return fmt.Errorf("%w: an evaluation of version %d at step %d", errRecord, rec.Step, r.step)
		}
		r.evals[rec.Step] = *rec.Eval
	case Saved:
		if rec.Step > r.step || len(rec.Blobs) != r.table.Shards {
			return fmt.Errorf("%w: a checkpoint of version %d with %d shards at step %d", errRecord, rec.Step, len(rec.Blobs), r.step)
		}
		r.rebase(rec)
		if rec.Step == uint64(r.run.Steps) {
			r.phase = Done
		}
	case Rewound:
		c, ok := r.commits[rec.Step]
		if !ok || rec.Step >= r.step || rec.Step < r.before.version {
			return fmt.Errorf("%w: back to version %d at step %d", errRecord, rec.Step, r.step)
		}
		r.rewind(rec.Step, c)
	case Removed:
		r.removed[rec.Tab] = true
	case Locked, Unlocked:
		r.locked = rec.Kind == Locked
	default:
		return fmt.Errorf("%w: kind %q", errRecord, rec.Kind)
	}
	r.chain = rec.Hash
	return nil
}

// OpenedRecord is the first record of a room's log.
func OpenedRecord(cfg Config, code string, secret []byte) Record {
	text, err := json.Marshal(cfg)
	if err != nil {
		panic(err)
	}
	return Record{Kind: Opened, Config: text, Code: code, Secret: secret}
}
