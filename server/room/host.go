package room

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// Limits of what may wait, in bytes.
const (
	inboxBytes = 32 << 20 // for a room; a socket whose frames do not fit waits with reading
	tickEvery  = 100 * time.Millisecond
	diaryLines = 500 // that a room keeps for people
)

// Host runs a room: it passes events to the state machine and carries out its effects on disk and sockets.
type Host struct {
	ID string

	store  Storage
	bus    Bus
	lease  Lease
	fence  uint64
	inbox  Inbox
	log    *slog.Logger
	code   string
	secret []byte
	run    fsdp.Run
	past   history         // of earlier lives of the server
	text   json.RawMessage // of run
	conns  atomic.Uint64
	opened time.Time

	events chan Event
	jobs   chan job
	stop   context.CancelFunc
	ended  chan struct{}

	mu     sync.Mutex // guards the fields below: the loop writes them, HTTP handlers read them
	room   *Room
	use    *ledger
	diary  []message.RoomNote
	next   uint32            // number of the next tab
	live   map[uint32]uint64 // the connection of each connected tab
	seats  map[uint32]*seat
	losses []Loss   // of all steps, for the page
	before *float64 // the loss on held-out rows before the first step
	chain  string
	seq    int
}

// job is a disk operation. Jobs run in order. A job returns the event that answers it, nil for none.
type job func() Event

// Create opens a new room. An empty code is drawn.
func Create(id string, cfg Config, code string, store Storage, bus Bus, log *slog.Logger) (*Host, error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("room: %q cannot name a room: use a to z, 0 to 9 and -", id)
	}
	if code == "" {
		code = NewCode()
	}
	if _, err := cfg.Run.Table(); err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	opened := OpenedRecord(cfg, code, secret)
	h, err := open(id, &opened, store, bus, log)
	if err == nil {
		h.CheckTokens(cfg.Tokens)
	}
	return h, err
}

// Reopen opens a room that has a log, where that ends.
func Reopen(id string, store Storage, bus Bus, log *slog.Logger) (*Host, error) {
	return open(id, nil, store, bus, log)
}

