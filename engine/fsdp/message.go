package fsdp

import (
	"encoding/json"
	"fmt"
)

// Message is the body of a frame that is not bulk.
type Message interface{ Type() Type }

// Hello is how a tab introduces itself.
type Hello struct {
	Code     string `json:"code"`            // the room's code
	Name     string `json:"name,omitempty"`  // as the roster shows it
	Platform string `json:"class,omitempty"` // adapter, driver, browser, kernels: tabs of one platform compute the same bits
	Group    string `json:"group,omitempty"` // HYBRID_SHARD: tabs of one group share their shards

	// Of a tab that comes back.
	Tab   uint32 `json:"tab,omitempty"`
	Token string `json:"token,omitempty"`
}

// Welcome answers a Hello.
type Welcome struct {
	Tab   uint32          `json:"tab"`
	Token string          `json:"token"` // for the data socket, and for coming back
	Conn  uint64          `json:"conn"`  // number of the connection, for Attach
	Run   json.RawMessage `json:"run"`   // the run, see Run
}

// Attach opens a data socket.
type Attach struct {
	Tab   uint32 `json:"tab"`
	Token string `json:"token"`
	Conn  uint64 `json:"conn"`
}

// Status is all that a tab has.
type Status struct {
	Seq      uint64  `json:"seq"`              // grows with every status
	Seen     uint64  `json:"seen"`             // Seq of the last Orders that the tab follows
	Progress uint64  `json:"progress"`         // grows with each slot and update, so that a frozen page is told from a long step
	Held     []Held  `json:"held,omitempty"`   // shards
	Slots    []Ready `json:"slots,omitempty"`  // slots that are computed
	Awaits   uint64  `json:"awaits,omitempty"` // version whose evaluation the tab waits for before it reports the next step
	Memory   int64   `json:"memory,omitempty"` // bytes on the GPU, for the roster
	Spent    Spent   `json:"spent,omitzero"`
	// Usage is Memory by class, sent if it has changed since the last status of the connection.
	Usage   map[string]int64 `json:"usage,omitempty"`
	Error   string           `json:"error,omitempty"` // why the tab cannot go on
	Leaving bool             `json:"leaving,omitempty"`
}

// Held is a shard at a version.
type Held struct {
	Shard   int    `json:"shard"`
	Version uint64 `json:"version"`
}

// Ready is the result of a slot. Loss is the sum over its tokens. The gradient of a step's slot is pulled afterwards; a slot of
// an evaluation has none.
type Ready struct {
	Work
	Loss      float64          `json:"loss"`
	Tokens    int              `json:"tokens"`
	Confusion []ConfusionCount `json:"verdicts,omitempty"` // of an evaluation of a classifier
	Invalid   bool             `json:"invalid,omitempty"`  // the loss was not finite; Loss is 0, as JSON knows no NaN
}

// Work is a slot to compute, in the epoch of its order.
type Work struct {
	Epoch uint32 `json:"epoch"`
	Step  uint64 `json:"step"`
	Slot  int    `json:"slot"`
	Of    int    `json:"of,omitempty"`   // slots of this step, where a slot is several micro-batches: see Run.SumFirst
	Eval  bool   `json:"eval,omitempty"` // a slot of the evaluation before the step, see Run.Eval
}

// Any is the work without its epoch: equal for all orders to compute the same slot.
func (w Work) Any() Work { w.Epoch = 0; return w }

// Micro are the micro-batches [from, to) of the slot, of run.Slots in the step.
func (w Work) Micro(run *Run) (from, to int) {
	if w.Of < 1 || w.Of > run.Slots || w.Slot < 0 || w.Slot >= w.Of {
		return w.Slot, w.Slot + 1
	}
	return w.Slot * run.Slots / w.Of, (w.Slot + 1) * run.Slots / w.Of
}

// Orders is all that the room wants of a tab.
type Orders struct {
	Seq     uint64   `json:"seq"`
	Epoch   uint32   `json:"epoch"`
	Version uint64   `json:"version"`           // that the current step starts from
	Oldest  uint64   `json:"oldest"`            // from this step on, all reduced gradients can be pulled
	Gather  bool     `json:"gather,omitempty"`  // parameters of Version can be pulled from the room
	Shards  []Keep   `json:"shards,omitempty"`  // to hold, at Version
	Work    []Work   `json:"work,omitempty"`    // to compute, in this order
	Commits []Commit `json:"commits,omitempty"` // that lead from the oldest of the tab's shards on to Version
	// Evals are the evaluations of the versions that Commits lead to, of the one that the tab awaits, and of version 0.
	Evals []Evaluated `json:"evals,omitempty"`
	Done  bool        `json:"done,omitempty"`  // the run is over, and its result can be pulled
	Phase string      `json:"phase,omitempty"` // of the room, as people are shown it
}

