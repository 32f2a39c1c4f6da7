package ui

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"llamatab/engine/message"
)

// Room is the screen of a class: who has opened a room sees its code and leads it, who has joined sees what the room waits
// for. What it says of other tabs comes from the server alone.
type Room struct {
	*Words
	ID, Name  string // of the room; ID "" for none
	Code      string // lets others in, as far as this page knows it
	Owner     bool   // this page has opened it
	Addresses []string
	Tab       uint32 // this page's seat, 0 for none
	Me        string // this tab's name
	View      *roomView
	Lost      string    // why the server is not heard: "unreachable", or ""
	Projector bool      // large, and without names
	Plan      []sharded // the strategies over as many tabs as there are
	Problem   problem   // of the last thing that was asked for
	Newest    struct {  // the last step that the room has decided
		Step int     `json:"step"`
		Loss float64 `json:"loss"`
	}
	Held struct { // the last one after which the loss on held-out rows was measured
		Step int     `json:"step"`
		Loss float64 `json:"eval"`
	}

	Given, Typed string // code and name in the form
	Led          string // the name of a room that this browser has opened, in a tab that is no more; "" for none

	sure    string // what was asked for once: "end", "leave", "remove-3"
	report  string // as last told
	planned int    // the number of tabs that Plan is of, or that it was asked for
	page    *Page
}

// roomView is server/room.View, as far as it is shown.
type roomView struct {
	Name     string          `json:"name"`
	Phase    string          `json:"phase"`
	Reason   string          `json:"reason"`
	Strategy string          `json:"strategy"`
	Step     int             `json:"step"`
	Steps    int             `json:"steps"`
	Slots    int             `json:"slots"`
	Shards   int             `json:"shards"`
	Online   int             `json:"online"`
	Here     int             `json:"here"`
	Locked   bool            `json:"locked"`
	MaxTabs  int             `json:"max_tabs"`
	Params   int64           `json:"params"`
	Tabs     []roomTab       `json:"tabs"`
	Diary    []roomNote      `json:"diary"`
	Forecast traffic         `json:"forecast"`
	DDP      traffic         `json:"ddp"`
	Newest   json.RawMessage `json:"newest"` // of the losses, which rooms.js keeps
	Held     json.RawMessage `json:"held"`   // of those, the newest with one on held-out rows
	Before   *float64        `json:"before"` // that before training
}

type roomTab struct {
	Tab      uint32           `json:"tab"`
	Name     string           `json:"name"`
	Class    string           `json:"class"`
	State    string           `json:"state"`
	Shards   []int            `json:"shards"`
	Slots    int              `json:"slots"`
	Working  []int            `json:"working"`
	Seconds  float64          `json:"seconds"`
	Relative float64          `json:"relative"`
	In       int64            `json:"in"`
	Out      int64            `json:"out"`
	Memory   int64            `json:"memory"`
	Usage    map[string]int64 `json:"usage"` // Memory by class
	Silent   float64          `json:"silent"`
	Up       float64          `json:"up"` // bytes of a step, on average
	Down     float64          `json:"down"`
	Waited   float64          `json:"waited"` // part of its time
	Phase    string           `json:"phase"`
	Done     int64            `json:"done"`
	Total    int64            `json:"total"`
	Hidden   bool             `json:"hidden"`
	Failed   string           `json:"failed"`
}

type roomNote struct {
	Code string `json:"code"`
	Step int    `json:"step"`
	Text string `json:"text"`
}

// traffic is fsdp.Traffic: bytes of a step and tab.
type traffic struct{ Up, Down float64 }

// roomMeta is what a kept run knows of its room.
type roomMeta struct {
	ID  string `json:"id"`
	Tab uint32 `json:"tab"`
}

// opening, seat and refusal are what the server answers.
type (
	roomOpening struct {
		ID        string   `json:"id"`
		Code      string   `json:"code"`
		Owner     string   `json:"owner"`
		Addresses []string `json:"addresses"`
		// Of a tab that was reloaded.
		Tab   uint32 `json:"tab"`
		Token string `json:"token"`
		Name  string `json:"name"`
	}
	roomSeat struct {
		ID      string                  `json:"id"`
		Tab     uint32                  `json:"tab"`
		Token   string                  `json:"token"`
		Name    string                  `json:"name"`
		Room    string                  `json:"room"`
		Steps   int                     `json:"steps"`
		Job     json.RawMessage         `json:"job"`
		Sources map[string][]serverFile `json:"sources"`
	}
	roomRefusal struct {
		Code   string `json:"code"`
		Reason string `json:"reason"`
		Next   string `json:"next"`
		Path   string `json:"path"`

		Kind  string         `json:"kind"`
		About map[string]any `json:"about"`
	}
)

