package room

import (
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// Event is something that happens to a room.
type Event interface{ event() }

type (
	// Joined: a tab that is known by its token has opened its control socket.
	Joined struct {
		Tab   uint32
		Hello fsdp.Hello
	}
	// Attached: the tab's data socket is open.
	Attached struct{ Tab uint32 }
	// Gone: one of the tab's sockets is closed.
	Gone struct {
		Tab    uint32
		Reason string
	}
	// GotMessage is a message from a tab.
	GotMessage struct {
		Tab     uint32
		Message fsdp.Message
	}
	// GotFrame is a frame from a tab's data socket. The room may use the body only until Handle returns.
	GotFrame struct {
		Tab   uint32
		Frame fsdp.Frame
	}
	// Asked is an operation of the room's owner.
	Asked struct {
		Op  Op
		Tab uint32
	}
	// Stored answers Store.
	Stored struct {
		Tag  string
		Hash string
		Err  error
	}
	// Logged answers Append. Hash is the record's.
	Logged struct {
		Record Record
		Err    error
	}
	// Loaded answers Load.
	Loaded struct {
		Tag  string
		Data []byte
		Err  error
	}
	// Damaged: a blob that the log names is missing, or not what it was.
	Damaged struct {
		Hash string
		Err  error
	}
	// Ticked: time has passed. A few times a second is enough.
	Ticked struct{}
)

// Op is an operation of the room's owner.
type Op string

const (
	Start  Op = "start"
	Pause  Op = "pause"
	Resume Op = "resume"
	Remove Op = "remove"
	Lock   Op = "lock" // no further tab may join
	Unlock Op = "unlock"
)

func (Joined) event()     {}
func (Attached) event()   {}
func (Gone) event()       {}
func (GotMessage) event() {}
func (GotFrame) event()   {}
func (Asked) event()      {}
func (Stored) event()     {}
func (Logged) event()     {}
func (Loaded) event()     {}
func (Damaged) event()    {}
func (Ticked) event()     {}

// Effect is something that the host has to do for the room.
type Effect interface{ effect() }

type (
	// Send sends a control message to a tab.
	Send struct {
		Tab     uint32
		Message fsdp.Message
	}
	// SendBulk sends a frame on a tab's data socket. The body does not change any more.
	SendBulk struct {
		Tab   uint32
		Frame fsdp.Frame
	}
	// Drop says goodbye to a tab and closes its sockets.
	Drop struct {
		Tab uint32
		Bye fsdp.Bye
	}
	// Append adds a record to the log, durably; Logged answers. Records are logged in order.
	Append struct{ Record Record }
	// Store keeps a blob, durably; Stored answers.
	Store struct {
		Tag  string
		Data []byte
	}
	// Load reads a part of a blob; Loaded answers.
	Load struct {
		Tag, Hash string
		Off, Len  int64
	}
	// Delete deletes blobs.
	Delete struct{ Hashes []string }
	// Note is for the room's diary and for people.
	Note message.RoomNote
	// Moment is a Note for debugging and tests: what a tab is in the middle of.
	Moment Note
)

func (Send) effect()     {}
func (SendBulk) effect() {}
func (Drop) effect()     {}
func (Append) effect()   {}
func (Store) effect()    {}
func (Load) effect()     {}
func (Delete) effect()   {}
func (Note) effect()     {}
func (Moment) effect()   {}