func open(id string, first *Record, store Storage, bus Bus, log *slog.Logger) (*Host, error) {
	lease, err := store.Acquire(id)
	if err != nil {
		return nil, err
	}
	h := &Host{ID: id, store: store, bus: bus, lease: lease, log: log.With("room", id), events: make(chan Event, 64), jobs: make(chan job, 1024),
		ended: make(chan struct{}), live: map[uint32]uint64{}, seats: map[uint32]*seat{}, opened: time.Now()}
	if err := h.open(first); err != nil {
		return nil, errors.Join(err, lease.Release())
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	go h.work(ctx)
	go h.loop(ctx)
	return h, nil
}

// open takes up the room where its log ends; first is the first record of a new one.
func (h *Host) open(first *Record) error {
	o, err := openRoom(h.ID, h.store, h.lease, first)
	if err != nil {
		return err
	}
	h.room, h.fence = o.room, o.fence
	h.chain, h.seq = o.records[len(o.records)-1].Hash, len(o.records)
	h.code, h.secret = o.records[0].Code, o.records[0].Secret
	lives := uint32(0)
	for _, r := range o.records {
		if r.Kind == Reopened {
			lives++
		}
		h.past.add(r)
		h.noteLoss(r)
	}
	h.next = lives<<12 + 1 // tabs of earlier lives come back under their own numbers
	h.run = *h.room.run
	if h.text, err = json.Marshal(h.run); err != nil {
		return err
	}
	h.use = newLedger(h.room, time.Now())
	for _, n := range o.notes {
		h.note(n.level, n.note)
	}
	for _, fault := range o.faults {
		h.handle(fault)
	}
	h.inbox, err = h.bus.Listen(homeAddress(h.ID), inboxBytes)
	return err
}

// note keeps a note in the diary and logs it; the caller holds the lock, or is alone.
func (h *Host) note(level slog.Level, n Note) {
	h.log.Log(context.Background(), level, n.Text, "code", n.Code, "step", n.Step, "tab", n.Tab)
	if len(h.diary) >= diaryLines {
		h.diary = append(h.diary[:0], h.diary[diaryLines/2:]...)
	}
	h.diary = append(h.diary, message.RoomNote(n))
}

func homeAddress(room string) string { return "room/" + room + "/home" }

func tabAddress(room string, tab uint32, conn uint64, socket Socket) string {
	return fmt.Sprintf("room/%s/%d/%d/%s", room, tab, conn, socket)
}

// end closes the room for good and deletes its folder.
func (h *Host) end() error {
	h.mu.Lock()
	for tab := range h.live {
		h.drop(tab, fsdp.Bye{Code: "ended", Reason: "the room's owner has ended the room"})
	}
	h.mu.Unlock()
	return errors.Join(h.Close(), h.store.Forget(h.ID))
}

// Close stops the room on this server; its folder stays. Tabs are told to come back.
func (h *Host) Close() error {
	h.stop()
	<-h.ended
	return h.lease.Release()
}

// NewCode draws a code of six digits, which is easy to read out and to type. limiter bounds the number of guesses.
func NewCode() string {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil { // the system's source of randomness does not fail
		panic(err)
	}
	return fmt.Sprintf("%06d", n)
}

// Describes tells whether the room is for a run, defaults filled in.
func (h *Host) Describes(run fsdp.Run) bool {
	if _, err := run.Table(); err != nil {
		return false
	}
	text, err := json.Marshal(run)
	return err == nil && string(text) == string(h.text)
}

// Earlier returns the commits and evaluations that the log held when the room was opened.
func (h *Host) Earlier() ([]fsdp.Commit, []fsdp.Evaluated) { return h.past.commits, h.past.evals }

// CheckTokens has the room compare the tokens that tabs say with f; see Config.Tokens. A log does not hold this function.
func (h *Host) CheckTokens(f Tokens) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.room.cfg.Tokens = f
}

// Job is the run.json of a room that pages may join, nil for another.
func (h *Host) Job() json.RawMessage { return h.run.Job }

// Code is what lets people in.
func (h *Host) Code() string { return h.code }

