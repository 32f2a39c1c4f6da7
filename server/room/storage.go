package room

import (
	"errors"
	"fmt"
)

// The four interfaces behind which a room's storage and messages stand. Local files and queues are the default; an
// engine that several servers share can take their place.

// Storage is where rooms are kept.
type Storage interface {
	Log
	Blobs
	Leases
	// Rooms lists the rooms that have a log.
	Rooms() ([]string, error)
	// Forget deletes all that there is of a room, whose lease nobody holds.
	Forget(room string) error
}

// Log keeps the entries of each room in order.
type Log interface {
	// Read returns the whole entries of a room and what lies behind them. It changes nothing.
	Read(room string) ([][]byte, Tail, error)
	// Append adds entry number seq, counted from 0, in place of the tail that Read has found; a tail that may hold more than a
	// torn write is kept beside the log. The entry is durable when Append returns. ErrConflict: seq is not next.
	Append(room string, seq int, text []byte) error
}

// Blobs keeps bytes under their SHA-256, in hexadecimal figures.
type Blobs interface {
	// Put keeps data, durably.
	Put(room string, data []byte) (hash string, err error)
	// Get reads n bytes from off on. A blob that is missing, too short or not what its name says is a *BlobError.
	Get(room, hash string, off, n int64) ([]byte, error)
	// Delete lets blobs go; one that is not there is no error.
	Delete(room string, hashes ...string) error
	// List lists all blobs of a room, and what a torn Put has left.
	List(room string) ([]Blob, error)
}

// Blob is a blob that is there.
type Blob struct {
	Name string // its hash
	Size int64
}

// BlobError says what is wrong with a stored blob.
type BlobError struct {
	Hash string
	Err  error
}

func (e *BlobError) Error() string { return fmt.Sprintf("blob %s: %v", e.Hash, e.Err) }
func (e *BlobError) Unwrap() error { return e.Err }

// Leases make sure that one server at a time is the home of a room.
type Leases interface {
	// Acquire takes the lease of a room, or fails with ErrHeld.
	Acquire(room string) (Lease, error)
}

// Lease is the right to write a room's log.
type Lease interface {
	// Fence grows with every lease of the room; a record says under which one it was written.
	Fence() uint64
	// Raise sets the fence to a higher number, durably: the log may have seen higher ones where the lease's file was lost.
	Raise(fence uint64) error
	Release() error
}

// Bus carries frames between the home of a room and the sockets of its tabs, wherever those end.
type Bus interface {
	// Listen opens an address. Parcels wait in the inbox while they are no more than limit bytes.
	Listen(address string, limit int) (Inbox, error)
	// Send puts a parcel into the inbox at an address. ErrFull: it does not fit; ErrNobody: nobody listens.
	Send(address string, p Parcel) error
}

// Inbox is the receiving end of an address.
type Inbox interface {
	// Ready receives when there may be something to take.
	Ready() <-chan struct{}
	// Take returns the oldest parcel, false if there is none.
	Take() (Parcel, bool)
	// Closed is closed when nothing will come any more.
	Closed() <-chan struct{}
	Close()
}

// Parcel is what a bus carries: an event of one tab's socket, or a frame for it.
type Parcel struct {
	Tab   uint32
	Conn  uint64 // which connection of the tab
	Lane  Lane
	Kind  ParcelKind
	Frame []byte
	Text  string
}

// Lane is one of a tab's two sockets.
type Lane uint8

const (
	Control Lane = iota
	Data
)

func (l Lane) String() string { return [...]string{"control", "data"}[l] }

// ParcelKind says what a parcel is about.
type ParcelKind uint8

const (
	ParcelFrame ParcelKind = iota
	ParcelOpen             // the socket was opened: Frame is its Hello
	ParcelClose            // it is closed, or to be closed: Text says why
)

var (
	ErrConflict = errors.New("somebody else has written to the log")
	ErrHeld     = errors.New("another server has the room open")
	ErrFull     = errors.New("too much is waiting")
	ErrNobody   = errors.New("nobody listens there")
)
