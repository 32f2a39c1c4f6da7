package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall/js"

	"llamatab/engine/dist"
	"llamatab/engine/message"
	"llamatab/engine/train"
)

// link is a tab's two sockets to its room. Which bytes come is up to the tab itself, as the room sends only what was
// asked for; so what waits here is bounded, though a browser's socket cannot push back.
type link struct {
	sockets [2]js.Value
	funcs   []js.Func
	frames  chan []byte
	once    sync.Once
	ended   chan struct{}
}

// framesWaiting bounds what waits for the engine: far more than a tab asks for at a time.
const framesWaiting = 1 << 12

var errSocket = errors.New("the socket was closed")

// dial implements train.Dial over the sockets of the server that the page came from.
func dial(ctx context.Context, room *message.RoomJob, hello dist.Hello) (train.Link, dist.Welcome, error) {
	l := &link{frames: make(chan []byte, framesWaiting), ended: make(chan struct{})}
	var w dist.Welcome
	if hello.Tab == 0 {
		hello.Tab, hello.Token = room.Tab, room.Token
	}
	fail := func(err error) (train.Link, dist.Welcome, error) {
		l.Close()
		if bye := l.bye(); bye != nil {
			err = bye
		}
		return nil, w, err
	}
	if err := l.open(ctx, train.ControlLane, room.ID, dist.Encode(hello)); err != nil {
		return fail(err)
	}
	var first []byte
	select {
	case first = <-l.frames:
	case <-l.ended:
		return fail(errSocket)
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	f, err := dist.Parse(first)
	if err != nil {
		return fail(err)
	}
	m, err := dist.Decode(f)
	if err != nil {
		return fail(err)
	}
	switch m := m.(type) {
	case dist.Welcome:
		w = m
	case dist.Bye:
		return fail(&train.Farewell{Bye: m})
	default:
		return fail(fmt.Errorf("the room answers a hello with a %v", f.Type))
	}
	if err := l.open(ctx, train.DataLane, room.ID, dist.Encode(dist.Attach{Tab: w.Tab, Token: w.Token, Conn: w.Conn})); err != nil {
		return fail(err)
	}
	return l, w, nil
}

// bye is the goodbye among the frames of a link that is closed, nil if there is none: sockets end in any order, and the
// room's reason may have come before the end of the one that was being opened.
func (l *link) bye() error {
	for b := range l.frames {
		if f, err := dist.Parse(b); err == nil && f.Type == dist.TypeBye {
			if m, err := dist.Decode(f); err == nil {
				return &train.Farewell{Bye: m.(dist.Bye)}
			}
		}
	}
	return nil
}

// open opens one socket and sends its first frame.
func (l *link) open(ctx context.Context, lane train.Lane, room string, first []byte) error {
	at := js.Global().Get("location")
	scheme := "ws://"
	if at.Get("protocol").String() == "https:" {
		scheme = "wss://"
	}
	path := [...]string{train.ControlLane: "control", train.DataLane: "data"}[lane]
	socket := js.Global().Get("WebSocket").New(scheme + at.Get("host").String() + "/api/rooms/" + room + "/" + path)
	socket.Set("binaryType", "arraybuffer")
	l.sockets[lane] = socket
	open := make(chan struct{})
	l.on(socket, "open", func(js.Value) { close(open) })
	l.on(socket, "close", func(js.Value) { l.end() })
	l.on(socket, "error", func(js.Value) { l.end() })
	l.on(socket, "message", func(e js.Value) {
		data := e.Get("data")
		b := make([]byte, data.Get("byteLength").Int())
		bytesOf(data, b)
		select {
		case <-l.ended:
		default:
			select {
			case l.frames <- b:
			default:
				l.end() // more than was asked for: start again
			}
		}
	})
	select {
	case <-open:
		return l.Send(lane, first)
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

// Send implements train.Link.
func (l *link) Send(lane train.Lane, frame []byte) error {
	const open = 1
	if s := l.sockets[lane]; s.Get("readyState").Int() == open {
		s.Call("send", uint8Array(frame))
		return nil
	}
	return errSocket
}

// Frames implements train.Link.
func (l *link) Frames() <-chan []byte { return l.frames }

// end closes what comes, once both sockets' last frames are in.
func (l *link) end() {
	l.once.Do(func() { close(l.ended); close(l.frames) })
}

// Close implements train.Link.
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
