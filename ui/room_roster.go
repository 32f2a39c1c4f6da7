package ui

import (
	"fmt"
	"slices"
	"strings"

	"llamatab/engine/message"
)

// Named is the name of a tab in the roster.
func (r *Room) Named(t message.RoomTab) Text {
	if t.Name != "" && !r.Projector {
		return Text(t.Name)
	}
	return r.T("room.tab", "n", t.Tab)
}

// Mine reports whether a row of the roster is this tab.
func (r *Room) Mine(t message.RoomTab) bool { return t.Tab == r.Tab && r.Tab != 0 }

// StateOf is what a tab is doing: the last part of a text "room.is.…".
func (r *Room) StateOf(t message.RoomTab) string {
	switch {
	case t.State == message.TabLoading && (t.Phase == "" || t.Phase == "open"):
		return "joining"
	case r.View.Phase == message.RoomDone && t.State == message.TabAway && t.Failed == "": // it has left after the end
		return "done"
	case t.State == message.TabLoading, t.State == message.TabSuspect, t.State == message.TabAway, t.State == message.TabLeaving, t.State == message.TabFailed, t.State == message.TabLeft:
		return string(t.State)
	case t.State == message.TabConnecting:
		return "joining"
	case r.View.Phase == message.RoomLobby:
		return "ready"
	case r.View.Phase == message.RoomDone:
		return "done"
	case r.View.Phase == message.RoomSaving:
		return "saving"
	case r.View.Phase == message.RoomPaused:
		return "paused"
	case len(t.Working) > 0:
		return "computing"
	}
	return "waiting"
}

// StateText is the state of a tab in words, with its progress.
func (r *Room) StateText(t message.RoomTab) Text {
	state := r.StateOf(t)
	text := r.T("room.is." + state)
	switch {
	case state == "loading" && t.Total > 0:
		text += Text(fmt.Sprintf(" %d %%", min(100*t.Done/t.Total, 100)))
	case state == "away" || state == "suspect":
		text += Text(" " + r.Duration(t.Silent))
	case state == "failed":
		if trouble, ok := errorEntries[t.Failed]; ok {
			text += Text(" " + trouble.Code)
		}
	}
	if t.Hidden && state != "left" {
		text += " · " + r.T("room.hidden")
	}
	return text
}

// ShardText says which shards a tab holds.
func (r *Room) ShardText(t message.RoomTab) Text {
	switch n := len(t.Shards); {
	case n == 0:
		return dash
	case r.View.Shards == 1:
		return r.T("room.all")
	case n <= 3:
		which := strings.Trim(strings.ReplaceAll(fmt.Sprint(plusOne(t.Shards)), " ", ", "), "[]")
		return r.T("room.of", "which", which, "n", r.View.Shards)
	}
	return r.T("room.shards", "n", len(t.Shards), "total", r.View.Shards)
}

func plusOne(list []int) []int {
	out := slices.Clone(list)
	for i := range out {
		out[i]++
	}
	return out
}

// PaceText is how long a tab's last micro-batch took, in seconds and relative to the median of all tabs.
func (r *Room) PaceText(t message.RoomTab) Text {
	if t.Seconds == 0 {
		return dash
	}
	text := r.T("room.pace", "s", number(t.Seconds), "x", number(t.Relative))
	if t.Waited > 0 {
		text += r.T("room.waits", "part", number(100*t.Waited))
	}
	return text
}

// Slow reports whether a tab takes at least 1.8 times as long as the median.
func (r *Room) Slow(t message.RoomTab) bool { return t.Relative >= 1.8 }

func (r *Room) NetText(t message.RoomTab) Text {
	return Text("↑ " + Bytes(t.In) + " ↓ " + Bytes(t.Out))
}

func (r *Room) MemoryText(t message.RoomTab) Text {
	if t.Memory == 0 {
		return dash
	}
	return Text(Bytes(t.Memory))
}

// DeviceText is the vendor and architecture of a tab's GPU. Platform is "backend|vendor|architecture".
func (r *Room) DeviceText(t message.RoomTab) Text {
	parts := strings.Split(t.Platform, "|")
	if len(parts) < 3 {
		return dash
	}
	return Text(strings.TrimSpace(parts[1] + " " + parts[2]))
}

// HeardText is how long ago the server has heard from a tab.
func (r *Room) HeardText(t message.RoomTab) Text { return r.T("room.ago", "s", number(t.Silent)) }

// RefusedText says how much the server has refused. It is empty where that is nothing, and on the pages of others than the owner.
func (r *Room) RefusedText() Text {
	if r.View == nil {
		return ""
	}
	n := int64(0)
	for _, count := range r.View.Refused {
		n += count
	}
	if n == 0 {
		return ""
	}
	return r.T("room.refused", "n", n)
}
