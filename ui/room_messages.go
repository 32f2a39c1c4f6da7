package ui

import "llamatab/engine/message"

// The messages of js/room.js and js/upload.js. What the server answers, and most of what it is sent, is in package message.
type (
	// roomRequest asks for a room of a run: the keys of server/room's Config that the page sets.
	roomRequest struct {
		Name string `json:"name"`
		Run  struct {
			Job Tree `json:"job"` // its run.json
		} `json:"run"`
	}
	// rememberedRoom is the room that this tab was in before a reload, as the browser remembers it, with the tab's seat in it.
	rememberedRoom struct {
		message.RoomOpening
		Tab   uint32 `json:"tab"` // 0 for none
		Token string `json:"token"`
		Name  string `json:"name"` // of the tab
	}
	// ownedRoomMessage names the room that a tab of this browser has opened and then was closed.
	ownedRoomMessage struct {
		Name string `json:"name"`
	}
	// refusedMessage is a request that the server has refused, or that has not reached it.
	refusedMessage struct {
		Request string          `json:"request"` // the topic of the answer, or "act", "look", "view"
		Refusal message.Refusal `json:"refusal"`
	}
	// uploadProgress is the progress of an upload.
	uploadProgress struct {
		Done    int64   `json:"done"` // bytes
		Total   int64   `json:"total"`
		Seconds float64 `json:"seconds"` // since it began
	}
)
