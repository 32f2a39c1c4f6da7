package room

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"llamatab/engine/fsdp"
)

// A tab has two sockets, so that a status does not wait behind a gradient. The first frame of a socket says which tab it belongs
// to. Two goroutines serve a socket: one reads and checks frames and passes them on, one writes the frames that wait.

const (
	helloWithin  = 10 * time.Second // for the first frame
	writeWithin  = 10 * time.Second // for each frame, else the tab is too slow
	byeWithin    = time.Second
	fullPause    = 2 * time.Millisecond
	controlQueue = 1 << 20 // bytes that may wait for a control socket
)

// dataQueue is how much may wait for a tab's data socket: a few times what it may have asked for.
func dataQueue(run *fsdp.Run) int {
	return 4<<20 + 4*run.Window*(4*run.Piece+fsdp.HeaderLen+parcelCost)
}

// OriginAllowed reports whether a request comes from a page of this server or of Origins. A program that is no browser sends no
// Origin; it needs the room's code like any other.
func (s *Rooms) OriginAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	if origin == scheme+r.Host {
		return true
	}
	for _, o := range s.Origins {
		if origin == o {
			return true
		}
	}
	return false
}

// socket serves one socket of a room from its opening to its end.
func (s *Rooms) socket(w http.ResponseWriter, r *http.Request, socket Socket) {
	h := s.Find(r.PathValue("id"))
	if h == nil {
		http.Error(w, "there is no such room", http.StatusNotFound)
		return
	}
	if !s.OriginAllowed(r) {
		s.limits.drop("origin")
		http.Error(w, "pages of another origin may not join", http.StatusForbidden)
		return
	}
	from := sourceOf(r)
	if !s.limits.enter(from, socket) {
		http.Error(w, "too many connections: wait a little", http.StatusTooManyRequests)
		return
	}
	c := &conn{rooms: s, host: h, socket: socket, from: from}
	defer func() { s.limits.leave(from, c.known) }()
	// The origin was checked above. Numbers do not compress, and compressing costs more than it saves.
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		s.limits.drop("handshake")
		return
	}
	c.ws = ws
	defer c.close()
	if reason := c.serve(r.Context()); reason != "" {
		s.limits.drop(reason)
	}
}

// conn is one socket.
type conn struct {
	rooms  *Rooms
	host   *Host
	ws     *websocket.Conn
	socket Socket
	from   string // see sourceOf
	known  bool   // the first frame has said which tab it is
	tab    uint32
	number uint64
	rate   bucket
	most   int                    // bytes of a frame's body that the tab may send
	said   atomic.Pointer[string] // the code of the goodbye, which the reader and the writer may both send
}

// allow lets frames come whose bodies have at most n bytes.
func (c *conn) allow(n int) {
	c.most = n
	c.ws.SetReadLimit(int64(fsdp.HeaderLen + n))
}

// bye tells the tab why its socket ends.
func (c *conn) bye(ctx context.Context, b fsdp.Bye) string {
	ctx, cancel := context.WithTimeout(ctx, byeWithin)
	defer cancel()
	c.ws.Write(ctx, websocket.MessageBinary, fsdp.Encode(b))
	c.said.Store(&b.Code)
	return b.Code
}

// close ends the socket. The other side gets a moment to read the goodbye: a socket that is closed with bytes unread
// takes back what it has sent.
func (c *conn) close() {
	if code := c.said.Load(); code != nil && *code != "" {
		end := time.AfterFunc(byeWithin, func() { c.ws.CloseNow() })
		defer end.Stop()
		c.ws.Close(websocket.StatusPolicyViolation, *code)
	}
	c.ws.CloseNow()
}

// serve serves the socket and returns why it was ended, "" if the tab closed it.
func (c *conn) serve(ctx context.Context) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, welcome, refused := c.introduce(ctx)
	if refused != nil {
		return c.bye(ctx, *refused)
	}
	c.known = true
	c.rooms.limits.known(c.from)
	body, queue := fsdp.MaxControl, controlQueue
	if c.socket == Data {
		body, queue = 4*c.host.run.Piece, dataQueue(&c.host.run)
	}
	c.allow(body)
	out, err := c.host.bus.Listen(tabAddress(c.host.ID, c.tab, c.number, c.socket), queue)
	if err != nil {
		return c.bye(ctx, fsdp.Bye{Code: "protocol", Reason: "this connection has such a socket already"})
	}
	defer out.Close()
	// The room hears of the tab before the tab hears of the room: its data socket must not overtake this one.
	if err := c.hand(ctx, Parcel{Kind: ParcelOpen, Frame: first}); err != nil {
		return ""
	}
	if welcome != nil && c.write(ctx, welcome) != nil {
		c.hand(ctx, Parcel{Kind: ParcelClose, Text: "it did not take the welcome"})
		return "slow"
	}
	code := c.exchange(ctx, cancel, out)
	reason := "its socket was closed"
	if code != "" {
		reason = "its " + c.socket.String() + " socket was ended: " + code
	}
	c.hand(context.Background(), Parcel{Kind: ParcelClose, Text: reason})
	return code
}

