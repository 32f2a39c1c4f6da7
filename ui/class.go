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
	Problem  Text
	Working  bool

	page *Page
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

// config is the studio's run.json as one of a room. What the studio has set by itself and a room does not have is left out;
// what the person has set stays, and the server says that it cannot be.
func (c *Class) config() (Tree, Text) {
	slots, err := strconv.Atoi(strings.TrimSpace(c.Slots))
	if err != nil {
		return nil, c.T("setting.bad", "name", c.say("class.slots"), "value", strconv.Quote(c.Slots))
	}
	tabs, err := strconv.Atoi(strings.TrimSpace(c.Tabs))
	if err != nil {
		return nil, c.T("setting.bad", "name", c.say("class.tabs"), "value", strconv.Quote(c.Tabs))
	}
	s := c.page.Studio
	config := s.config()
	for _, path := range []string{"training.eval_steps", "dataset.validation_split"} {
		if s.auto[path] {
			config.Delete(path)
		}
	}
	config.Set("fsdp", map[string]any{"world_size": float64(tabs), "slots": float64(slots), "sharding_strategy": c.Strategy})
	return config, ""
}

// Begin has the server open a room for the run, whose owner this page then is.
func (c *Class) Begin(vugu.DOMEvent) {
	s := c.page.Studio
	c.Problem = ""
	switch {
	case !s.ready():
		c.Problem = c.T("class.first")
		return
	case s.Model.Source.From != "server":
		c.Problem = c.T("class.model", "name", s.Model.Name)
		return
	case s.Data.Source.From != "server":
		c.Problem = c.T("class.data", "name", s.Data.Name)
		return
	case c.page.Room.ID != "":
		c.Problem = c.T("class.already")
		return
	}
	config, problem := c.config()
	if c.Problem = problem; problem != "" {
		return
	}
	c.Working = true
	c.page.host.Call("openRoom", map[string]any{"name": c.Name, "run": map[string]any{"job": config}})
}

// refused says why there is no room.
func (c *Class) refused(f roomRefusal) {
	c.Working = false
	c.Problem = c.page.Room.why(f)
}
