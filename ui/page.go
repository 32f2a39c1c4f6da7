// Package ui is the page: a person puts a run together, starts it in the engine's worker, watches it, tries what came
// out and takes it away. Each panel is a name.vugu (markup) with a name.go (view model: messages in, strings out).
// All but main_js.go is free of the browser and is tested without one.
package ui

import (
	"encoding/json"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// announceEvery is the least time between two sentences that a screen reader reads while nothing but numbers changes.
const announceEvery = 10 * time.Second

// Screens of the page, as the address names them.
const (
	screenHome   = "home"
	screenStudio = "studio"
	screenRun    = "run"
	screenTry    = "try"
	screenExport = "export"
	screenRoom   = "room"
)

var screens = []string{screenHome, screenStudio, screenRun, screenTry, screenExport, screenRoom}

// The two engines of a page.
const (
	runEngine  = "run"
	sideEngine = "side"
)

// Page is the whole page.
type Page struct {
	*Words
	Screen string
	Theme  string // "auto", "light" or "dark"
	Keys   bool   // the list of keys is shown
	GPU    adapter

	Shortcuts bool // single keys do something

	Home     *Home
	Studio   *Studio
	Run      *Run
	Try      *Try
	Export   *Export
	Room     *Room
	Join     *Join
	OpenRoom *OpenRoom

	Origin   string // of the page
	host     host
	pending  pendingRun // a kept run whose record has been asked for
	asked    []question // what the side engine has still to answer, in order
	status   string     // the status sentence shown
	spoken   Stage      // the stage of which a screen reader was told last
	said     time.Time  // when
	language string     // that the document has been told
}

// host is the browser, as far as the page needs it: page.js through main_js.go, or a stand-in under test.
type host interface {
	// Call calls a function of page.js. Arguments are strings, numbers and booleans; other values arrive as JSON text.
	Call(name string, args ...any)
	// Value is what stands in the control with the id.
	Value(id string) string
	// Remembered is what the browser keeps of the person's choices under a name, "" for nothing.
	Remembered(name string) string
}

// adapter is the GPU that the browser offers.
type adapter struct {
	Name       string `json:"name"`
	Software   bool   `json:"software"`
	MaxBuffer  int64  `json:"max_buffer"`
	MaxBinding int64  `json:"max_binding"`
}

// NewPage makes a page in the language of the tag.
func NewPage(h host, language, theme string) *Page {
	words := NewWords(language)
	p := &Page{Words: words, Screen: screenHome, Theme: theme, Shortcuts: h.Remembered("keys") != "off", host: h}
	p.Home = &Home{Words: words, page: p}
	p.Studio = newStudio(p)
	p.Run = &Run{Words: words, Stage: Idle, page: p}
	p.Try = newTry(p)
	p.Export = &Export{Words: words, page: p}
	p.Room = &Room{Words: words, page: p}
	p.Join = &Join{p.Room}
	p.OpenRoom = newOpenRoom(p)
	p.refresh(time.Now())
	return p
}

// incoming is one thing that page.js tells.
type incoming struct {
	Type      string             `json:"type"`
	From      string             `json:"from"`      // the engine that it comes from
	Envelopes []message.Envelope `json:"envelopes"` // "envelopes": an engine's words; "opened": the record of a run
	Kind      string             `json:"kind"`      // "files": what was chosen, "model" or "dataset"
	Files     []file             `json:"files"`
	Path      string             `json:"path"` // "file", "removed": a file of the result
	Size      int64              `json:"size"`
	Loose     bool               `json:"loose"`  // "file": it is in memory, as there is no room on disk
	Text      string             `json:"text"`   // "config": a run.json; "packed": why not, or ""; "problem": the cause; "copied"
	Newer     bool               `json:"newer"`  // "config": it is from a link that a newer page has made
	Lesson    bool               `json:"lesson"` // "config": settings are not for the person to change
	Name      string             `json:"name"`   // "screen"
	Code      string             `json:"code"`   // "problem"
	ID        string             `json:"id"`     // "opened"
	Models    []offer            `json:"models"` // "offers"
	Data      []serverFile       `json:"data"`
	Ready     []readyRun         `json:"ready"`
	What      string             `json:"what"` // "room": see Room.heard
	Room      json.RawMessage    `json:"room"`
	Origin    string             `json:"origin"` // "screen": of the page
	Recipes   []recipe           `json:"recipes"`
	Runs      []keptRun          `json:"runs"` // "runs"
	Usage     int64              `json:"usage"`
	Quota     int64              `json:"quota"`
	Inputs    map[string]source  `json:"inputs"`   // "inputs": where the files of the run that begins can be found again
	Software  bool               `json:"software"` // "gpu"
	MaxBuffer int64              `json:"max_buffer"`
	MaxBind   int64              `json:"max_binding"`
}

// receive follows what page.js tells, a JSON array of incoming.
func (p *Page) receive(now time.Time, text []byte) {
	var items []incoming
	if err := json.Unmarshal(text, &items); err != nil {
		items = []incoming{{Type: "envelopes", From: runEngine, Envelopes: []message.Envelope{{Failed: &message.Failed{
			Code: "engine_crashed", Message: "the engine's words cannot be read: " + err.Error()}}}}}
	}
	for _, item := range items {
		switch item.Type {
		case "envelopes":
			for _, e := range item.Envelopes {
				if item.From == sideEngine {
					p.answered(e)
					continue
				}
				p.Run.take(now, e)
			}
		case "files":
			p.Studio.choose(item.Kind, item.Files)
		case "inputs":
			p.Run.Meta.Inputs = item.Inputs
		case "file", "removed":
			p.filed(item)
		case "packed":
			p.Export.packed(item.Text)
		case "screen":
			p.Origin = item.Origin
			p.show(item.Name)
		case "room":
			p.Room.heard(now, item.What, item.Room)
		case "offers":
			p.Home.Ready, p.Studio.Recipes = item.Ready, item.Recipes
			p.Studio.offer(item.Models, item.Data)
		case "gpu":
			p.GPU = adapter{item.Name, item.Software, item.MaxBuffer, item.MaxBind}
			p.Studio.changed()
		case "runs":
			p.Home.Runs, p.Home.Usage, p.Home.Quota = item.Runs, item.Usage, item.Quota
		case "opened":
			p.opened(now, item)
		case "config":
			p.Studio.arrive(item)
		case "copied":
			p.Studio.Shared, p.Studio.TooLong = item.Text, item.Text == ""
		case "problem":
			p.Run.note(message.Event{Level: "error", Code: item.Code, Message: item.Text})
		}
	}
	p.Room.tell()
	p.refresh(now)
}

// show turns to a screen; one that is not known is home.
func (p *Page) show(screen string) {
	p.Screen = screenHome
	for _, s := range screens {
		if s == screen {
			p.Screen = s
		}
	}
	switch p.Screen {
	case screenHome:
		p.host.Call("refresh")
	case screenStudio:
		p.Studio.changed()
	case screenTry:
		p.Try.enter()
	}
	p.islands()
}

// islands fills what is around vugu on the screen that is shown: elements without content that vugu leaves alone,
// which it does only where an attribute is an expression: others it takes for constant and rewrites.
func (p *Page) islands() {
	switch p.Screen {
	case screenStudio:
		p.Studio.islands()
	case screenRun:
		p.host.Call("chart", p.Run.chartWords())
	case screenTry:
		p.Try.islands()
	case screenRoom:
		p.Room.islands()
	}
	p.status = ""
}

// turn asks the browser for another screen, which comes back as "screen".
func (p *Page) turn(screen string) {
	if p.Screen != screen {
		p.show(screen)
	}
	p.host.Call("go", screen)
}

// Current is what the navigation says of a screen.
func (p *Page) Current(screen string) any {
	if p.Screen == screen {
		return "page"
	}
	return nil
}

// Speak switches the language.
func (p *Page) Speak(vugu.DOMEvent) {
	p.chinese = !p.chinese
	p.islands()
	p.refresh(time.Now())
}

// Paint goes on to the next theme.
func (p *Page) Paint(vugu.DOMEvent) {
	p.Theme = map[string]string{"auto": "light", "light": "dark", "dark": "auto"}[p.Theme]
	p.host.Call("paint", p.Theme)
}

// Arm switches the shortcuts of a single key on or off: who speaks to a computer may press keys without meaning to.
func (p *Page) Arm(event vugu.DOMEvent) {
	p.Shortcuts = event.PropBool("target", "checked")
	p.host.Call("remember", "keys", map[bool]string{true: "on", false: "off"}[p.Shortcuts])
}

// ThemeText says which theme there is.
func (p *Page) ThemeText() Text { return p.T("theme." + p.Theme) }

// GPUText says in the header what trains here.
func (p *Page) GPUText() Text {
	switch {
	case p.GPU.MaxBuffer == 0:
		return ""
	case p.GPU.Software:
		return p.T("gpu.software")
	case p.GPU.Name == "":
		return p.T("gpu")
	}
	return Text(p.GPU.Name)
}

// LeavesText is always in sight: what leaves this computer.
func (p *Page) LeavesText() Text {
	switch {
	case p.Room.Tab == 0 && p.Room.Owner:
		return p.T("room.hands")
	case p.Room.Tab == 0:
		return p.T("private")
	}
	sent := p.Room.SentText()
	if sent == "" {
		sent = p.T("room.sent", "up", Bytes(0), "down", Bytes(0))
	}
	return sent + " " + p.T("room.leaves")
}

// refresh brings what is around vugu up to date: status and document. Who reads the page with a screen reader is told of
// a new stage at once, and of all else now and then.
func (p *Page) refresh(now time.Time) {
	r := p.Run
	text := r.Status()
	if text != p.status {
		p.status = text
		p.host.Call("text", "status", text)
	}
	if r.Stage != p.spoken || r.Stage.Active() && now.Sub(p.said) >= announceEvery {
		p.spoken, p.said = r.Stage, now
		p.host.Call("text", "announcement", text)
	}
	if lang := p.Lang(); lang != p.language {
		p.host.Call("speak", lang, p.language != "")
		p.language = lang
	}
}