// heard takes what rooms.js tells.
func (r *Room) heard(now time.Time, what string, content json.RawMessage) {
	var refusal roomRefusal
	if strings.HasSuffix(what, "-refused") {
		json.Unmarshal(content, &refusal)
	}
	switch what {
	case "given": // by a link
		var o roomOpening
		json.Unmarshal(content, &o)
		if r.ID == "" {
			r.Given = o.Code
			r.page.host.Call("focus", "join-name")
		}
	case "led":
		var v roomView
		json.Unmarshal(content, &v)
		r.Led = cmp.Or(v.Name, r.say("room"))
	case "opened", "known":
		var o roomOpening
		json.Unmarshal(content, &o)
		r.Led = ""
		r.ID, r.Code, r.Owner, r.Addresses, r.Problem = o.ID, o.Code, o.Owner != "", o.Addresses, problem{}
		if what == "opened" {
			r.page.turn(screenRoom)
			return
		}
		if o.Token == "" {
			r.page.host.Call("watchRoom")
			return
		}
		r.ask(map[string]any{"id": o.ID, "tab": o.Tab, "token": o.Token, "name": o.Name})
	case "joined":
		var s roomSeat
		json.Unmarshal(content, &s)
		r.sit(s)
	case "handing":
		if h := new(handing); r.page.OpenRoom.Handing != nil && json.Unmarshal(content, h) == nil {
			r.page.OpenRoom.Handing = h
		}
	case "handed":
		var names map[string]string
		json.Unmarshal(content, &names)
		r.page.OpenRoom.handed(names)
	case "opened-refused", "handed-refused":
		r.page.OpenRoom.refused(refusal)
	case "joined-refused":
		r.Problem = r.why(refusal)
		if refusal.Code == "gone" || refusal.Code == "removed" {
			r.gone(now, refusal.Code)
		} else if r.Owner {
			r.page.host.Call("watchRoom")
		} else {
			r.ID = ""
		}
		r.Tab = 0
	case "view":
		r.View, r.Lost = new(roomView), ""
		json.Unmarshal(content, r.View)
		r.Name = r.View.Name
		r.planFor(r.View.Online)
		if r.View.Newest != nil {
			json.Unmarshal(r.View.Newest, &r.Newest)
		}
		if r.View.Held != nil {
			json.Unmarshal(r.View.Held, &r.Held)
		}
	case "planned":
		json.Unmarshal(content, &r.Plan)
	case "view-refused":
		r.Lost = refusal.Code
	case "look-refused":
		r.gone(now, refusal.Code)
	case "act-refused":
		r.Problem = r.why(refusal)
	}
}

// gone lets go of a room that is no more, or not for this tab. Its engine need not find that out by itself, unless all it has
// still to do is to save.
func (r *Room) gone(now time.Time, code string) {
	why := r.why(roomRefusal{Code: code})
	if run := r.page.Run; run.InRoom() && run.Stage.Active() && (run.Waiting == nil || run.Waiting.Phase != "wait" && run.Waiting.Phase != "save") {
		run.take(now, message.Envelope{Failed: &message.Failed{Code: "room", Message: string(why.Text)}})
	}
	r.page.host.Call("forgetRoom")
	*r = Room{Words: r.Words, page: r.page, Problem: why, Typed: r.Typed}
	if r.page.Screen == screenRoom {
		r.page.turn(screenHome) // where one can join again
	}
}

// problem is what is in the way, with the server's own words where the text leaves something open.
type problem struct{ Text, Detail Text }

// why says why something was refused: in the person's language where the code is known.
func (r *Room) why(f roomRefusal) problem {
	if key := "room.no." + f.Code; r.Has(key) {
		return problem{Text: r.T(key)}
	}
	failed := &message.Failed{Code: f.Code, Path: f.Path, Kind: f.Kind, About: f.About, Message: strings.TrimSpace(f.Reason + " " + f.Next)}
	if _, ok := troubleOf[f.Code]; ok {
		return problem{r.cause(failed), r.detail(failed)}
	}
	return problem{r.T("room.no"), r.detail(failed)}
}

// islands fills what is beside vugu.
func (r *Room) islands() {
	link := ""
	if r.Owner {
		link = r.Link()
	}
	r.page.host.Call("showRoom", link)
}