// introduce reads the first frame, which says which tab the socket belongs to, and sets tab and number. welcome answers a
// control socket; it is nil for a data socket. refused says why the tab is not let in.
func (c *conn) introduce(ctx context.Context) (first, welcome []byte, refused *fsdp.Bye) {
	c.allow(fsdp.MaxHello)
	early, stop := context.WithTimeout(ctx, helloWithin)
	first, f, err := c.read(early)
	stop()
	if err != nil {
		return nil, nil, &fsdp.Bye{Code: "protocol", Reason: "the first frame did not come, or is none"}
	}
	m, err := fsdp.Decode(f)
	if err != nil {
		return nil, nil, &fsdp.Bye{Code: "protocol", Reason: err.Error()}
	}
	switch m := m.(type) {
	case fsdp.Hello:
		welcome, refused = c.hello(m)
		return first, welcome, refused
	case fsdp.Attach:
		if c.socket != Data || !same(m.Token, c.host.token(m.Tab)) {
			return nil, nil, &fsdp.Bye{Code: "code", Reason: errToken.Error()}
		}
		c.tab, c.number = m.Tab, m.Conn
		return first, nil, nil
	}
	return nil, nil, &fsdp.Bye{Code: "protocol", Reason: fmt.Sprintf("a %v is no first frame", f.Type)}
}

// hello lets a tab in by its token or by the room's code.
func (c *conn) hello(m fsdp.Hello) (welcome []byte, refused *fsdp.Bye) {
	if c.socket != Control {
		return nil, &fsdp.Bye{Code: "protocol", Reason: "a data socket begins with an attach"}
	}
	if (m.Token == "" || m.Tab == 0) && !c.rooms.limits.mayGuess(c.from) {
		return nil, &fsdp.Bye{Code: "guessing", Reason: "too many wrong codes were tried: wait a minute"}
	}
	var err error
	if c.tab, err = c.host.admit(m); errors.Is(err, errLocked) {
		return nil, &fsdp.Bye{Code: "locked", Reason: err.Error()}
	} else if err != nil {
		if errors.Is(err, errCode) {
			c.rooms.limits.guessed(c.from)
		}
		return nil, &fsdp.Bye{Code: "code", Reason: err.Error()}
	}
	c.number = c.host.conns.Add(1)
	return fsdp.Encode(fsdp.Welcome{Tab: c.tab, Token: c.host.token(c.tab), Conn: c.number, Run: c.host.text}), nil
}

// exchange reads and writes frames until the socket ends, and returns why it was ended. The end of one direction cancels the
// other.
func (c *conn) exchange(ctx context.Context, cancel context.CancelFunc, out Inbox) string {
	written := make(chan string, 1)
	go func() {
		defer cancel()
		written <- c.writer(ctx, out)
	}()
	code := c.reader(ctx)
	cancel()
	if why := <-written; why != "" {
		return why
	}
	return code
}

// reader passes frames on until the socket ends.
func (c *conn) reader(ctx context.Context) string {
	for {
		b, f, err := c.read(ctx)
		switch {
		case errors.Is(err, errOversized):
			return "oversized"
		case errors.Is(err, fsdp.ErrFrame):
			return c.bye(ctx, fsdp.Bye{Code: "protocol", Reason: err.Error()})
		case websocket.CloseStatus(err) == websocket.StatusMessageTooBig || errors.Is(err, websocket.ErrMessageTooBig):
			return "oversized"
		case err != nil:
			return ""
		}
		if f.Type.Bulk() != (c.socket == Data) {
			recycle(b)
			return c.bye(ctx, fsdp.Bye{Code: "protocol", Reason: fmt.Sprintf("a %v on the %v socket", f.Type, c.socket)})
		}
		if c.socket == Control {
			if !c.rate.allow(time.Now(), controlRate) {
				return c.bye(ctx, fsdp.Bye{Code: "rate", Reason: "too many messages"})
			}
			if _, err := fsdp.Decode(f); err != nil {
				return c.bye(ctx, fsdp.Bye{Code: "protocol", Reason: err.Error()})
			}
		}
		if c.hand(ctx, Parcel{Frame: b}) != nil {
			return ""
		}
	}
}

