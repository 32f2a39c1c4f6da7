package ui

import (
	"cmp"
	"strings"
	"time"

	"llamatab/engine/message"
)

// Room is the screen of a room. The owner sees the code for joining and the buttons that control the room. A tab that has
// joined sees what the room waits for. Everything about other tabs comes from the server.
type Room struct {
	*Words
	ID, Name  string // of the room; ID "" for none
	Code      string // for joining, "" where this page does not know it
	Owner     bool   // this page has opened the room
	Addresses []string
	Tab       uint32 // this page's seat, 0 for none
	Me        string // this tab's name
	View      *roomView
	NoAnswer  string              // why the server does not answer: "unreachable", or ""
	Projector bool                // the large view without names
	Plan      []message.ShardPlan // the strategies for the present number of tabs
	Problem   problem             // of the last request
	Newest    message.RoomLoss    // the last step that the room has decided
	Held      message.RoomLoss    // the last one after which the loss on held-out rows was measured

	TypedCode, TypedName string // in the form
	OwnedRoom            string // name of the room that a tab of this browser has opened and then was closed, "" for none

	confirming string             // what was requested once and needs a second click: "end", "leave", "remove-3"
	reported   message.SeatReport // the last report of this tab to the server
	planned    int                // number of tabs of the last requested Plan
	page       *Page
}

// roomView is the view of a room. js/chart_room.js keeps the losses and puts Newest and Held in their place.
type roomView struct {
	message.RoomView
	Newest *message.RoomLoss `json:"newest"`
	Held   *message.RoomLoss `json:"held"` // the newest one with a loss on held-out rows
}

// roomMeta is what a kept run records of its room.
type roomMeta struct {
	ID  string `json:"id"`
	Tab uint32 `json:"tab"`
}

// fillCode puts the code of a link into the form.
func (r *Room) fillCode(code string) {
	if r.ID == "" {
		r.TypedCode = code
		r.page.browser.Focus("join-name")
	}
}

// offerReturn offers to return to the room that a tab of this browser has opened and then was closed.
func (r *Room) offerReturn(m ownedRoomMessage) { r.OwnedRoom = cmp.Or(m.Name, r.say("room")) }

// opened shows the room that this page has opened.
func (r *Room) opened(o message.RoomOpening) {
	r.enter(o)
	r.page.goTo(screenRoom)
}

// comeBack returns to the room that this tab was in before a reload.
func (r *Room) comeBack(o rememberedRoom) {
	r.enter(o.RoomOpening)
	if o.Token == "" {
		r.page.browser.WatchRoom()
		return
	}
	r.page.browser.JoinRoom(message.SeatRequest{ID: o.ID, Tab: o.Tab, Token: o.Token, Name: o.Name})
}

func (r *Room) enter(o message.RoomOpening) {
	r.OwnedRoom = ""
	r.ID, r.Code, r.Owner, r.Addresses, r.Problem = o.ID, o.Code, o.Owner != "", o.Addresses, problem{}
}

// receiveView takes the state of the room, which the server sends once a second.
func (r *Room) receiveView(v roomView) {
	r.View, r.NoAnswer, r.Name = &v, "", v.Name
	r.planFor(v.Online)
	if v.Newest != nil {
		r.Newest = *v.Newest
	}
	if v.Held != nil {
		r.Held = *v.Held
	}
}

// refused handles a request that the server has refused or that has not reached it.
func (r *Room) refused(now time.Time, m refusedMessage) {
	switch m.Request {
	case "room-opened", "uploaded":
		r.page.OpenRoom.refused(m.Refusal)
	case "room-joined":
		r.Problem = r.explain(m.Refusal)
		if m.Refusal.Code == "gone" || m.Refusal.Code == "removed" {
			r.leaveGone(now, m.Refusal.Code)
		} else if r.Owner {
			r.page.browser.WatchRoom()
		} else {
			r.ID = ""
		}
		r.Tab = 0
	case "view":
		r.NoAnswer = m.Refusal.Code
	case "look":
		r.leaveGone(now, m.Refusal.Code)
	case "act":
		r.Problem = r.explain(m.Refusal)
	}
}

// leaveGone leaves a room that has ended or has removed this tab. It ends the run, unless the engine is saving the result.
func (r *Room) leaveGone(now time.Time, code string) {
	why := r.explain(message.Refusal{Code: code})
	if run := r.page.Run; run.InRoom() && run.Stage.Active() && (run.Waiting == nil || run.Waiting.Phase != "wait" && run.Waiting.Phase != "save") {
		run.receive(now, message.Envelope{Failed: &message.Failed{Code: "room", Message: string(why.Text)}})
	}
	r.page.browser.ForgetRoom()
	*r = Room{Words: r.Words, page: r.page, Problem: why, TypedName: r.TypedName}
	if r.page.Screen == screenRoom {
		r.page.goTo(screenHome) // its form joins a room
	}
}

// problem says what went wrong. Detail is the server's English message, where the text says less.
type problem struct{ Text, Detail Text }

// explain says why a request was refused, in the page's language where the code is known.
func (r *Room) explain(f message.Refusal) problem {
	if key := "room.no." + f.Code; r.Has(key) {
		return problem{Text: r.T(key)}
	}
	failed := &message.Failed{Code: f.Code, Path: f.Path, Kind: f.Kind, About: f.About, Message: strings.TrimSpace(f.Reason + " " + f.Next)}
	if _, ok := errorEntries[f.Code]; ok {
		return problem{r.cause(failed), r.detail(failed)}
	}
	return problem{r.T("room.no"), r.detail(failed)}
}

// fillElements fills the elements whose content vugu leaves alone.
func (r *Room) fillElements() {
	link := ""
	if r.Owner {
		link = r.Link()
	}
	r.page.browser.ShowRoom(link)
}
