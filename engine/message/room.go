package message

// What a room of several tabs says to their pages.

// RoomPhase is what a room is doing.
type RoomPhase string

const (
	RoomLobby      RoomPhase = "lobby"      // waiting for tabs, or for the start
	RoomEvaluating RoomPhase = "evaluating" // the loss of the version on held-out rows is computed
	RoomComputing  RoomPhase = "computing"  // slots are computed, and their gradients added
	RoomDeciding   RoomPhase = "deciding"   // the decision about a step, or the result of an evaluation, is being stored
	RoomSaving     RoomPhase = "saving"     // all steps are decided, the last checkpoint is being pulled
	RoomDone       RoomPhase = "done"
	RoomFailed     RoomPhase = "failed" // the room's storage failed
	RoomPaused     RoomPhase = "paused" // shown in place of evaluating, computing and deciding
)

// TabState is what a room knows of a tab's connection.
type TabState string

const (
	TabLoading    TabState = "loading"    // it has a seat, and its engine has not connected yet
	TabConnecting TabState = "connecting" // its data socket has not come yet
	TabOnline     TabState = "online"
	TabSuspect    TabState = "suspect" // online, and silent for a while
	TabLeaving    TabState = "leaving"
	TabAway       TabState = "away"
	TabLeft       TabState = "left" // its user has left the room
	TabFailed     TabState = "failed"
)

// RoomView describes a room.
type RoomView struct {
	ID       string     `json:"id"`
	Name     string     `json:"name,omitempty"`
	Phase    RoomPhase  `json:"phase"`
	Reason   string     `json:"reason,omitempty"` // of a failure
	Strategy string     `json:"strategy"`
	Step     uint64     `json:"step"`
	Steps    int        `json:"steps"`
	Slots    int        `json:"slots"`
	Shards   int        `json:"shards"`
	Online   int        `json:"online"` // tabs that are connected
	Here     int        `json:"here"`   // connected tabs and tabs that are loading
	Locked   bool       `json:"locked"` // no further tab may join
	MinTabs  int        `json:"min_tabs"`
	MaxTabs  int        `json:"max_tabs"`
	Epoch    uint32     `json:"epoch"`
	Params   int        `json:"params"`  // elements that train
	Padding  int        `json:"padding"` // elements by which S equal shards would be larger
	Saved    uint64     `json:"saved"`   // version of the last checkpoint
	Stats    RoomStats  `json:"stats"`
	Tabs     []RoomTab  `json:"tabs,omitempty"`
	Losses   []RoomLoss `json:"losses,omitempty"`
	Before   *float64   `json:"before,omitempty"` // the loss on held-out rows before the first step
	Diary    []RoomNote `json:"diary,omitempty"`
	// Refused counts connections, requests, joins and sockets that the server has refused or ended since its start, by reason.
	Refused map[string]int64 `json:"refused,omitempty"`
	// Forecast is the traffic of a step and tab for the connected tabs, DDP the same under NO_SHARD, in bytes without headers.
	Forecast Traffic `json:"forecast"`
	DDP      Traffic `json:"ddp"`
}

// RoomTab is one tab of a room's roster.
type RoomTab struct {
	Tab      uint32   `json:"tab"`
	Name     string   `json:"name,omitempty"`
	Platform string   `json:"class,omitempty"`
	State    TabState `json:"state"`
	Shards   []int    `json:"shards,omitempty"`
	Version  uint64   `json:"version"` // of its oldest shard
	Slots    int      `json:"slots"`   // computed so far
	Working  []int    `json:"working,omitempty"`
	Seconds  float64  `json:"seconds"`  // time of its last slot
	Relative float64  `json:"relative"` // Seconds divided by the median of all tabs
	In       int64    `json:"in"`       // bytes from it, without headers
	Out      int64    `json:"out"`      // bytes to it
	Memory   int64    `json:"memory"`   // bytes on its GPU, as the tab reports
	// Usage is Memory by kind.
	Usage  map[string]int64 `json:"usage,omitempty"`
	Silent float64          `json:"silent"` // seconds since its last status

	// Means over the last steps that the tab took part in: bytes as Forecast counts them, and the part of its time in which it
	// waited.
	Up     float64 `json:"up"`
	Down   float64 `json:"down"`
	Waited float64 `json:"waited"`

	// From its page's report.
	Phase  string `json:"phase,omitempty"`
	Done   int64  `json:"done,omitempty"`
	Total  int64  `json:"total,omitempty"`
	Hidden bool   `json:"hidden,omitempty"`
	Failed string `json:"failed,omitempty"`
}

// RoomLoss is the loss of a decided step.
type RoomLoss struct {
	Step uint64  `json:"step"` // counted from 1
	Loss float64 `json:"loss"` // mean over its tokens
	Norm float64 `json:"norm"` // of its gradient, before clipping
	// Eval is the loss on held-out rows after the step, if it is evaluated; that of the last step may come later.
	Eval *float64 `json:"eval,omitempty"`
}

// RoomNote is a line of a room's diary.
type RoomNote struct {
	Code string `json:"code"`
	Tab  uint32 `json:"tab,omitempty"`
	Step uint64 `json:"step"`
	Text string `json:"text"`
}

// Traffic is the bytes that a tab sends (Up) and receives (Down) in a step, without headers.
type Traffic struct{ Up, Down float64 }

// RoomStats counts what happened in a room.
type RoomStats struct {
	Commits, Skips       int
	Evaluations          int
	BytesIn, BytesOut    int64 // bodies of bulk frames
	Frames, Refused      int64 // bulk frames taken in; stale, doubled or malformed ones
	NotFinite            int64 // frames and results with infinities, NaNs or numbers of 2^62 or more
	Copies, Recomputed   int64 // slots given to a second tab; given out again
	Restored             int64 // shards given to a tab that did not have them
	Audits, Liars        int64
	Lost, Rewound        int64 // blobs that were damaged; times that the run went back for one
	OrdersSent, Statuses int64
}
