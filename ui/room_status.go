package ui

import (
	"fmt"
	"strings"

	"llamatab/engine/message"
)

// TitleText names the room.
func (r *Room) TitleText() Text {
	if r.Name != "" {
		return Text(r.Name)
	}
	return r.T("room")
}

// CurveText is the curve in words, for screen readers.
func (r *Room) CurveText() Text {
	if r.View == nil || r.Newest.Step == 0 {
		return r.T("room.curveless")
	}
	text := r.T("room.loss", "step", r.Newest.Step, "loss", string(r.page.Run.lossText(r.Newest.Loss)))
	if held := r.Held.Eval; held != nil {
		text += " · " + r.T("room.held", "step", r.Held.Step, "loss", string(r.page.Run.lossText(*held)))
	}
	if before := r.View.Before; before != nil {
		text += " · " + r.T("before", "value", r.page.Run.lossText(*before))
	}
	return text
}

// CountText is the number of tabs in the room.
func (r *Room) CountText() Text {
	if r.View == nil {
		return ""
	}
	return r.T("room.count", "n", r.View.Here, "max", r.View.MaxTabs)
}

// listed joins the names of at most five tabs.
func (r *Room) listed(tabs []message.RoomTab, each func(message.RoomTab) Text) string {
	var names []string
	for _, t := range tabs {
		if len(names) == 5 {
			names = append(names, "…")
			break
		}
		names = append(names, string(each(t)))
	}
	return strings.Join(names, r.say("comma"))
}

// StatusText is one sentence about the state of the room, with the tabs that it waits for.
func (r *Room) StatusText() Text {
	v := r.View
	switch {
	case r.NoAnswer != "":
		return r.T("room.lost")
	case v == nil:
		return r.T("room.asking")
	case v.Phase == message.RoomDone:
		return r.T("room.done", "steps", v.Steps)
	case v.Phase == message.RoomFailed:
		return r.T("room.failed")
	case v.Phase == message.RoomSaving:
		return r.T("room.saving")
	case v.Phase == message.RoomPaused:
		return r.T("room.paused", "step", v.Step)
	}
	var loading, busy, silent []message.RoomTab
	for _, t := range v.Tabs {
		switch r.StateOf(t) {
		case "joining", "loading":
			loading = append(loading, t)
		case "computing":
			busy = append(busy, t)
		case "suspect", "away":
			silent = append(silent, t)
		}
	}
	detail := func(t message.RoomTab) Text { return r.Named(t) + " (" + r.StateText(t) + ")" }
	switch {
	case v.Phase == message.RoomLobby && v.Here == 0:
		return r.T("room.empty")
	case v.Phase == message.RoomLobby && len(loading) > 0:
		return r.T("room.loading", "who", r.listed(loading, detail))
	case v.Phase == message.RoomLobby && r.Owner:
		return r.T("room.mayStart", "n", v.Online)
	case v.Phase == message.RoomLobby:
		return r.T("room.teacher")
	case v.Online == 0:
		return r.T("room.alone")
	case len(silent) > 0:
		return r.T("room.silent", "step", v.Step+1, "steps", v.Steps, "who", r.listed(silent, detail))
	case v.Phase == message.RoomEvaluating:
		return r.T("room.evaluating", "step", v.Step)
	case len(busy) > 0:
		return r.T("room.computing", "step", v.Step+1, "steps", v.Steps, "who", r.listed(busy, r.Named))
	}
	return r.T("room.running", "step", v.Step+1, "steps", v.Steps)
}

// Reason is the server's English message about why the room has failed.
func (r *Room) Reason() Text {
	if r.View == nil || r.Phase() != message.RoomFailed {
		return ""
	}
	return Text(r.View.Reason)
}

// Bar is the progress of the run between 0 and 1, nil where it is unknown.
func (r *Room) Bar() any {
	if r.View == nil || r.View.Steps == 0 {
		return nil
	}
	return fmt.Sprintf("%.3f", float64(r.View.Step)/float64(r.View.Steps))
}

// Phase is the phase of the room, "" where it is unknown.
func (r *Room) Phase() message.RoomPhase {
	if r.View == nil {
		return ""
	}
	return r.View.Phase
}

// InLobby reports whether the room waits for tabs, or for the start.
func (r *Room) InLobby() bool { return r.Phase() == message.RoomLobby }
