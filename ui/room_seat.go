package ui

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// takeSeat starts this tab's part of the run, or continues it after a reload. The record of the run is shown at once.
func (r *Room) takeSeat(s message.Seat) {
	if r.page.Run.Stage.Active() {
		return
	}
	known := r.ID == s.ID
	r.ID, r.Tab, r.Me, r.Name, r.Problem, r.TypedCode = s.ID, s.Tab, s.Name, s.Room, problem{}, ""
	if !known {
		r.Owner, r.View = false, nil
	}
	sources := map[string]source{}
	mounts := map[string]string{}
	for mount, files := range s.Sources {
		sources[mount], mounts[mount] = source{From: "server", Files: files}, ""
	}
	name := s.Room
	if name == "" {
		name = r.say("room")
	}
	meta := runMeta{
		ID: fmt.Sprintf("%s-%d", s.ID, s.Tab), Name: name, Created: time.Now().UTC().Format(time.RFC3339Nano),
		Config: s.Job, Steps: s.Steps, Inputs: sources, Room: &roomMeta{s.ID, s.Tab},
	}
	job := message.Job{Command: message.Train, Config: s.Job, Mounts: mounts, Room: &message.RoomJob{ID: s.ID, Name: s.Name, Tab: s.Tab, Token: s.Token}}
	if over := r.page.Home.finished(meta.ID); over != nil { // the run had ended before a reload
		r.page.pending = pendingRun{run: *over}
		r.page.browser.OpenRun(meta.ID, math.MaxInt32)
	} else {
		r.page.rejoin(job, sources, meta)
	}
	r.page.goTo(screenRoom)
}

// Join asks for a seat: in the room whose code was typed, or in the room that this page has opened.
func (r *Room) Join(event vugu.DOMEvent) {
	if event != nil {
		event.PreventDefault()
	}
	code := r.TypedCode
	if r.ID != "" {
		code = r.Code
	}
	switch {
	case r.page.Run.Stage.Active():
		r.Problem = problem{Text: r.T("room.busy")}
	case strings.TrimSpace(code) == "":
		r.Problem = problem{Text: r.T("room.codeless")}
		r.page.browser.Focus("join-code")
	default:
		r.Problem = problem{}
		r.page.browser.JoinRoom(message.SeatRequest{Code: code, Name: r.TypedName})
	}
}

// CanJoin reports whether this page has neither a seat nor a run.
func (r *Room) CanJoin() bool { return r.Tab == 0 && !r.page.Run.Stage.Active() }

// InRoom reports whether the run belongs to a room.
func (r *Run) InRoom() bool { return r.Meta.Room != nil }

// ownTab is this tab in the roster, nil if it is not in it.
func (r *Room) ownTab() *message.RoomTab {
	if r.View == nil || r.Tab == 0 {
		return nil
	}
	for i := range r.View.Tabs {
		if r.View.Tabs[i].Tab == r.Tab {
			return &r.View.Tabs[i]
		}
	}
	return nil
}

// report sends the progress of this tab to the server, where it has changed.
func (r *Room) report() {
	run := r.page.Run
	if r.Tab == 0 || !run.InRoom() || run.Meta.Room.ID != r.ID { // this page has no seat, or has started another run
		return
	}
	said := message.SeatReport{Memory: run.Last.GPUBytes}
	if w := run.Waiting; w != nil && run.Stage.Active() {
		said.Phase, said.Done, said.Total = w.Phase, w.Done, w.Total
	}
	if run.Stage == Failed && run.Failure != nil {
		said.Failed = run.Failure.Code
	}
	if said != r.reported {
		r.reported = said
		r.page.browser.ReportSeat(said)
	}
}

// Leave gives this tab's seat back. The room goes on without it.
func (r *Room) Leave(vugu.DOMEvent) {
	if !r.confirmed("leave") {
		return
	}
	run := r.page.Run
	if run.InRoom() && run.Stage.Active() {
		run.Stage, run.Waiting = Stopped, nil
		run.ended()
	}
	r.page.browser.LeaveRoom()
	r.Tab, r.reported = 0, message.SeatReport{}
	if !r.Owner {
		r.page.browser.ForgetRoom()
		*r = Room{Words: r.Words, page: r.page, TypedName: r.TypedName}
		r.page.goTo(screenHome)
	}
	r.page.refresh(time.Now())
}

// OwnedRoomText offers to return to the room that this browser has opened.
func (r *Room) OwnedRoomText() Text { return r.T("join.owned", "name", r.OwnedRoom) }

// ReturnToOwned returns to it.
func (r *Room) ReturnToOwned(vugu.DOMEvent) {
	r.page.browser.ReturnToOwnedRoom()
	r.page.goTo(screenRoom)
}

// SentText is how many bytes this tab has sent and received.
func (r *Room) SentText() Text {
	t := r.ownTab()
	if t == nil {
		return ""
	}
	return r.T("room.sent", "up", Bytes(t.In), "down", Bytes(t.Out))
}

// HeadText says which tab of the room this is.
func (r *Room) HeadText() Text {
	if r.Tab == 0 || r.Projector {
		return r.T("room.leads")
	}
	name := Text(r.Me)
	if name == "" {
		name = r.T("room.tab", "n", r.Tab)
	}
	return r.T("room.you", "name", string(name), "n", r.Tab)
}
