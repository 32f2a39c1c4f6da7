// Package ui is the page: a person puts a run together, starts it in the engine's worker, watches it, tries what came
// out and takes it away. Each panel is a name.vugu (markup) with a name.go (view model: messages in, strings out).
// All but main_js.go is free of the browser and is tested without one.
package ui

import (
	"time"

	"github.com/vugu/vugu"
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
	Screen   string
	Theme    string // "auto", "light" or "dark"
	ShowKeys bool   // the list of shortcuts
	GPU      adapter

	Shortcuts bool // single keys do something

	Home     *Home
	Studio   *Studio
	Run      *Run
	Try      *Try
	Export   *Export
	Room     *Room
	Join     *Join
	OpenRoom *OpenRoom

	Origin         string // of the page
	browser        browser
	arrived        bool       // the address has been read once
	pending        pendingRun // a kept run whose record has been asked for
	questions      []question // what the side engine has still to answer, in order
	shownStatus    string     // the sentence that stands in the status line
	announcedStage Stage      // the stage that a screen reader was last told
	announcedAt    time.Time
	language       string // that the document has been told
}

// adapter is the GPU that the browser offers.
type adapter struct {
	Name       string `json:"name"`
	Software   bool   `json:"software"`
	MaxBuffer  int64  `json:"max_buffer"`
	MaxBinding int64  `json:"max_binding"`
}

// NewPage makes the page, in the language and the theme that the browser remembers or prefers.
func NewPage(b browser) *Page {
	words := NewWords(b.Language())
	p := &Page{Words: words, Screen: screenHome, Theme: b.Theme(), Shortcuts: b.Remembered("keys") != "off", browser: b}
	p.Home = &Home{Words: words, page: p}
	p.Studio = newStudio(p)
	p.Run = &Run{Words: words, Stage: Idle, page: p}
	p.Try = newTry(p)
	p.Export = &Export{Words: words, page: p}
	p.Room = &Room{Words: words, page: p}
	p.Join = &Join{p.Room}
	p.OpenRoom = newOpenRoom(p)
	p.Studio.describe(b.Description())
	p.refresh(time.Now())
	return p
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
		p.browser.ListRuns()
	case screenStudio:
		p.Studio.changed()
	case screenTry:
		p.Try.enter()
	}
	p.fillElements()
}

// fillElements fills the elements of the screen that is shown whose content vugu leaves alone: those without content of its
// own, where an attribute is an expression; vugu takes others for constant and rewrites them.
func (p *Page) fillElements() {
	switch p.Screen {
	case screenStudio:
		p.Studio.fillElements()
	case screenRun:
		p.browser.ShowRunChart(p.Run.chartWords())
	case screenTry:
		p.Try.fillElements()
	case screenRoom:
		p.Room.fillElements()
	}
	p.shownStatus = ""
}

// goTo shows a screen and puts it into the address, which comes back as a message.
func (p *Page) goTo(screen string) {
	if p.Screen != screen {
		p.show(screen)
	}
	p.browser.GoTo(screen)
}

// Current is what the navigation says of a screen.
func (p *Page) Current(screen string) any {
	if p.Screen == screen {
		return "page"
	}
	return nil
}

// SwitchLanguage switches the language.
func (p *Page) SwitchLanguage(vugu.DOMEvent) {
	p.chinese = !p.chinese
	p.fillElements()
	p.refresh(time.Now())
}

// NextTheme goes on to the next theme.
func (p *Page) NextTheme(vugu.DOMEvent) {
	p.Theme = map[string]string{"auto": "light", "light": "dark", "dark": "auto"}[p.Theme]
	p.browser.SetTheme(p.Theme)
}

// SwitchShortcuts switches the shortcuts of a single key on or off: who speaks to a computer may press keys without meaning to.
func (p *Page) SwitchShortcuts(event vugu.DOMEvent) {
	p.Shortcuts = event.PropBool("target", "checked")
	p.browser.Remember("keys", map[bool]string{true: "on", false: "off"}[p.Shortcuts])
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
	if text != p.shownStatus {
		p.shownStatus = text
		p.browser.SetText("status", text)
	}
	if r.Stage != p.announcedStage || r.Stage.Active() && now.Sub(p.announcedAt) >= announceEvery {
		p.announcedStage, p.announcedAt = r.Stage, now
		p.browser.SetText("announcement", text)
	}
	if lang := p.Lang(); lang != p.language {
		p.browser.SetLanguage(lang, p.language != "")
		p.language = lang
	}
}
