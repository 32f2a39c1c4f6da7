//go:build js

package main

import (
	"bytes"
	"syscall/js"
	"testing"
	"time"

	"llamatab/engine/device"
	"llamatab/engine/device/webgpu"
	"llamatab/engine/fsdp"
	"llamatab/engine/fsdp/rank"
)

// newSocket is a stand-in for a WebSocket. It keeps all frames as unsent until drain is called. looks counts how often
// bufferedAmount was read.
func newSocket() js.Value {
	return js.Global().Get("Function").New(`let waiting = 0;
	return {
		readyState: 1, sent: [], looks: 0,
		get bufferedAmount() { this.looks++; return waiting; },
		send(b) { this.sent.push(b.slice()); waiting += b.byteLength; },
		drain() { waiting = 0; },
	};`).Invoke()
}

func sent(socket js.Value, i int) []byte {
	a := socket.Get("sent").Index(i)
	b := make([]byte, a.Get("byteLength").Int())
	js.CopyBytesToGo(b, a)
	return b
}

// numbers returns n bytes in JavaScript's memory, counting up from first, and the same bytes in Go's.
func numbers(first byte, n int) (webgpu.Array, []byte) {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return webgpu.NewArray(uint8Array(b)), b
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not happen within 5 s: ", what)
		}
	}
}

// TestLink sends frames whose parts lie in Go's and in JavaScript's memory. At most highWater frames wait inside the socket,
// and control messages overtake the frames that wait outside.
func TestLink(t *testing.T) {
	control, data := newSocket(), newSocket()
	l := &link{sockets: [2]js.Value{control, data}, frames: make(chan rank.Arrival, 4), data: make(chan outgoing, 64), waits: map[string]bool{}, ended: make(chan struct{})}
	defer l.end()
	go l.pump()
	const frames, n = 7, 1000
	array, content := numbers(3, n)
	var want [][]byte
	for i := range frames {
		h := fsdp.Header{Type: fsdp.TypeGradient, Flags: fsdp.FlagBF16, Chunk: uint32(i), Chunks: frames, Len: n}
		head := h.Append(nil)
		want = append(want, append(h.Append(nil), content...))
		for range 2 { // requested twice, sent once
			if err := l.Send(rank.DataSocket, head, array.Slice(0, 1+i), device.Heap(content[1+i:500]), array.Slice(500, 500)); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func() int { return data.Get("sent").Length() }
	eventually(t, "the first frames are sent", func() bool { return count() == highWater })
	looks := data.Get("looks").Int()
	eventually(t, "ten more looks at the full socket", func() bool { return data.Get("looks").Int() >= looks+10 })
	if count() != highWater {
		t.Fatalf("%d frames were given to a socket that sends none", count())
	}
	if err := l.Send(rank.ControlSocket, []byte("status")); err != nil || string(sent(control, 0)) != "status" {
		t.Errorf("a control message was not sent at once: %v", err)
	}
	eventually(t, "the other frames are sent", func() bool { data.Call("drain"); return count() == frames })
	for i := range want {
		if got := sent(data, i); !bytes.Equal(got, want[i]) {
			t.Errorf("frame %d differs from byte %d on", i, differ(got, want[i]))
		}
	}
	control.Set("readyState", 3)
	if err := l.Send(rank.ControlSocket, []byte("status")); err != errSocket {
		t.Errorf("a closed socket takes a message: %v", err)
	}
	for i := range cap(l.data) + 8 { // a room that requests without end
		l.Send(rank.DataSocket, []byte{byte(i), 1}, array)
	}
	if _, open := <-l.ended; open {
		t.Error("the link goes on although its queue is full")
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestArrived takes frames apart. The numbers of a bulk frame stay in JavaScript's memory; control messages and frames that
// are no frames come to Go whole.
func TestArrived(t *testing.T) {
	_, content := numbers(7, 64)
	bulk := fsdp.Frame{Header: fsdp.Header{Type: fsdp.TypeReduced, Flags: fsdp.FlagF32, Chunks: 1}, Body: content}
	message := fsdp.Encode(fsdp.Bye{Code: "full"})
	for _, frame := range [][]byte{bulk.Append(nil), message, message[:20], {}, bytes.Repeat([]byte{0xee}, 100)} {
		a := arrived(uint8Array(frame).Get("buffer"))
		if _, isBulk := a.Body.(webgpu.Array); isBulk != bytes.Equal(frame, bulk.Append(nil)) {
			t.Errorf("% x… has the body %T", frame[:min(4, len(frame))], a.Body)
		}
		all := a.Head
		if a.Body != nil {
			all = append(all, a.Body.Go()...)
		}
		if !bytes.Equal(all, frame) {
			t.Errorf("% x comes as % x", frame, all)
		}
	}
}