// hand puts a parcel into the room's inbox. While the inbox is full the socket is not read, and TCP stops the sender.
func (c *conn) hand(ctx context.Context, p Parcel) error {
	p.Tab, p.Conn, p.Socket = c.tab, c.number, c.socket
	for {
		err := c.host.bus.Send(homeAddress(c.host.ID), p)
		if !errors.Is(err, ErrFull) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(fullPause):
		}
	}
}

// writer writes what waits until the socket ends.
func (c *conn) writer(ctx context.Context, out Inbox) string {
	for {
		select {
		case <-ctx.Done():
			return ""
		case <-out.Closed():
			return ""
		case <-out.Ready():
		}
		for p, ok := out.Take(); ok; p, ok = out.Take() {
			if p.Kind == ParcelClose {
				if c.socket == Control {
					ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeWithin)
					c.ws.Write(ctx, websocket.MessageBinary, p.Frame)
					cancel()
				}
				c.said.Store(&p.Text)
				return p.Text
			}
			if err := c.write(ctx, p.Frame); err != nil {
				if ctx.Err() != nil {
					return ""
				}
				return "slow"
			}
		}
	}
}

func (c *conn) write(ctx context.Context, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageBinary, b)
}

// errOversized is wrapped by what is wrong with a frame whose header claims more than its sender may send.
var errOversized = fmt.Errorf("%w: too large", fsdp.ErrFrame)

// read reads one frame, into a buffer that recycle takes back. Its header is checked before there is memory for it.
func (c *conn) read(ctx context.Context) ([]byte, fsdp.Frame, error) {
	kind, r, err := c.ws.Reader(ctx)
	if err != nil {
		return nil, fsdp.Frame{}, err
	}
	if kind != websocket.MessageBinary {
		return nil, fsdp.Frame{}, fmt.Errorf("%w: a text message", fsdp.ErrFrame)
	}
	return readFrame(r, c.most)
}

// readFrame reads the message r, which is one frame with a body of at most most bytes.
func readFrame(r io.Reader, most int) ([]byte, fsdp.Frame, error) {
	var head [fsdp.HeaderLen]byte
	if n, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			_, err = fsdp.ParseHeader(head[:n])
		}
		return nil, fsdp.Frame{}, err
	}
	h, err := fsdp.ParseHeader(head[:])
	if err != nil {
		return nil, fsdp.Frame{}, err
	}
	if int64(h.Len) > int64(most) {
		return nil, fsdp.Frame{}, fmt.Errorf("%w: a %v of %d bytes, at most %d are allowed", errOversized, h.Type, h.Len, most)
	}
	b := buffer(fsdp.HeaderLen + int(h.Len))
	copy(b, head[:])
	if _, err := io.ReadFull(r, b[fsdp.HeaderLen:]); err != nil {
		recycle(b)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: a %v that is shorter than its header says", fsdp.ErrFrame, h.Type)
		}
		return nil, fsdp.Frame{}, err
	}
	if n, err := r.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		recycle(b)
		if err == nil || err == io.EOF {
			err = fmt.Errorf("%w: a %v that is longer than its header says", fsdp.ErrFrame, h.Type)
		}
		return nil, fsdp.Frame{}, err
	}
	f, err := fsdp.Parse(b)
	if err != nil {
		recycle(b)
		return nil, fsdp.Frame{}, err
	}
	return b, f, nil
}

// buffers are those of frames that came, by the power of two that their capacity is. A larger frame has a buffer of its own.
var buffers [22]sync.Pool

func buffer(n int) []byte {
	class := bits.Len(uint(n - 1))
	if class >= len(buffers) {
		return make([]byte, n)
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, 1<<class)
}

// recycle takes a buffer back that buffer gave.
func recycle(b []byte) {
	if c := cap(b); c > 0 && c&(c-1) == 0 && bits.Len(uint(c-1)) < len(buffers) {
		buffers[bits.Len(uint(c-1))].Put(&b)
	}
}
