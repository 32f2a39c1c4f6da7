//go:build js

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall/js"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/device/webgpu"
	"llamatab/engine/fsdp"
	"llamatab/engine/fsdp/rank"
	"llamatab/engine/message"
)

// link is a tab's two sockets to its room: one for control messages, one for bulk frames. A browser's socket cannot slow
// down its sender, but the room sends only frames that the tab requested, so the number of frames that wait here is
// bounded. In the other direction the tab sends only what the room requested. The numbers of bulk frames never pass through
// Go's memory: a frame to be sent is put together in JavaScript's memory, and a frame that arrives stays there.
type link struct {
	sockets [2]js.Value
	funcs   []js.Func
	frames  chan rank.Arrival
	data    chan outgoing   // frames that wait for room in the data socket
	waits   map[string]bool // their headers: a room that repeats a request gets one answer
	frame   js.Value        // a Uint8Array in which frames are put together
	space   int             // its length in bytes
	once    sync.Once
	ended   chan struct{}
}

// outgoing is a frame to send.
type outgoing struct {
	head []byte
	body []device.Bytes
}

func (o outgoing) size() int {
	n := len(o.head)
	for _, b := range o.body {
		n += b.Len()
	}
	return n
}

const (
	// framesWaiting bounds the frames that wait for the engine or for the data socket. It is far more than the number that
	// is requested at a time.
	framesWaiting = 1 << 12
	// highWater is how many frames of the size of the next may wait inside the data socket. The browser sets no bound itself.
	highWater = 2
	// pollInterval is the time between two looks at how much of the data socket's memory is free; it sends no event.
	pollInterval = 2 * time.Millisecond
)

var (
	errSocket = errors.New("the socket was closed")
	errBehind = errors.New("the socket sends more slowly than the room requests frames")
)