// Keep is a shard to hold. A tab that does not have it pulls its state at version Base, or makes the initial state itself if Base
// is 0, and applies the commits since.
type Keep struct {
	Shard int    `json:"shard"`
	Base  uint64 `json:"base"`
}

// Commit is the decision about a step: what leads from version Step to version Step+1.
type Commit struct {
	Step    uint64  `json:"step"`
	Applied bool    `json:"applied"` // false: the version is a new one by number only
	Factor  float32 `json:"factor"`  // clip / tokens: the summed gradient is multiplied by it
	Updates int     `json:"updates"` // applied so far, this one included: AdamW's t

	// For logs and charts: mean loss over the step's tokens, norm of its gradient before clipping, number of tokens.
	Loss   float64 `json:"loss"`
	Norm   float64 `json:"norm"`
	Tokens int     `json:"tokens"`
}

// Pull asks for pieces From to To-1 of a gradient, a shard's parameters or a shard's state. The frames that answer carry Epoch.
type Pull struct {
	Kind  Type   `json:"kind"`
	Epoch uint32 `json:"epoch"`
	Step  uint64 `json:"step"`
	Slot  int    `json:"slot"` // shard, where Kind is not TypeGradient
	From  int    `json:"from"`
	To    int    `json:"to"`
}

// Bye is the last message. A tab that is told Again may come back at once, any other stays away.
type Bye struct {
	Code   string `json:"code"` // "removed", "full", "slow", "protocol", "code", …
	Reason string `json:"reason,omitempty"`
	Again  bool   `json:"again,omitempty"`
}

func (Hello) Type() Type   { return TypeHello }
func (Welcome) Type() Type { return TypeWelcome }
func (Attach) Type() Type  { return TypeAttach }
func (Status) Type() Type  { return TypeStatus }
func (Orders) Type() Type  { return TypeOrders }
func (Pull) Type() Type    { return TypePull }
func (Bye) Type() Type     { return TypeBye }

// Encode makes the frame of a message.
func Encode(m Message) []byte {
	body, err := json.Marshal(m)
	if err != nil { // every message can be encoded: its floats are finite
		panic(err)
	}
	f := Frame{Header: Header{Type: m.Type(), Flags: FlagCRC}, Body: body}
	return f.Append(make([]byte, 0, HeaderLen+len(body)))
}

// Bounds of lists and strings in control messages.
const (
	maxList = 4096 // shards and slots
	// MaxCommits is how many commits Orders bring at a time.
	MaxCommits = 64
	maxText    = 200 // bytes of a name
	maxClasses = 32  // of memory
)

// Decode decodes the message of a control frame and checks its bounds. Errors wrap ErrFrame.
func Decode(f Frame) (Message, error) {
	switch f.Type {
	case TypeHello:
		return decode(f, func(m *Hello) bool {
			return len(m.Name) <= maxText && len(m.Platform) <= 4*maxText && len(m.Group) <= maxText
		})
	case TypeWelcome:
		return decode(f, func(m *Welcome) bool { return true })
	case TypeAttach:
		return decode(f, func(m *Attach) bool { return true })
	case TypeStatus:
		return decode(f, func(m *Status) bool {
			ok := len(m.Held) <= maxList && len(m.Slots) <= maxList && len(m.Usage) <= maxClasses
			for _, s := range m.Slots {
				ok = ok && s.Slot >= 0 && s.Tokens >= 0 && len(s.Confusion) <= MaxConfusionCounts
			}
			for _, h := range m.Held {
				ok = ok && h.Shard >= 0
			}
			return ok
		})
	case TypeOrders:
		return decode(f, func(m *Orders) bool {
			return len(m.Shards) <= maxList && len(m.Work) <= maxList && len(m.Commits) <= MaxCommits && len(m.Evals) <= MaxCommits+2
		})
	case TypePull:
		return decode(f, func(m *Pull) bool { return m.Kind.Bulk() && m.Slot >= 0 && 0 <= m.From && m.From < m.To })
	case TypeBye:
		return decode(f, func(m *Bye) bool { return true })
	}
	return nil, fmt.Errorf("%w: a %v has no message", ErrFrame, f.Type)
}

func decode[M Message](f Frame, ok func(*M) bool) (Message, error) {
	var m M
	if err := json.Unmarshal(f.Body, &m); err != nil {
		return nil, fmt.Errorf("%w: %v: %w", ErrFrame, f.Type, err)
	}
	if !ok(&m) {
		return nil, fmt.Errorf("%w: %v: a value is out of bounds", ErrFrame, f.Type)
	}
	return m, nil
}
