package ui

// What this page sends to the server about rooms, and the messages of js/room.js and js/upload.js. room.go has the server's answers.
type (
	// roomRequest asks for a room of a run.
	roomRequest struct {
		Name string `json:"name"`
		Run  struct {
			Job Tree `json:"job"` // its run.json
		} `json:"run"`
	}
	// seatRequest asks for a seat: a new one by the code of a room, or the seat that this tab had before a reload.
	seatRequest struct {
		Code  string `json:"code,omitempty"`
		ID    string `json:"id,omitempty"` // of the room
		Tab   uint32 `json:"tab,omitempty"`
		Token string `json:"token,omitempty"`
		Name  string `json:"name"` // of the tab
	}
	// seatReport is the progress of this tab.
	seatReport struct {
		Phase  string `json:"phase,omitempty"` // the phase of its engine, with its progress
		Done   int64  `json:"done,omitempty"`
		Total  int64  `json:"total,omitempty"`
		Memory int64  `json:"memory,omitempty"` // bytes on the GPU
		Failed string `json:"failed,omitempty"` // code of the failure that has ended its run
	}

	// ledMessage is a room that was opened in a tab of this browser since closed.
	ledMessage struct {
		Name string `json:"name"`
	}
	// refusedMessage is a request that the server has refused, or that has not reached it.
	refusedMessage struct {
		Request string      `json:"request"` // the topic of the answer, or "act", "look", "view"
		Refusal roomRefusal `json:"refusal"`
	}
	// uploadProgress is the progress of an upload.
	uploadProgress struct {
		Done    int64   `json:"done"` // bytes
		Total   int64   `json:"total"`
		Seconds float64 `json:"seconds"` // since it began
	}
)
