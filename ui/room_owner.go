package ui

import (
	"fmt"
	"strings"

	"github.com/vugu/vugu"
)

// confirmed reports whether the person has asked a second time for what cannot be undone.
func (r *Room) confirmed(what string) bool {
	if r.confirming != what {
		r.confirming = what
		return false
	}
	r.confirming = ""
	return true
}

// ConfirmText is the text of a button that has to be pressed twice.
func (r *Room) ConfirmText(what, key string) Text {
	if r.confirming == what {
		return r.T("room.sure")
	}
	return r.T(key)
}

// Act has the room do what its owner wants.
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

// Remove sends a tab away.
func (r *Room) Remove(t roomTab) {
	if r.confirmed(removal(t)) {
		r.page.browser.ActInRoom("remove", t.Tab)
	}
}

func removal(t roomTab) string { return fmt.Sprintf("remove-%d", t.Tab) }

func (r *Room) RemoveText(t roomTab) Text { return r.ConfirmText(removal(t), "room.remove") }

// Can reports whether the owner's button for a deed is of use now.
func (r *Room) Can(op string) bool {
	if r.View == nil || !r.Owner {
		return false
	}
	switch phase := r.View.Phase; op {
	case "start":
		return phase == "lobby"
	case "pause":
		return phase == "computing" || phase == "evaluating" || phase == "deciding"
	case "resume":
		return phase == "paused"
	case "lock":
		return !r.View.Locked
	case "unlock":
		return r.View.Locked
	}
	return true
}

// PauseOp is what the one button for both does.
func (r *Room) PauseOp() string {
	if r.View != nil && r.View.Phase == "paused" {
		return "resume"
	}
	return "pause"
}

// LockOp is what the one button for both does.
func (r *Room) LockOp() string {
	if r.View != nil && r.View.Locked {
		return "unlock"
	}
	return "lock"
}

// CodeText spells the code in two groups, as it is read out.
func (r *Room) CodeText() Text {
	if len(r.Code) == 6 {
		return Text(r.Code[:3] + " " + r.Code[3:])
	}
	return Text(r.Code)
}

// Link leads a tab into the room. The code is in the fragment, which browsers send to nobody.
func (r *Room) Link() string {
	base := r.page.Origin + "/"
	if len(r.Addresses) > 0 {
		base = r.Addresses[0]
	}
	return base + "#join=" + r.Code
}

// LinkText is the address that people type.
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

// Project switches the projector's view: large, with no names.
func (r *Room) Project(vugu.DOMEvent) {
	r.Projector = !r.Projector
	r.fillElements()
}

// Glyph is a tab's mark on the projector: told apart without colour.
func (r *Room) Glyph(t roomTab) Text {
	return Text(map[string]string{"joining": "○", "loading": "◔", "ready": "●", "computing": "▶", "waiting": "◆", "paused": "Ⅱ", "saving": "▼", "done": "✓",
		"suspect": "?", "away": "✕", "leaving": "✕", "left": "✕", "failed": "!"}[r.StateOf(t)])
}
