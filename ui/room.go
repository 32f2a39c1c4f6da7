package ui

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/vugu/vugu"

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
		if h := new(handing); r.page.Class.Handing != nil && json.Unmarshal(content, h) == nil {
			r.page.Class.Handing = h
		}
	case "handed":
		var names map[string]string
		json.Unmarshal(content, &names)
		r.page.Class.handed(names)
	case "opened-refused", "handed-refused":
		r.page.Class.refused(refusal)
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

// sit begins this tab's part of the run, or goes on with it after a reload: what the run's record has is shown at once.
func (r *Room) sit(s roomSeat) {
	if r.page.Run.Stage.Active() {
		return
	}
	known := r.ID == s.ID
	r.ID, r.Tab, r.Me, r.Name, r.Problem, r.Given = s.ID, s.Tab, s.Name, s.Room, problem{}, ""
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
	if over := r.page.Home.finished(meta.ID); over != nil { // before a reload: there is nothing left to compute
		r.page.pending = pendingRun{run: *over}
		r.page.host.Call("open", meta.ID, math.MaxInt32)
	} else {
		r.page.rejoin(job, sources, meta)
	}
	r.page.turn(screenRoom)
}

func (r *Room) ask(request map[string]any) { r.page.host.Call("joinRoom", request) }

// Join takes a seat: of the room whose code was typed, or of this page's own.
func (r *Room) Join(event vugu.DOMEvent) {
	if event != nil {
		event.PreventDefault()
	}
	code := r.Given
	if r.ID != "" {
		code = r.Code
	}
	switch {
	case r.page.Run.Stage.Active():
		r.Problem = problem{Text: r.T("room.busy")}
	case strings.TrimSpace(code) == "":
		r.Problem = problem{Text: r.T("room.codeless")}
		r.page.host.Call("focus", "join-code")
	default:
		r.Problem = problem{}
		r.ask(map[string]any{"code": code, "name": r.Typed})
	}
}

// CanJoin reports whether this page has no seat, and no run that a seat would need the place of.
func (r *Room) CanJoin() bool { return r.Tab == 0 && !r.page.Run.Stage.Active() }

// InRoom reports whether the run that the page shows is a part of a room's.
func (r *Run) InRoom() bool { return r.Meta.Room != nil }

