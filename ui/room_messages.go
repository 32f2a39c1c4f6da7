package ui

// What this page sends to the server about rooms, and what js/room.js and js/upload.js tell. The server's answers are in room.go.
type (
	// roomRequest asks for a room of a run.
	roomRequest struct {
		Name string `json:"name"`
		Run  struct {
			Job Tree `json:"job"` // its run.json
		} `json:"run"`
	}
	// seatRequest asks for a seat: a new one by the room's code, or the one that this tab had.
	seatRequest struct {
		Code  string `json:"code,omitempty"`
		ID    string `json:"id,omitempty"` // of the room
		Tab   uint32 `json:"tab,omitempty"`
		Token string `json:"token,omitempty"`
		Name  string `json:"name"` // of the tab
	}
	// seatReport is how this tab is getting on.
	seatReport struct {
		Phase  string `json:"phase,omitempty"` // what is being waited for, with how much of it is done
		Done   int64  `json:"done,omitempty"`
		Total  int64  `json:"total,omitempty"`
		Memory int64  `json:"memory,omitempty"` // bytes on the GPU
		Failed string `json:"failed,omitempty"` // the code of the failure that ended its run
	}

	// ledMessage is a room that this browser has opened, in a tab that is no more.
	ledMessage struct {
		Name string `json:"name"`
	}
	// refusedMessage is a request that the server has refused, or that has not reached it.
	refusedMessage struct {
		Request string      `json:"request"` // the topic of the answer, or "act", "look", "view"
		Refusal roomRefusal `json:"refusal"`
	}
	// uploadProgress is how far files have got on their way to the server.
	uploadProgress struct {
		Done    int64   `json:"done"` // bytes
		Total   int64   `json:"total"`
		Seconds float64 `json:"seconds"` // since it began
	}
)

// roomLoss is a loss that the room has decided on.
type roomLoss struct {
	Step int     `json:"step"`
	Loss float64 `json:"loss"`
	Eval float64 `json:"eval"` // on held-out rows, where it was measured
}
