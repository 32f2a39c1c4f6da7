package rank

import (
	"context"

	"llamatab/engine/device"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// Lane is one of the two sockets between a tab and its room.
type Lane int

const (
	ControlLane Lane = iota
	DataLane
)

// Link is a connection to a room. Numbers pass it where they are: between the memory of a device and a socket there is
// no need for Go's.
type Link interface {
	// Send sends a frame: its header, or all of one that is not bulk, and the parts of its body. It does not wait until
	// the frame has gone.
	Send(l Lane, head []byte, body ...device.Bytes) error
	// Frames are what comes, of both lanes; closed when the connection has ended.
	Frames() <-chan Arrival
	Close()
}

// Arrival is a frame that came: all of it, or the header of a bulk frame and its body.
type Arrival struct {
	Head []byte
	Body device.Bytes // nil but for bulk frames
}

// Arrived is a frame in Go memory that came.
func Arrived(b []byte) Arrival {
	if h, err := fsdp.ParseHeader(b); err == nil && h.Type.Bulk() {
		return Arrival{b[:fsdp.HeaderLen], device.Heap(b[fsdp.HeaderLen:])}
	}
	return Arrival{Head: b}
}

// Dial opens both sockets to a room: it says hello on the first and hands back the welcome, then attaches the second.
type Dial func(ctx context.Context, room *message.RoomJob, hello fsdp.Hello) (Link, fsdp.Welcome, error)