// dial implements rank.Dial over the sockets of the server that the page came from.
func dial(ctx context.Context, room *message.RoomJob, hello fsdp.Hello) (rank.Link, fsdp.Welcome, error) {
	l := &link{frames: make(chan rank.Arrival, framesWaiting), data: make(chan outgoing, framesWaiting), waits: map[string]bool{}, ended: make(chan struct{})}
	var w fsdp.Welcome
	if hello.Tab == 0 {
		hello.Tab, hello.Token = room.Tab, room.Token
	}
	fail := func(err error) (rank.Link, fsdp.Welcome, error) {
		l.Close()
		if bye := l.bye(); bye != nil {
			err = bye
		}
		return nil, w, err
	}
	if err := l.open(ctx, rank.ControlSocket, room.ID, fsdp.Encode(hello)); err != nil {
		return fail(err)
	}
	var first rank.Arrival
	select {
	case first = <-l.frames:
	case <-l.ended:
		return fail(errSocket)
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	f, err := fsdp.Parse(first.Head)
	if err != nil {
		return fail(err)
	}
	m, err := fsdp.Decode(f)
	if err != nil {
		return fail(err)
	}
	switch m := m.(type) {
	case fsdp.Welcome:
		w = m
	case fsdp.Bye:
		return fail(&rank.Farewell{Bye: m})
	default:
		return fail(fmt.Errorf("the room answers a hello with a %v", f.Type))
	}
	if err := l.open(ctx, rank.DataSocket, room.ID, fsdp.Encode(fsdp.Attach{Tab: w.Tab, Token: w.Token, Conn: w.Conn})); err != nil {
		return fail(err)
	}
	go l.pump()
	return l, w, nil
}

// bye returns the room's goodbye among the frames of a closed link as an error, nil if there is none. The control socket
// may have received it before the data socket was open.
func (l *link) bye() error {
	for a := range l.frames {
		if f, err := fsdp.Parse(a.Head); err == nil && f.Type == fsdp.TypeBye {
			if m, err := fsdp.Decode(f); err == nil {
				return &rank.Farewell{Bye: m.(fsdp.Bye)}
			}
		}
	}
	return nil
}

// open opens one socket and sends its first frame.
func (l *link) open(ctx context.Context, lane rank.Socket, room string, first []byte) error {
	at := js.Global().Get("location")
	scheme := "ws://"
	if at.Get("protocol").String() == "https:" {
		scheme = "wss://"
	}
	path := [...]string{rank.ControlSocket: "control", rank.DataSocket: "data"}[lane]
	socket := js.Global().Get("WebSocket").New(scheme + at.Get("host").String() + "/api/rooms/" + room + "/" + path)
	socket.Set("binaryType", "arraybuffer")
	l.sockets[lane] = socket
	open := make(chan struct{})
	l.on(socket, "open", func(js.Value) { close(open) })
	l.on(socket, "close", func(js.Value) { l.end() })
	l.on(socket, "error", func(js.Value) { l.end() })
	l.on(socket, "message", func(e js.Value) {
		select {
		case <-l.ended:
		default:
			select {
			case l.frames <- arrived(e.Get("data")):
			default:
				l.end() // more frames than were requested: the tab connects again
			}
		}
	})
	select {
	case <-open:
		return l.write(lane, outgoing{head: first})
	case <-l.ended:
		return errSocket
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *link) on(socket js.Value, event string, f func(js.Value)) {
	fn := js.FuncOf(func(_ js.Value, args []js.Value) any {
		f(first(args))
		return nil
	})
	l.funcs = append(l.funcs, fn)
	socket.Set("on"+event, fn)
}

// arrived takes a frame out of an ArrayBuffer. It copies all to Go's memory except the numbers of a bulk frame.
func arrived(buffer js.Value) rank.Arrival {
	array := js.Global().Get("Uint8Array").New(buffer)
	n := array.Get("byteLength").Int()
	head := make([]byte, min(n, fsdp.HeaderLen))
	js.CopyBytesToGo(head, array)
	if h, err := fsdp.ParseHeader(head); err == nil && h.Type.Bulk() {
		return rank.Arrival{Head: head, Body: webgpu.NewArray(array).Slice(len(head), n-len(head))}
	}
	all := make([]byte, n)
	js.CopyBytesToGo(all, array)
	return rank.Arrival{Head: all}
}

// Send implements rank.Link. It queues bulk frames until there is room in the data socket.
func (l *link) Send(lane rank.Socket, head []byte, body ...device.Bytes) error {
	o := outgoing{head, body}
	if lane == rank.ControlSocket {
		return l.write(lane, o)
	}
	if l.waits[string(head)] {
		return nil
	}
	select {
	case l.data <- o:
		l.waits[string(head)] = true
		return nil
	default:
		l.end()
		return errBehind
	}
}

// pump sends the queued bulk frames. A socket accepts any number of bytes, so pump waits while too many of them are unsent.
func (l *link) pump() {
	socket := l.sockets[rank.DataSocket]
	for {
		select {
		case <-l.ended:
			return
		case o := <-l.data:
			for socket.Get("bufferedAmount").Int() >= highWater*o.size() {
				select {
				case <-l.ended:
					return
				case <-time.After(pollInterval):
				}
			}
			delete(l.waits, string(o.head))
			if l.write(rank.DataSocket, o) != nil {
				return
			}
		}
	}
}

// write puts a frame together and sends it. The socket copies it.
func (l *link) write(lane rank.Socket, o outgoing) error {
	const open = 1
	socket := l.sockets[lane]
	if socket.Get("readyState").Int() != open {
		return errSocket
	}
	if n := o.size(); n > l.space {
		l.space = max(fsdp.HeaderLen+fsdp.MaxControl, n)
		l.frame = js.Global().Get("Uint8Array").New(l.space)
	}
	at := js.CopyBytesToJS(l.frame, o.head)
	for _, b := range o.body {
		webgpu.Put(l.frame, at, b)
		at += b.Len()
	}
	socket.Call("send", l.frame.Call("subarray", 0, at))
	return nil
}

// Frames implements rank.Link.
func (l *link) Frames() <-chan rank.Arrival { return l.frames }

// end closes the channel of frames. Frames that are already in it can still be read.
func (l *link) end() {
	l.once.Do(func() { close(l.ended); close(l.frames) })
}

// Close implements rank.Link.
func (l *link) Close() {
	for _, s := range l.sockets {
		if s.IsUndefined() {
			continue
		}
		for _, event := range []string{"open", "close", "error", "message"} {
			s.Set("on"+event, js.Null())
		}
		s.Call("close")
	}
	l.end()
	for _, f := range l.funcs {
		f.Release()
	}
	l.funcs = nil
}