// token is the token of tab number id: HMAC-SHA-256 of room and number under the room's secret. 0 is the owner.
func (h *Host) token(id uint32) string {
	mac := hmac.New(sha256.New, h.secret)
	mac.Write(binary.LittleEndian.AppendUint32([]byte(h.ID), id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// OwnerToken is the token of the room's owner, who may start and pause the run and remove tabs.
func (h *Host) OwnerToken() string { return h.token(0) }

// Owns tells whether a token is the owner's.
func (h *Host) Owns(token string) bool { return same(token, h.token(0)) }

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

var (
	errCode   = errors.New("wrong room code")
	errToken  = errors.New("wrong token")
	errLocked = errors.New("the room's owner has locked the room")
)

// admit checks a Hello and returns the tab's number, a new one for a tab that comes for the first time.
func (h *Host) admit(hello fsdp.Hello) (tab uint32, err error) {
	if hello.Token != "" && hello.Tab != 0 {
		if !same(hello.Token, h.token(hello.Tab)) {
			return 0, errToken
		}
		return hello.Tab, nil
	}
	if !same(hello.Code, h.code) {
		return 0, errCode
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.room.locked {
		return 0, errLocked
	}
	tab = h.next
	h.next++
	return tab, nil
}

// noteLoss keeps the loss of a commit or an evaluation for the page.
func (h *Host) noteLoss(r Record) {
	switch {
	case r.Kind == Rewound:
		h.losses = h.losses[:r.Step]
	case r.Kind == Committed:
		h.losses = append(h.losses, Loss{Step: r.Step + 1, Loss: r.Loss, Norm: r.Norm})
	case r.Kind != Evaluated || r.Eval.Invalid:
	case r.Step == 0:
		h.before = &r.Eval.Loss
	default:
		h.losses[r.Step-1].Eval = &r.Eval.Loss
	}
}

// Ask passes the owner's operation on to the room.
func (h *Host) Ask(op Op, tab uint32) {
	if op == Remove && !h.knows(tab) {
		return
	}
	h.send(Asked{Op: op, Tab: tab})
}

func (h *Host) send(e Event) {
	select {
	case h.events <- e:
	case <-h.ended:
	}
}

// loop is the only goroutine that changes the room.
func (h *Host) loop(ctx context.Context) {
	defer close(h.ended)
	defer h.inbox.Close()
	defer h.hangUp()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	h.handle(Ticked{})
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-h.events:
			h.handle(e)
		case <-tick.C:
			h.handle(Ticked{})
		case <-h.inbox.Ready():
			// One parcel at a time, so that answers of the disk do not wait behind a full inbox.
			if p, ok := h.inbox.Take(); ok {
				h.parcel(p)
			}
		}
	}
}

// hangUp says goodbye to all tabs.
func (h *Host) hangUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for tab := range h.live {
		h.drop(tab, fsdp.Bye{Code: "restart", Reason: "the server is being stopped", Again: true})
	}
}

func (h *Host) handle(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l, ok := e.(Logged); ok && l.Err == nil {
		h.noteLoss(l.Record)
	}
	begin := time.Now()
	effects := h.room.Handle(begin, e)
	switch e := e.(type) {
	case GotFrame:
		if e.Frame.Type == fsdp.TypeGradient {
			h.use.reduced(e.Frame.Header, time.Since(begin))
		}
	case GotMessage:
		h.use.startClock(e.Tab)
	}
	for _, effect := range effects {
		h.do(effect)
	}
	h.use.settle(begin)
}

// parcel handles what came from a tab's socket. Parcels of a connection that another one has replaced are ignored.
func (h *Host) parcel(p Parcel) {
	defer recycle(p.Frame)
	h.mu.Lock()
	conn, in := h.live[p.Tab]
	h.mu.Unlock()
	switch {
	case p.Kind == ParcelOpen && p.Socket == Control:
		var hello fsdp.Hello
		if f, err := fsdp.Parse(p.Frame); err == nil {
			if m, err := fsdp.Decode(f); err == nil {
				hello, _ = m.(fsdp.Hello)
			}
		}
		h.mu.Lock()
		if in && conn != p.Conn { // the tab is here twice: the newer one counts
			h.drop(p.Tab, fsdp.Bye{Code: "replaced", Reason: "the tab has connected again"})
		}
		h.live[p.Tab] = p.Conn
		h.mu.Unlock()
		h.handle(Joined{p.Tab, hello})
	case !in || conn != p.Conn:
	case p.Kind == ParcelOpen:
		h.handle(Attached{p.Tab})
	case p.Kind == ParcelClose:
		h.mu.Lock()
		h.drop(p.Tab, fsdp.Bye{Code: "closed", Reason: "the other socket is closed", Again: true})
		h.mu.Unlock()
		h.handle(Gone{p.Tab, p.Text})
	default: // the socket's reader has checked the frame
		f, err := fsdp.Parse(p.Frame)
		if err != nil {
			return
		}
		h.mu.Lock()
		h.use.frame(p.Tab, true, f.Header, len(p.Frame))
		h.mu.Unlock()
		if f.Type.Bulk() {
			h.handle(GotFrame{p.Tab, f})
		} else if m, err := fsdp.Decode(f); err == nil {
			h.handle(GotMessage{p.Tab, m})
		}
	}
}

// work runs the jobs in order.
func (h *Host) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-h.jobs:
			if e := j(); e != nil {
				h.send(e)
			}
		}
	}
}

