package ui

import (
	"strconv"
	"strings"

	"github.com/vugu/vugu"
)

// Class is the part of the studio where a run becomes one of a room: several tabs, of this computer or of a class, share each
// step. The server prepares it, so model and data are among those that the server can hand to everybody.
type Class struct {
	*Words
	Open     bool   // it is shown
	Name     string // of the room, as typed
	Tabs     string // that are expected, as typed
	Slots    string // as typed
	Strategy string
	Problem  problem
	Working  bool
	Handing  *handing // files are on their way to the server

	asked Tree // the run.json of the room that is to be opened
	page  *Page
}

func newClass(p *Page) *Class {
	return &Class{Words: p.Words, page: p, Tabs: "4", Slots: "4", Strategy: ddp}
}

// Strategies are the ways to share the state of what trains, as the engine knows them.
func (c *Class) Strategies() []option { return c.page.Studio.About.Choices["fsdp.sharding_strategy"] }

// Toggle shows the panel, or hides it.
func (c *Class) Toggle(vugu.DOMEvent) { c.Open = !c.Open }

// About says what the chosen strategy shares.
func (c *Class) About() Text { return c.T("strategy." + c.Strategy) }

// config is the studio's run.json as one of a room. The server says where what the person has set cannot be.
func (c *Class) config() (Tree, Text) {
	slots, err := strconv.Atoi(strings.TrimSpace(c.Slots))
	if err != nil {
		return nil, c.T("setting.bad", "name", c.say("class.slots"), "value", strconv.Quote(c.Slots))
	}
	tabs, err := strconv.Atoi(strings.TrimSpace(c.Tabs))
	if err != nil {
		return nil, c.T("setting.bad", "name", c.say("class.tabs"), "value", strconv.Quote(c.Tabs))
	}
	config := c.page.Studio.config()
	config.Set("fsdp", map[string]any{"world_size": float64(tabs), "slots": float64(slots), "sharding_strategy": c.Strategy})
	return config, ""
}

// Begin has the server open a room for the run, whose owner this page then is. Files of this computer go to the server first:
// the other tabs can get them from nowhere else.
func (c *Class) Begin(vugu.DOMEvent) {
	s := c.page.Studio
	c.Problem = problem{}
	switch {
	case !s.ready():
		c.Problem = problem{Text: c.T("class.first")}
		return
	case c.page.Room.ID != "":
		c.Problem = problem{Text: c.T("class.already")}
		return
	}
	config, bad := c.config()
	if c.Problem.Text = bad; bad != "" {
		return
	}
	c.Working, c.asked = true, config
	own, names := map[string]source{}, map[string]string{}
	for kind, what := range map[string]choice{"model": s.Model, "dataset": s.Data} {
		if what.Source.From != "server" {
			own[kind], names[kind] = what.Source, what.Name
		}
	}
	if len(own) == 0 {
		c.open()
		return
	}
	c.Handing = &handing{}
	c.page.host.Call("handOver", own, names)
}

func (c *Class) open() {
	c.page.host.Call("openRoom", map[string]any{"name": c.Name, "run": map[string]any{"job": c.asked}})
}

// handing is how far files have got on their way to the server.
type handing struct {
	Done    int64   `json:"done"`
	Total   int64   `json:"total"`
	Seconds float64 `json:"seconds"` // since it began
}

// HandingText says how far that is and how long the rest may take.
func (c *Class) HandingText() Text {
	h := c.Handing
	if h == nil {
		return ""
	}
	left := string(dash)
	if h.Done > 0 {
		left = c.Duration(h.Seconds * float64(h.Total-h.Done) / float64(h.Done))
	}
	return c.T("class.handing", "done", Bytes(h.Done), "total", Bytes(h.Total), "left", left)
}

// HandingPart is the part that has got there, as <progress> takes it.
func (c *Class) HandingPart() string {
	if c.Handing == nil || c.Handing.Total == 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(c.Handing.Done)/float64(c.Handing.Total), 'f', 3, 64)
}

// StopHanding keeps the files here.
func (c *Class) StopHanding(vugu.DOMEvent) { c.page.host.Call("stopHanding") }

// handed goes on with the names that the server has for the files.
func (c *Class) handed(names map[string]string) {
	c.Handing = nil
	if name := names["model"]; name != "" {
		c.asked.Set("model", name)
		const base = "peft.base_model_name_or_path" // the name that people know
		if peft, _ := c.asked.Get("peft"); peft != nil {
			if given, _ := c.asked.Get(base); given == nil {
				c.asked.Set(base, c.page.Studio.Model.Name)
			}
		}
	}
	if name := names["dataset"]; name != "" {
		c.asked.Set("dataset.path", name)
	}
	c.open()
}

// refused says why there is no room.
func (c *Class) refused(f roomRefusal) {
	c.Working, c.Handing = false, nil
	c.Problem = c.page.Room.why(f)
}