// me is this tab in the roster, nil if it is not in it.
func (r *Room) me() *roomTab {
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

// tell reports to the room how this tab is getting on.
func (r *Room) tell() {
	if r.Tab == 0 {
		return
	}
	run := r.page.Run
	if !run.InRoom() || run.Meta.Room.ID != r.ID {
		return // another run has taken its place
	}
	said := map[string]any{}
	if w := run.Waiting; w != nil && run.Stage.Active() {
		said["phase"], said["done"], said["total"] = w.Phase, w.Done, w.Total
	}
	if n := run.Last.GPUBytes; n > 0 {
		said["memory"] = n
	}
	if run.Stage == Failed && run.Failure != nil {
		said["failed"] = run.Failure.Code
	}
	text, _ := json.Marshal(said)
	if string(text) != r.report {
		r.report = string(text)
		r.page.host.Call("reportSeat", said)
	}
}

// twice asks a second time before what cannot be taken back.
func (r *Room) twice(what string) bool {
	if r.sure != what {
		r.sure = what
		return false
	}
	r.sure = ""
	return true
}

// SureText is what a button says whose deed is asked for twice.
func (r *Room) SureText(what, key string) Text {
	if r.sure == what {
		return r.T("room.sure")
	}
	return r.T(key)
}

// Leave gives this tab's seat back. The room goes on without it.
func (r *Room) Leave(vugu.DOMEvent) {
	if !r.twice("leave") {
		return
	}
	run := r.page.Run
	if run.InRoom() && run.Stage.Active() {
		run.Stage, run.Waiting = Stopped, nil
		run.ended()
	}
	r.page.host.Call("leaveRoom")
	r.Tab, r.report = 0, ""
	if !r.Owner {
		r.page.host.Call("forgetRoom")
		*r = Room{Words: r.Words, page: r.page, Typed: r.Typed}
		r.page.turn(screenHome)
	}
	r.page.refresh(time.Now())
}

// LedText offers the room that this browser leads.
func (r *Room) LedText() Text { return r.T("join.led", "name", r.Led) }

// LeadAgain goes there.
func (r *Room) LeadAgain(vugu.DOMEvent) {
	r.page.host.Call("leadAgain")
	r.page.turn(screenRoom)
}

// Act has the room do what its owner wants.
func (r *Room) Act(op string) {
	r.Problem = problem{}
	r.page.host.Call("actRoom", op, 0)
}

// End ends the room for good.
func (r *Room) End(vugu.DOMEvent) {
	if r.twice("end") {
		r.page.host.Call("actRoom", "end", 0)
	}
}

// Remove sends a tab away.
func (r *Room) Remove(t roomTab) {
	if r.twice(removal(t)) {
		r.page.host.Call("actRoom", "remove", int(t.Tab))
	}
}

func removal(t roomTab) string { return fmt.Sprintf("remove-%d", t.Tab) }

func (r *Room) RemoveText(t roomTab) Text { return r.SureText(removal(t), "room.remove") }

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

// Phase is where the room stands, for scripts.
func (r *Room) Phase() string {
	if r.View == nil {
		return ""
	}
	return r.View.Phase
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

// TitleText names the room.
func (r *Room) TitleText() Text {
	if r.Name != "" {
		return Text(r.Name)
	}
	return r.T("room")
}

// CopyLink puts the link on the clipboard.
func (r *Room) CopyLink(vugu.DOMEvent) { r.page.host.Call("copy", r.Link()) }

// CurveText says what the curve shows, for who does not see it.
func (r *Room) CurveText() Text {
	if r.View == nil || r.Newest.Step == 0 {
		return r.T("room.curveless")
	}
	text := r.T("room.loss", "step", r.Newest.Step, "loss", string(r.page.Run.lossText(r.Newest.Loss)))
	if r.Held.Step > 0 {
		text += " · " + r.T("room.held", "step", r.Held.Step, "loss", string(r.page.Run.lossText(r.Held.Loss)))
	}
	if before := r.View.Before; before != nil {
		text += " · " + r.T("before", "value", r.page.Run.lossText(*before))
	}
	return text
}

// Named is how the roster calls a tab.
func (r *Room) Named(t roomTab) Text {
	if t.Name != "" && !r.Projector {
		return Text(t.Name)
	}
	return r.T("room.tab", "n", t.Tab)
}

// Mine reports whether a row of the roster is this tab.
func (r *Room) Mine(t roomTab) bool { return t.Tab == r.Tab && r.Tab != 0 }

// StateOf names what a tab is doing: one of the words "room.is.…".
func (r *Room) StateOf(t roomTab) string {
	switch {
	case t.State == "loading" && (t.Phase == "" || t.Phase == "open"):
		return "joining"
	case r.View.Phase == "done" && t.State == "away" && t.Failed == "": // it has what it came for
		return "done"
	case t.State == "loading", t.State == "suspect", t.State == "away", t.State == "leaving", t.State == "failed", t.State == "left":
		return t.State
	case t.State == "connecting":
		return "joining"
	case r.View.Phase == "lobby":
		return "ready"
	case r.View.Phase == "done":
		return "done"
	case r.View.Phase == "saving":
		return "saving"
	case r.View.Phase == "paused":
		return "paused"
	case len(t.Working) > 0:
		return "computing"
	}
	return "waiting"
}

// StateText says it, with how far it is.
func (r *Room) StateText(t roomTab) Text {
	state := r.StateOf(t)
	text := r.T("room.is." + state)
	switch {
	case state == "loading" && t.Total > 0:
		text += Text(fmt.Sprintf(" %d %%", min(100*t.Done/t.Total, 100)))
	case state == "away" || state == "suspect":
		text += Text(" " + r.Duration(t.Silent))
	case state == "failed":
		if trouble, ok := troubleOf[t.Failed]; ok {
			text += Text(" " + trouble.Code)
		}
	}
	if t.Hidden && state != "left" {
		text += " · " + r.T("room.hidden")
	}
	return text
}

// ShardText says what a tab holds of what trains.
func (r *Room) ShardText(t roomTab) Text {
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

// PaceText is how long its last micro-batch took, against the median of all tabs.
func (r *Room) PaceText(t roomTab) Text {
	if t.Seconds == 0 {
		return dash
	}
	text := r.T("room.pace", "s", number(t.Seconds), "x", number(t.Relative))
	if t.Waited > 0 {
		text += r.T("room.waits", "part", number(100*t.Waited))
	}
	return text
}

// Slow reports whether a tab takes much longer than the others.
func (r *Room) Slow(t roomTab) bool { return t.Relative >= 1.8 }

func (r *Room) NetText(t roomTab) Text {
	return Text("↑ " + Bytes(t.In) + " ↓ " + Bytes(t.Out))
}

func (r *Room) MemoryText(t roomTab) Text {
	if t.Memory == 0 {
		return dash
	}
	return Text(Bytes(t.Memory))
}

// DeviceText is the adapter, of the class that its tab names: backend, vendor and architecture.
func (r *Room) DeviceText(t roomTab) Text {
	parts := strings.Split(t.Class, "|")
	if len(parts) < 3 {
		return dash
	}
	return Text(strings.TrimSpace(parts[1] + " " + parts[2]))
}

// HeardText is how long ago a tab was heard.
func (r *Room) HeardText(t roomTab) Text { return r.T("room.ago", "s", number(t.Silent)) }

// HeadText says who this tab is.
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

// CountText is how many are there, as the server counts.
func (r *Room) CountText() Text {
	if r.View == nil {
		return ""
	}
	return r.T("room.count", "n", r.View.Here, "max", r.View.MaxTabs)
}

// listed joins names that are waited for.
func (r *Room) listed(tabs []roomTab, each func(roomTab) Text) string {
	var names []string
	for _, t := range tabs {
		if len(names) == 5 {
			names = append(names, "…")
			break
		}
		names = append(names, string(each(t)))
	}
	return strings.Join(names, r.say("room.comma"))
}

// StatusText is one sentence about what the room waits for, and for whom.
func (r *Room) StatusText() Text {
	v := r.View
	switch {
	case r.Lost != "":
		return r.T("room.lost")
	case v == nil:
		return r.T("room.asking")
	case v.Phase == "done":
		return r.T("room.done", "steps", v.Steps)
	case v.Phase == "failed":
		return r.T("room.failed")
	case v.Phase == "saving":
		return r.T("room.saving")
	case v.Phase == "paused":
		return r.T("room.paused", "step", v.Step)
	}
	var loading, busy, silent []roomTab
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
	detail := func(t roomTab) Text { return r.Named(t) + " (" + r.StateText(t) + ")" }
	switch {
	case v.Phase == "lobby" && v.Here == 0:
		return r.T("room.empty")
	case v.Phase == "lobby" && len(loading) > 0:
		return r.T("room.loading", "who", r.listed(loading, detail))
	case v.Phase == "lobby" && r.Owner:
		return r.T("room.mayStart", "n", v.Online)
	case v.Phase == "lobby":
		return r.T("room.teacher")
	case v.Online == 0:
		return r.T("room.alone")
	case len(silent) > 0:
		return r.T("room.silent", "step", v.Step+1, "steps", v.Steps, "who", r.listed(silent, detail))
	case v.Phase == "evaluating":
		return r.T("room.evaluating", "step", v.Step)
	case len(busy) > 0:
		return r.T("room.computing", "step", v.Step+1, "steps", v.Steps, "who", r.listed(busy, r.Named))
	}
	return r.T("room.running", "step", v.Step+1, "steps", v.Steps)
}

// Reason are the server's own words about why the room cannot go on.
func (r *Room) Reason() Text {
	if r.View == nil || r.Phase() != "failed" {
		return ""
	}
	return Text(r.View.Reason)
}

// Bar is how far the run is, between 0 and 1, nil where nobody knows.
func (r *Room) Bar() any {
	if r.View == nil || r.View.Steps == 0 {
		return nil
	}
	return fmt.Sprintf("%.3f", float64(r.View.Step)/float64(r.View.Steps))
}

// SentText is what has left this computer, and what came.
func (r *Room) SentText() Text {
	t := r.me()
	if t == nil {
		return ""
	}
	return r.T("room.sent", "up", Bytes(t.In), "down", Bytes(t.Out))
}

// Project switches the projector's view: large, with no names.
func (r *Room) Project(vugu.DOMEvent) {
	r.Projector = !r.Projector
	r.islands()
}

// Glyph is a tab's mark on the projector: told apart without colour.
func (r *Room) Glyph(t roomTab) Text {
	return Text(map[string]string{"joining": "○", "loading": "◔", "ready": "●", "computing": "▶", "waiting": "◆", "paused": "Ⅱ", "saving": "▼", "done": "✓",
		"suspect": "?", "away": "✕", "leaving": "✕", "left": "✕", "failed": "!"}[r.StateOf(t)])
}

// islands fills what is beside vugu.
func (r *Room) islands() {
	link := ""
	if r.Owner {
		link = r.Link()
	}
	r.page.host.Call("showRoom", link)
}