// append writes a record to the log.
func (h *Host) append(rec *Record) error {
	text := Chain(rec, h.chain, h.fence)
	if err := h.store.Append(h.ID, h.seq, text); err != nil {
		return err
	}
	h.chain, h.seq = rec.Hash, h.seq+1
	return nil
}

// do carries out one effect without waiting; the caller holds the lock.
func (h *Host) do(effect Effect) {
	switch e := effect.(type) {
	case Send:
		h.out(e.Tab, Control, fsdp.Encode(e.Message))
	case SendBulk:
		h.out(e.Tab, Data, e.Frame.Append(make([]byte, 0, fsdp.HeaderLen+len(e.Frame.Body))))
	case Drop:
		h.drop(e.Tab, e.Bye)
	case Append:
		rec := e.Record
		h.jobs <- func() Event {
			err := h.append(&rec)
			return Logged{rec, err}
		}
	case Store:
		h.jobs <- func() Event {
			hash, err := h.store.Put(h.ID, e.Data)
			return Stored{e.Tag, hash, err}
		}
	case Load:
		h.jobs <- func() Event {
			data, err := h.store.Get(h.ID, e.Hash, e.Off, e.Len)
			return Loaded{e.Tag, data, err}
		}
	case Delete:
		h.jobs <- func() Event {
			if err := h.store.Delete(h.ID, e.Hashes...); err != nil {
				h.log.Warn("old blobs could not be deleted", "error", err)
			}
			return nil
		}
	case Moment:
		h.log.Debug(e.Text, "code", e.Code, "step", e.Step, "tab", e.Tab)
	case Note:
		h.note(slog.LevelInfo, e)
	}
}

// out puts a frame into the queue of a tab's socket. A tab whose queue is full reads too slowly: it is dropped.
func (h *Host) out(tab uint32, socket Socket, frame []byte) {
	conn, in := h.live[tab]
	if !in {
		return
	}
	if header, err := fsdp.ParseHeader(frame); err == nil {
		h.use.frame(tab, false, header, len(frame))
	}
	err := h.bus.Send(tabAddress(h.ID, tab, conn, socket), Parcel{Tab: tab, Socket: socket, Frame: frame})
	if errors.Is(err, ErrFull) {
		h.drop(tab, fsdp.Bye{Code: "slow", Reason: "the tab reads too slowly what it asked for", Again: true})
		// The room is in the middle of an event, so it is told of the loss later.
		go h.send(Gone{tab, "it reads too slowly what it asked for"})
	}
}

// drop ends a tab's sockets. The control socket says why.
func (h *Host) drop(tab uint32, bye fsdp.Bye) {
	conn, in := h.live[tab]
	if !in {
		return
	}
	delete(h.live, tab)
	for _, socket := range []Socket{Control, Data} {
		h.bus.Send(tabAddress(h.ID, tab, conn, socket), Parcel{Kind: ParcelClose, Frame: fsdp.Encode(bye), Text: bye.Code})
	}
}

// View describes the room for the page. full includes the roster and the diary, which only the owner sees.
func (h *Host) View(full bool) View {
	v := h.view(math.MaxUint64)
	if !full {
		v.Tabs, v.Diary = nil, nil
	}
	return v
}

// view is the full view, with the losses from step since on.
func (h *Host) view(since uint64) View {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	v := h.room.View(now)
	v.ID, v.Diary = h.ID, slices.Clone(h.diary)
	h.seated(now, &v, since)
	return v
}

// Steps returns time and traffic of the finished steps from step from on; the last 1024 are kept.
func (h *Host) Steps(from uint64) []StepUse {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := slices.BinarySearchFunc(h.use.closed, from, func(s StepUse, from uint64) int { return cmp.Compare(s.Step, from) })
	return slices.Clone(h.use.closed[i:])
}

// Done reports whether all steps are done, or the error that the room has failed with.
func (h *Host) Done() (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.room.phase == Failed {
		return false, errors.New(h.room.reason)
	}
	return h.room.phase == Done, nil
}
