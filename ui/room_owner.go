package ui

import (
	"fmt"
	"strings"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// confirmed reports whether a button for an action that cannot be undone was pressed a second time.
func (r *Room) confirmed(what string) bool {
	if r.confirming != what {
		r.confirming = what
		return false
	}
	r.confirming = ""
	return true
}

// ConfirmText is the text of such a button.
func (r *Room) ConfirmText(what, key string) Text {
	if r.confirming == what {
		return r.T("room.sure")
	}
	return r.T(key)
}

// Act sends a command of the owner to the room.
func (r *Room) Act(op string) {
	r.Problem = problem{}
	r.page.browser.ActInRoom(op, 0)
}

// End ends the room for good.
func (r *Room) End(vugu.DOMEvent) {
	if r.confirmed("end") {
		r.page.browser.ActInRoom("end", 0)
	}
}

// Remove removes a tab from the room.
func (r *Room) Remove(t message.RoomTab) {
	if r.confirmed(removal(t)) {
		r.page.browser.ActInRoom("remove", t.Tab)
	}
}

func removal(t message.RoomTab) string { return fmt.Sprintf("remove-%d", t.Tab) }

func (r *Room) RemoveText(t message.RoomTab) Text { return r.ConfirmText(removal(t), "room.remove") }

// Can reports whether a command of the owner is possible now.
func (r *Room) Can(op string) bool {
	if r.View == nil || !r.Owner {
		return false
	}
	switch phase := r.View.Phase; op {
	case "start":
		return phase == message.RoomLobby
	case "pause":
		return phase == message.RoomComputing || phase == message.RoomEvaluating || phase == message.RoomDeciding
	case "resume":
		return phase == message.RoomPaused
	case "lock":
		return !r.View.Locked
	case "unlock":
		return r.View.Locked
	}
	return true
}

// PauseOp is the command of the pause button: "pause" or "resume".
func (r *Room) PauseOp() string {
	if r.View != nil && r.View.Phase == message.RoomPaused {
		return "resume"
	}
	return "pause"
}

// LockOp is the command of the lock button: "lock" or "unlock".
func (r *Room) LockOp() string {
	if r.View != nil && r.View.Locked {
		return "unlock"
	}
	return "lock"
}

// CodeText is the code in two groups of three digits.
func (r *Room) CodeText() Text {
	if len(r.Code) == 6 {
		return Text(r.Code[:3] + " " + r.Code[3:])
	}
	return Text(r.Code)
}

// Link is the link for joining. The code is in the fragment, which browsers do not send to servers.
func (r *Room) Link() string {
	base := r.page.Origin + "/"
	if len(r.Addresses) > 0 {
		base = r.Addresses[0]
	}
	return base + "#join=" + r.Code
}

// LinkText is the address without the code, for people to type.
func (r *Room) LinkText() Text {
	address, _, _ := strings.Cut(r.Link(), "#")
	return Text(strings.TrimSuffix(address, "/"))
}

// ReachText says who can join.
func (r *Room) ReachText() Text {
	if len(r.Addresses) == 0 {
		return r.T("room.local")
	}
	return r.T("room.lan")
}

// CopyLink puts the link on the clipboard.
func (r *Room) CopyLink(vugu.DOMEvent) { r.page.browser.Copy(r.Link(), false) }

// Project switches the projector view on or off: it is large and shows no names.
func (r *Room) Project(vugu.DOMEvent) {
	r.Projector = !r.Projector
	r.fillElements()
}

// Glyph is a tab's symbol on the projector. The symbols differ in shape, not only in colour.
func (r *Room) Glyph(t message.RoomTab) Text {
	return Text(map[string]string{"joining": "○", "loading": "◔", "ready": "●", "computing": "▶", "waiting": "◆", "paused": "Ⅱ", "saving": "▼", "done": "✓",
		"suspect": "?", "away": "✕", "leaving": "✕", "left": "✕", "failed": "!"}[r.StateOf(t)])
}
