package message

import "encoding/json"

// What a page and the server exchange about rooms over HTTP. room.go has what the server answers to a SeatReport.

// RoomNameLimit bounds the name of a room and of a tab, in characters.
const RoomNameLimit = 20

// RoomOpening answers a page that has opened a room.
type RoomOpening struct {
	ID        string   `json:"id"`
	Code      string   `json:"code"`  // by which others join
	Owner     string   `json:"owner"` // the token of the room's owner
	Addresses []string `json:"addresses,omitempty"`
}

// SeatRequest asks for a seat: a new one by the code of a room, or the seat that a tab had before a reload by its token.
type SeatRequest struct {
	Code  string `json:"code,omitempty"`
	ID    string `json:"id,omitempty"` // of the room
	Tab   uint32 `json:"tab,omitempty"`
	Token string `json:"token,omitempty"`
	Name  string `json:"name"` // of the tab
}

// Seat answers a page that was let into a room.
type Seat struct {
	ID      string                  `json:"id"` // of the room
	Tab     uint32                  `json:"tab"`
	Token   string                  `json:"token"`
	Name    string                  `json:"name"`           // of the tab
	Room    string                  `json:"room,omitempty"` // the room's name
	Steps   int                     `json:"steps"`
	Job     json.RawMessage         `json:"job"`     // the run.json
	Sources map[string][]ServerFile `json:"sources"` // the files of the job, by mount
}

// ServerFile is a file that a page fetches from the server.
type ServerFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // in bytes
	URL  string `json:"url"`
}

// SeatReport is what a page reports about its tab once a second. The server answers with the RoomView.
type SeatReport struct {
	Phase  string `json:"phase,omitempty"` // of the tab's engine before it connects: "open", "load", "compile"
	Done   int64  `json:"done,omitempty"`  // bytes or kernels of the phase that are done
	Total  int64  `json:"total,omitempty"`
	Memory int64  `json:"memory,omitempty"` // bytes on its GPU
	Hidden bool   `json:"hidden,omitempty"` // the tab is in the background, where browsers slow it down
	Failed string `json:"failed,omitempty"` // the code of the failure that ended its engine
	Left   bool   `json:"left,omitempty"`   // its user has left the room
	Since  uint64 `json:"since"`            // the page wants the losses from this step on
}

// Refusal answers a request about rooms that the server refuses.
type Refusal struct {
	Code   string `json:"code"`   // stable, such as "full"
	Reason string `json:"reason"` // in English
	Next   string `json:"next,omitempty"`
	Path   string `json:"path,omitempty"` // of the setting at fault

	// As in Failed.
	Kind  string         `json:"kind,omitempty"`
	About map[string]any `json:"about,omitempty"`
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason }
