package room

import (
	"errors"
	"fmt"
)

// A room's storage and messages stand behind four interfaces. Local and LocalBus implement them with files and with queues in
// memory.

// Storage is where rooms are kept.
type Storage interface {
	Log
	Blobs
	Leases
	// Rooms lists the rooms that have a log.
	Rooms() ([]string, error)
	// Forget deletes a room. Nobody may hold its lease.
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

// Blobs keeps bytes under their SHA-256 in hexadecimal.
type Blobs interface {
	// Put stores data durably.
	Put(room string, data []byte) (hash string, err error)
	// Get reads n bytes from off on. A blob that is missing, too short or not what its name says is a *BlobError.
	Get(room, hash string, off, n int64) ([]byte, error)
	// Delete deletes blobs. A blob that is not there is no error.
	Delete(room string, hashes ...string) error
	// List lists all blobs of a room, and unfinished files that a killed Put has left.
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

// Leases make sure that at most one server runs a room.
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

// Bus carries frames between the host of a room and the sockets of its tabs.
type Bus interface {
	// Listen opens an address. Parcels wait in the inbox while they are no more than limit bytes.
	Listen(address string, limit int) (Inbox, error)
	// Send puts a parcel into the inbox at an address. ErrFull: it does not fit; ErrNobody: nobody listens.
	Send(address string, p Parcel) error
}

// Inbox is the receiving end of an address.
type Inbox interface {
	// Ready receives when the inbox may hold a parcel.
	Ready() <-chan struct{}
	// Take returns the oldest parcel, false if there is none.
	Take() (Parcel, bool)
	// Closed is closed when no parcel will come any more.
	Closed() <-chan struct{}
	Close()
}

// Parcel is an event of one tab's socket, or a frame for it.
type Parcel struct {
	Tab    uint32
	Conn   uint64 // which connection of the tab
	Socket Socket
	Kind   ParcelKind
	Frame  []byte
	Text   string
}

// Socket is one of a tab's two sockets.
type Socket uint8

const (
	Control Socket = iota
	Data
)

func (l Socket) String() string { return [...]string{"control", "data"}[l] }

// ParcelKind says what a parcel is about.
type ParcelKind uint8

const (
	ParcelFrame ParcelKind = iota
	ParcelOpen             // the socket was opened: Frame is its Hello
	ParcelClose            // it is closed, or to be closed: Text says why
)

var (
	ErrConflict = errors.New("another program has written to the log")
	ErrHeld     = errors.New("another server has the room open")
	ErrFull     = errors.New("the queue is full")
	ErrNobody   = errors.New("nobody listens at this address")
)
