package rank

import (
	"context"

	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// Socket is one of the two sockets between a tab and its room.
type Socket int

const (
	ControlSocket Socket = iota
	DataSocket
)

// Link is a connection to a room. The bytes of a body may lie outside of Go's memory: they go from the memory that the device
// was read into to a socket, and back.
type Link interface {
	// Send sends a frame: its header and the parts of its body, or all of a frame that is not bulk. It does not wait until
	// the frame is sent.
	Send(s Socket, head []byte, body ...device.Bytes) error
	// Frames returns the frames of both sockets. The channel is closed when the connection has ended.
	Frames() <-chan Arrival
	Close()
}

// Arrival is a frame that was received: all of it, or the header of a bulk frame and its body.
type Arrival struct {
	Head []byte
	Body device.Bytes // nil if the frame is not bulk
}

// Arrived is the arrival of a frame in Go's memory.
func Arrived(b []byte) Arrival {
	if h, err := fsdp.ParseHeader(b); err == nil && h.Type.Bulk() {
		return Arrival{b[:fsdp.HeaderLen], device.Heap(b[fsdp.HeaderLen:])}
	}
	return Arrival{Head: b}
}

// Dial opens both sockets to a room. It sends hello on the first and returns the room's welcome. Then it attaches the second.
// The error is a *Farewell if the room refuses the tab.
type Dial func(ctx context.Context, room *message.RoomJob, hello fsdp.Hello) (Link, fsdp.Welcome, error)
