package room

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"llamatab/engine/fsdp"
	"llamatab/engine/tensor"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// site is a server with rooms that can be stopped and started again.
type site struct {
	t     *testing.T
	dir   string
	rooms *Rooms
	http  *http.Server
	addr  string
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir()}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *site) start() {
	s.t.Helper()
	local, err := OpenLocal(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.rooms, err = OpenRooms(local, quiet); err != nil {
		s.t.Fatal(err)
	}
	at := cmp.Or(s.addr, "127.0.0.1:0")
	l, err := net.Listen("tcp", at)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.addr == "" { // once, before there is a tab: tabs read it while the server is started again
		s.addr = l.Addr().String()
	}
	s.http = &http.Server{Handler: s.rooms.Handler()}
	go s.http.Serve(l)
}

// stop ends the server as a signal would: sockets are cut, the rooms closed.
func (s *site) stop() {
	s.http.Close()
	s.rooms.Close()
}

func (s *site) url(path string) string { return "http://" + s.addr + path }

// open opens a room over HTTP and returns its code and its owner's token.
func (s *site) open(id string, cfg Config) (code, owner string) {
	s.t.Helper()
	body, _ := json.Marshal(map[string]any{"id": id, "config": cfg})
	res, err := http.Post(s.url("/api/rooms"), "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct{ Code, Owner string }
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusCreated || json.Unmarshal(text, &got) != nil {
		s.t.Fatalf("opening a room: %d %s", res.StatusCode, text)
	}
	return got.Code, got.Owner
}

func (s *site) view(id, owner string) (v View) {
	s.t.Helper()
	req, _ := http.NewRequest("GET", s.url("/api/rooms/"+id), nil)
	req.Header.Set("Authorization", "Bearer "+owner)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return v // it is being restarted
	}
	defer res.Body.Close()
	json.NewDecoder(res.Body).Decode(&v)
	return v
}

func (s *site) ask(id, op, owner string) int {
	req, _ := http.NewRequest("POST", s.url("/api/rooms/"+id+"/"+op), nil)
	req.Header.Set("Authorization", "Bearer "+owner)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// until waits for something.
func (s *site) until(what string, ok func() bool) {
	s.t.Helper()

	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (s *site) dial(path string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ws, res, err := websocket.Dial(ctx, "ws://"+s.addr+path, nil)
	if res != nil && res.Body != nil {
		res.Body.Close()
	}
	if err == nil {
		ws.SetReadLimit(32 << 20)
	}
	return ws, err
}

func say(ws *websocket.Conn, b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return ws.Write(ctx, websocket.MessageBinary, b)
}

func hear(ws *websocket.Conn) (fsdp.Frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, b, err := ws.Read(ctx)
	if err != nil {
		return fsdp.Frame{}, err
	}
	return fsdp.Parse(b)
}

// join opens both sockets of a tab.
func (s *site) join(room string, hello fsdp.Hello) (control, data *websocket.Conn, w fsdp.Welcome, err error) {
	if control, err = s.dial("/api/rooms/" + room + "/control"); err != nil {
		return
	}
	fail := func(e error) (*websocket.Conn, *websocket.Conn, fsdp.Welcome, error) {
		control.CloseNow()
		return nil, nil, w, e
	}
	if err = say(control, fsdp.Encode(hello)); err != nil {
		return fail(err)
	}
	f, err := hear(control)
	if err != nil {
		return fail(err)
	}
	m, err := fsdp.Decode(f)
	if err != nil {
		return fail(err)
	}
	if bye, ok := m.(fsdp.Bye); ok {
		return fail(errors.New(bye.Code))
	}
	w = m.(fsdp.Welcome)
	if data, err = s.dial("/api/rooms/" + room + "/data"); err != nil {
		return fail(err)
	}
	return control, data, w, say(data, fsdp.Encode(fsdp.Attach{Tab: w.Tab, Token: w.Token, Conn: w.Conn}))
}

// class is a set of toy tabs on real sockets, in one lock.
type class struct {
	*sim
	site *site
	room string
	code string
}

func newClass(site *site, cfg Config, room, code string) *class {
	s := &sim{seed: 11, rng: rand.New(rand.NewPCG(1, 1)), live: &sync.Mutex{}, cfg: cfg}
	s.run = &s.cfg.Run
	var err error
	if s.table, err = s.run.Table(); err != nil {
		site.t.Fatal(err)
	}
	s.want = toyReference(s.run, s.table, s.seed, nil)
	return &class{s, site, room, code}
}

// member is a toy tab that stays in the room until it is closed, whatever happens to its sockets.
type member struct {
	*simTab
	stop    func()
	refused atomic.Int32 // attempts to join that failed
}

func (c *class) join(pace time.Duration) *member {
	m := &member{simTab: &simTab{s: c.sim, speed: pace, open: true}}
	m.engine = newToy(c.sim, m.simTab)
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	c.site.t.Cleanup(stop)
	hello := fsdp.Hello{Code: c.code, Platform: "toy"}
	go func() {
		for ctx.Err() == nil {
			control, data, welcome, err := c.site.join(c.room, hello)
			if err != nil {
				m.refused.Add(1)
				time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
				continue
			}
			hello.Tab, hello.Token = welcome.Tab, welcome.Token
			c.talk(ctx, m, control, data, welcome)
		}
	}()
	return m
}

// talk runs a tab over one connection.
func (c *class) talk(ctx context.Context, m *member, control, data *websocket.Conn, welcome fsdp.Welcome) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queues := [2]chan []byte{make(chan []byte, 1<<12), make(chan []byte, 1<<12)}
	sockets := [2]*websocket.Conn{control, data}
	for socket := range sockets {
		go func() {
			defer cancel()
			for {
				select {
				case <-ctx.Done():
					sockets[socket].CloseNow()
					return
				case b := <-queues[socket]:
					if say(sockets[socket], b) != nil {
						sockets[socket].CloseNow()
						return
					}
				}
			}
		}()
	}
	c.enter(func() {
		m.id = welcome.Tab
		m.wire = func(socket int, b []byte) {
			select {
			case queues[socket] <- b:
			default:
				c.fail("%v has more to send than was asked for", m.simTab)
			}
		}
		if m.worker == nil {
			m.worker = fsdp.NewWorker(c.run, c.table, m.engine, m.simTab)
		}
		m.worker.Connected(c.now)
	})
	go func() {
		for ctx.Err() == nil {
			c.enter(func() { m.worker.Tick(c.now) })
			time.Sleep(50 * time.Millisecond)
		}
	}()
	go func() {
		defer cancel()
		for {
			_, b, err := data.Read(ctx)
			if err != nil {
				return
			}
			if f, err := fsdp.Parse(b); err == nil {
				c.enter(func() { m.worker.ReceiveBulk(c.now, f.Header, numbers(f.Body)) })
			}
		}
	}()
	for {
		_, b, err := control.Read(ctx)
		if err != nil {
			break
		}
		f, err := fsdp.Parse(b)
		if err != nil {
			break
		}
		msg, err := fsdp.Decode(f)
		if err != nil {
			break
		}
		c.enter(func() { m.worker.Receive(c.now, msg) })
	}
	c.enter(func() { m.worker.Disconnected() })
}

// ended holds the room's final state against the reference.
func (c *class) ended() {
	t := c.site.t
	t.Helper()
	c.live.Lock()
	failure := c.failure
	c.live.Unlock()
	if failure != "" {
		t.Fatal(failure)
	}
	h := c.site.rooms.Find(c.room)
	h.mu.Lock()
	final := h.room.Final()
	h.mu.Unlock()
	for i, hash := range final {
		v := c.table.Shard(i)
		got, err := h.store.Get(c.room, hash, 0, int64(12*v.Len))
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		for _, x := range [][]float32{c.want.p, c.want.m, c.want.v} {
			want = tensor.EncodeF32(want, wantOf(v, x), tensor.F32)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("shard %d ends with other bits than the run without faults", i)
		}
	}
}

func toyConfig(strategy fsdp.Strategy, steps int) Config {
	return Config{
		Run: fsdp.Run{ID: "r", Strategy: strategy, Wrap: "transformer", Slots: 4, Shards: 4, Steps: steps, ReduceDType: "bfloat16", ParamDType: "bfloat16",
			MaxGradNorm: 1, Checkpoint: 5, Piece: 50, Params: []fsdp.Param{
				{Name: "a", Shape: tensor.Of(40, 8), Unit: "u0"}, {Name: "b", Shape: tensor.Of(17), Unit: "u1"}, {Name: "c", Shape: tensor.Of(30, 7), Unit: "u1"}}},
		MinTabs: 2,
	}
}

// TestSockets trains over real sockets while a tab is killed, another joins, and the server is stopped and started.
func TestSockets(t *testing.T) {
	for _, strategy := range []fsdp.Strategy{fsdp.FullShard, fsdp.NoShard} {
		t.Run(string(strategy), func(t *testing.T) {
			site := newSite(t)
			cfg := toyConfig(strategy, 24)
			code, owner := site.open("lesson", cfg)
			c := newClass(site, cfg, "lesson", code)
			first := c.join(4 * time.Millisecond)
			c.join(6 * time.Millisecond)
			at := func(step uint64) func() bool { return func() bool { return site.view("lesson", owner).Step >= step } }
			site.until("the third step", at(3))
			first.stop()
			c.join(3 * time.Millisecond)
			site.until("the eighth step", at(8))
			site.stop()
			site.start()
			site.until("the end", func() bool { return site.view("lesson", owner).Phase == Done })
			c.ended()
			v := site.view("lesson", owner)
			if len(v.Tabs) == 0 || len(v.Diary) == 0 || v.Params != c.table.Len {
				t.Errorf("the view %+v lacks something", v)
			}
			if open := site.view("lesson", "not the owner"); open.Tabs != nil || open.Diary != nil {
				t.Error("a stranger sees the roster")
			}
		})
	}
}

// TestOwner pauses, resumes and removes.
func TestOwner(t *testing.T) {
	site := newSite(t)
	cfg := toyConfig(fsdp.NoShard, 4000)
	cfg.MinTabs = 0
	code, owner := site.open("lesson", cfg)
	c := newClass(site, cfg, "lesson", code)
	joined := c.join(time.Millisecond)
	site.until("a tab", func() bool { return site.view("lesson", owner).Online == 1 })
	if got := site.ask("lesson", "start", "somebody"); got != http.StatusForbidden {
		t.Errorf("a stranger starts the room: %d", got)
	}
	if v := site.view("lesson", owner); v.Phase != Lobby {
		t.Errorf("phase %s before the start", v.Phase)
	}
	began := time.Now()
	site.ask("lesson", "start", owner)
	site.until("steps", func() bool { return site.view("lesson", owner).Step > 3 })
	threeSteps := time.Since(began)
	site.ask("lesson", "pause", owner)
	site.until("a pause", func() bool { return site.view("lesson", owner).Phase == "paused" })
	at := site.view("lesson", owner).Step
	time.Sleep(threeSteps) // in this time a room that goes on would have done more steps
	if now := site.view("lesson", owner).Step; now > at+1 {
		t.Errorf("step %d, then %d, while paused", at, now)
	}
	site.ask("lesson", "resume", owner)
	site.until("more steps", func() bool { return site.view("lesson", owner).Step > at+3 })
	tab := site.view("lesson", owner).Tabs[0].Tab
	site.ask("lesson", fmt.Sprintf("remove?tab=%d", tab), owner)
	site.until("nobody", func() bool { return site.view("lesson", owner).Online == 0 })
	refused := joined.refused.Load()
	site.until("the removed tab has come back twice", func() bool { return joined.refused.Load() >= refused+2 })
	if v := site.view("lesson", owner); v.Online != 0 {
		t.Errorf("%d tabs are in the room after the only one was removed", v.Online)
	}
}

// TestHostile: what is not a tab of the room is ended and counted, and the room goes on.
func TestHostile(t *testing.T) {
	site := newSite(t)
	cfg := toyConfig(fsdp.NoShard, 4000)
	cfg.MinTabs = 1
	code, owner := site.open("lesson", cfg)
	c := newClass(site, cfg, "lesson", code)
	c.join(2 * time.Millisecond)
	goesOn := func() {
		t.Helper()
		at := site.view("lesson", owner).Step
		site.until("the room goes on", func() bool { return site.view("lesson", owner).Step > at+2 })
	}
	goesOn()
	// counted runs f, after which one more socket is counted as ended for the reason.
	counted := func(t *testing.T, reason string, f func()) {
		t.Helper()
		before := site.rooms.Dropped()[reason]
		f()
		site.until("a socket is counted as "+reason, func() bool { return site.rooms.Dropped()[reason] > before })
	}
	// first opens a control socket, says b and returns what the room says to that.
	first := func(b []byte) string {
		t.Helper()
		ws, err := site.dial("/api/rooms/lesson/control")
		if err != nil {
			return "refused"
		}
		defer ws.CloseNow()
		say(ws, b)
		f, err := hear(ws)
		if err != nil {
			return "closed"
		}
		m, _ := fsdp.Decode(f)
		if bye, ok := m.(fsdp.Bye); ok {
			return bye.Code
		}
		return f.Type.String()
	}
	garbage := bytes.Repeat([]byte("garbage "), 10)
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"garbage":         {garbage, "protocol"},
		"empty":           {nil, "protocol"},
		"no first frame":  {fsdp.Encode(fsdp.Status{Seq: 1}), "protocol"},
		"data on control": {fsdp.Encode(fsdp.Attach{Tab: 1}), "code"},
		"false token":     {fsdp.Encode(fsdp.Hello{Tab: 1, Token: "x"}), "code"},
		"large":           {fsdp.Encode(fsdp.Status{Error: strings.Repeat("x", 10000)}), "protocol"},
	} {
		counted(t, c.want, func() {
			if got := first(c.b); got != c.want && !(name == "large" && got == "closed") {
				t.Errorf("%s: the room says %q, want %q", name, got, c.want)
			}
		})
	}
	t.Run("origin", func(t *testing.T) {
		for origin, want := range map[string]int{
			"http://evil.example": http.StatusForbidden, "null": http.StatusForbidden, "https://" + site.addr: http.StatusForbidden,
			"http://" + site.addr: http.StatusUpgradeRequired,
		} {
			req := httptest.NewRequest("GET", "http://"+site.addr+"/api/rooms/lesson/control", nil)
			req.Header.Set("Origin", origin)
			w := httptest.NewRecorder()
			reason := map[int]string{http.StatusForbidden: "origin", http.StatusUpgradeRequired: "handshake"}[want]
			counted(t, reason, func() { site.rooms.Handler().ServeHTTP(w, req) })
			if w.Code != want {
				t.Errorf("origin %s: %d, want %d", origin, w.Code, want)
			}
		}
	})
	t.Run("text", func(t *testing.T) {
		ws, err := site.dial("/api/rooms/lesson/control")
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		counted(t, "protocol", func() {
			ws.Write(context.Background(), websocket.MessageText, []byte("{}"))
			if f, err := hear(ws); err == nil && f.Type != fsdp.TypeBye {
				t.Errorf("a text message is answered with a %v", f.Type)
			}
		})
	})
	// in joins as a tab would, and then misbehaves, for which it is counted.
	in := func(t *testing.T, reason string, f func(control, data *websocket.Conn, w fsdp.Welcome)) {
		t.Helper()
		control, data, w, err := site.join("lesson", fsdp.Hello{Code: code, Platform: "bad"})
		if err != nil {
			t.Fatal(err)
		}
		defer control.CloseNow()
		defer data.CloseNow()
		counted(t, reason, func() { f(control, data, w) })
		goesOn()
	}
	// ended waits for the control socket's end and returns the code of the goodbye.
	ended := func(t *testing.T, ws *websocket.Conn) string {
		t.Helper()
		for {
			f, err := hear(ws)
			if err != nil {
				return "closed"
			}
			if m, _ := fsdp.Decode(f); f.Type == fsdp.TypeBye {
				return m.(fsdp.Bye).Code
			}
		}
	}
	t.Run("oversized", func(t *testing.T) {
		in(t, "oversized", func(control, data *websocket.Conn, _ fsdp.Welcome) {
			f := fsdp.Frame{Header: fsdp.Header{Type: fsdp.TypeGradient, Flags: fsdp.FlagBF16, Chunks: 1}, Body: make([]byte, fsdp.MaxBulk)}
			say(data, f.Append(nil)) // a good frame, but larger than any piece of this run
			if got := ended(t, control); got != "closed" {
				t.Errorf("goodbye %q", got)
			}
		})
	})
	t.Run("claims", func(t *testing.T) { // headers that claim more than their sender may send, and no body
		for _, kind := range []fsdp.Type{fsdp.TypeHello, fsdp.TypeWelcome, fsdp.TypeStatus, fsdp.TypeOrders, fsdp.TypePull, fsdp.TypeBye, fsdp.TypeAttach,
			fsdp.TypeGradient, fsdp.TypeReduced, fsdp.TypeParam, fsdp.TypeState, fsdp.TypeMaster} {
			h := fsdp.Header{Type: kind, Chunks: 1}
			if kind.Bulk() {
				h.Flags = fsdp.FlagF32
			}
			for h.Len = 1 << 31; ; h.Len /= 2 { // the most that the type allows, and what no type allows
				if _, err := fsdp.ParseHeader(h.Append(nil)); err == nil || h.Len == 1 {
					break
				}
			}
			if got := first(h.Append(nil)); got != "protocol" && got != "closed" {
				t.Errorf("a first frame with a header of a %v of %d bytes and no body: %q", kind, h.Len, got)
			}
			control, data, _, err := site.join("lesson", fsdp.Hello{Code: code, Platform: "bad"})
			if err != nil {
				t.Fatal(err)
			}
			refused := func() int64 { d := site.rooms.Dropped(); return d["protocol"] + d["oversized"] }
			before := refused()
			say(control, h.Append(nil))
			say(data, h.Append(nil))
			if got := ended(t, control); got != "closed" && got != "protocol" {
				t.Errorf("goodbye %q to a header of a %v of %d bytes", got, kind, h.Len)
			}
			site.until("the sockets are counted as ended", func() bool { return refused() > before })
			control.CloseNow()
			data.CloseNow()
		}
		goesOn()
	})
	t.Run("torn", func(t *testing.T) {
		in(t, "protocol", func(control, data *websocket.Conn, _ fsdp.Welcome) {
			f := fsdp.Frame{Header: fsdp.Header{Type: fsdp.TypeGradient, Flags: fsdp.FlagBF16, Chunks: 1}, Body: make([]byte, 100)}
			b := f.Append(nil)
			say(data, b[:len(b)-1])
			if got := ended(t, control); got != "closed" {
				t.Errorf("goodbye %q", got)
			}
		})
	})
	t.Run("stale", func(t *testing.T) {
		in(t, "protocol", func(control, data *websocket.Conn, _ fsdp.Welcome) {
			say(control, fsdp.Encode(fsdp.Status{Seq: 1}))
			f := fsdp.Frame{Header: fsdp.Header{Type: fsdp.TypeGradient, Flags: fsdp.FlagBF16, Chunks: 20, Epoch: 3}, Body: make([]byte, 100)}
			for range refusedMost + 10 {
				if say(data, f.Append(nil)) != nil {
					break
				}
			}
			if got := ended(t, control); got != "protocol" {
				t.Errorf("goodbye %q to a tab that floods the room with stale frames", got)
			}
		})
	})
	t.Run("chatter", func(t *testing.T) {
		in(t, "rate", func(control, data *websocket.Conn, _ fsdp.Welcome) {
			for i := range 5000 {
				if say(control, fsdp.Encode(fsdp.Status{Seq: uint64(i)})) != nil {
					break
				}
			}
			if got := ended(t, control); got != "rate" && got != "closed" {
				t.Errorf("goodbye %q to a tab that never stops talking", got)
			}
		})
	})
	t.Run("dozing", func(t *testing.T) { // a socket on which nobody introduces himself
		ws, err := site.dial("/api/rooms/lesson/control")
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		counted(t, "protocol", func() {})
	})
	t.Run("swapped", func(t *testing.T) { // a bulk frame on the control socket
		in(t, "protocol", func(control, data *websocket.Conn, _ fsdp.Welcome) {
			f := fsdp.Frame{Header: fsdp.Header{Type: fsdp.TypeGradient, Flags: fsdp.FlagBF16, Chunks: 1}, Body: make([]byte, 100)}
			say(control, f.Append(nil))
			if got := ended(t, control); got != "protocol" {
				t.Errorf("goodbye %q to a tab that sends gradients on its control socket", got)
			}
		})
	})
	t.Run("guesses", func(t *testing.T) { // last: this address may not guess any more
		var last string
		counted(t, "code", func() {
			for range 12 {
				last = first(fsdp.Encode(fsdp.Hello{Code: "wrong"}))
			}
		})
		if last != "guessing" {
			t.Errorf("the last of many guesses is answered with %q", last)
		}
		if got := first(fsdp.Encode(fsdp.Hello{Code: code})); got != "guessing" {
			t.Errorf("the right code after many wrong ones is answered with %q", got)
		}
	})
	goesOn()
	if n := site.rooms.Dropped()["guessing"]; n < 2 {
		t.Errorf("%d guesses were counted", n)
	}
}

// TestNeverReads: a tab that asks for much and reads nothing is dropped; what waits for it is bounded meanwhile.
func TestNeverReads(t *testing.T) {
	site := newSite(t)
	cfg := toyConfig(fsdp.NoShard, 1000000)
	cfg.Run.Params = []fsdp.Param{{Name: "a", Shape: tensor.Of(1 << 20), Unit: "u"}}
	cfg.Run.Slots, cfg.Run.Piece, cfg.MinTabs = 1, 128<<10, 1
	code, owner := site.open("lesson", cfg)
	control, data, _, err := site.join("lesson", fsdp.Hello{Code: code})
	if err != nil {
		t.Fatal(err)
	}
	defer control.CloseNow()
	defer data.CloseNow()
	h := site.rooms.Find("lesson")
	h.mu.Lock() // a commit, without a trainer
	r := h.room
	r.reduced[0], r.commits[0], r.step = make([]byte, 4*r.table.Len), Record{Kind: Committed, Applied: true}, 1
	h.mu.Unlock()
	say(control, fsdp.Encode(fsdp.Status{Seq: 1}))
	for i := 0; i < 1000; i++ {
		if say(control, fsdp.Encode(fsdp.Pull{Kind: fsdp.TypeReduced, Step: 0, From: 0, To: 4})) != nil {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	site.until("the tab is dropped", func() bool { return site.view("lesson", owner).Online == 0 })
	site.until("it is counted", func() bool { return site.rooms.Dropped()["slow"] > 0 })
}
