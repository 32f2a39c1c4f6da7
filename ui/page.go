// Package ui is the program of the page. A person configures a run, starts it in the engine's worker, watches it, tries the
// result and downloads it. Each panel has a markup file NAME.vugu and a view model NAME.go, which turns messages into texts.
// The browser is reached through the interface browser; only the files *_js.go need a real one. docs/page-state.md says who
// owns which state.
package ui

import (
	"time"

	"github.com/vugu/vugu"
)

// announceEvery is the least time between two announcements to a screen reader while only numbers change.
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

// The engines of a page, beside the one of conversations (talk_engine.go).
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

	Shortcuts bool // keys of a single character are shortcuts

	Home     *Home
	Studio   *Studio
	Run      *Run
	Try      *Try
	Export   *Export
	Room     *Room
	Join     *Join
	OpenRoom *OpenRoom

	Origin         string // of the page's address, such as http://localhost:8080
	browser        browser
	arrived        bool       // the address has been read before
	pending        pendingRun // a kept run whose record is being read
	questions      []question // jobs that the side engine has not finished, in order
	shownStatus    string     // text of the status line
	announcedStage Stage      // the last stage that was announced to screen readers
	announcedAt    time.Time
	language       string // language tag of the document
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

// show shows a screen. An unknown name means the home screen.
func (p *Page) show(screen string) {
	if p.Screen == screenTry {
		p.Try.Talk.leave()
	}
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

// fillElements fills those elements of the screen whose content vugu does not manage: they are empty in the markup and have an
// attribute that is an expression. Elements without such an attribute are constant for vugu, which restores their content.
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

// goTo shows a screen and writes it into the address. The browser then sends the new address as a message.
func (p *Page) goTo(screen string) {
	if p.Screen != screen {
		p.show(screen)
	}
	p.browser.GoTo(screen)
}

// Current is the attribute aria-current of a screen's link.
func (p *Page) Current(screen string) any {
	if p.Screen == screen {
		return "page"
	}
	return nil
}

// SwitchLanguage switches the language.
func (p *Page) SwitchLanguage(vugu.DOMEvent) {
	p.chinese = !p.chinese
	if p.Screen == screenTry {
		p.Try.Talk.leave()
	}
	p.fillElements()
	p.refresh(time.Now())
}

// NextTheme switches from auto to light, from light to dark and from dark to auto.
func (p *Page) NextTheme(vugu.DOMEvent) {
	p.Theme = map[string]string{"auto": "light", "light": "dark", "dark": "auto"}[p.Theme]
	p.browser.SetTheme(p.Theme)
}

// SwitchShortcuts turns the single-key shortcuts on or off. Speech input may press single keys by accident.
func (p *Page) SwitchShortcuts(event vugu.DOMEvent) {
	p.Shortcuts = event.PropBool("target", "checked")
	p.browser.Remember("keys", map[bool]string{true: "on", false: "off"}[p.Shortcuts])
}

// ThemeText is the name of the theme.
func (p *Page) ThemeText() Text { return p.T("theme." + p.Theme) }

// GPUText is the GPU's name in the header.
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

// LeavesText says what leaves this computer. It is always visible.
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

// refresh updates what vugu does not manage: the status line, the announcement for screen readers and the document's language.
// A new stage is announced at once, other changes at most every announceEvery.
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
