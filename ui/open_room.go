package ui

import (
	"strconv"
	"strings"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// OpenRoom is the part of the studio where a run becomes one of a room: several tabs, of this computer or of a class, share each
// step. The server prepares it, so model and data are among those that the server can hand to everybody.
type OpenRoom struct {
	*Words
	Open     bool   // it is shown
	Name     string // of the room, as typed
	Tabs     string // that are expected, as typed
	Slots    string // as typed
	Strategy string
	Problem  problem
	Working  bool
	Upload   *uploadProgress // files are on their way to the server, nil for none

	job  Tree // the run.json of the room that is to be opened
	page *Page
}

func newOpenRoom(p *Page) *OpenRoom {
	return &OpenRoom{Words: p.Words, page: p, Tabs: "4", Slots: "4", Strategy: ddp}
}

// Strategies are the ways to share the state of what trains, as the engine knows them.
func (o *OpenRoom) Strategies() []message.Option {
	return o.page.Studio.About.Choices["fsdp.sharding_strategy"]
}

// Toggle shows the panel, or hides it.
func (o *OpenRoom) Toggle(vugu.DOMEvent) { o.Open = !o.Open }

// About says what the chosen strategy shares.
func (o *OpenRoom) About() Text { return o.T("strategy." + o.Strategy) }

// config is the studio's run.json as one of a room. The server says where what the person has set cannot be.
func (o *OpenRoom) config() (Tree, Text) {
	slots, err := strconv.Atoi(strings.TrimSpace(o.Slots))
	if err != nil {
		return nil, o.T("setting.bad", "name", o.say("open_room.slots"), "value", strconv.Quote(o.Slots))
	}
	tabs, err := strconv.Atoi(strings.TrimSpace(o.Tabs))
	if err != nil {
		return nil, o.T("setting.bad", "name", o.say("open_room.tabs"), "value", strconv.Quote(o.Tabs))
	}
	config := o.page.Studio.config()
	config.Set("fsdp", map[string]any{"world_size": float64(tabs), "slots": float64(slots), "sharding_strategy": o.Strategy})
	return config, ""
}

// Begin has the server open a room for the run, whose owner this page then is. Files of this computer go to the server first:
// the other tabs can get them from nowhere else.
func (o *OpenRoom) Begin(vugu.DOMEvent) {
	s := o.page.Studio
	o.Problem = problem{}
	switch {
	case !s.ready():
		o.Problem = problem{Text: o.T("open_room.first")}
		return
	case o.page.Room.ID != "":
		o.Problem = problem{Text: o.T("open_room.already")}
		return
	}
	config, bad := o.config()
	if o.Problem.Text = bad; bad != "" {
		return
	}
	o.Working, o.job = true, config
	own, names := map[string]source{}, map[string]string{}
	for kind, what := range map[string]chosenInput{"model": s.Model, "dataset": s.Data} {
		if what.Source.From != "server" {
			own[kind], names[kind] = what.Source, what.Name
		}
	}
	if len(own) == 0 {
		o.open()
		return
	}
	o.Upload = &uploadProgress{}
	o.page.browser.Upload(own, names)
}

func (o *OpenRoom) open() {
	request := roomRequest{Name: o.Name}
	request.Run.Job = o.job
	o.page.browser.CreateRoom(request)
}

// uploading takes how far that is.
func (o *OpenRoom) uploading(p uploadProgress) {
	if o.Upload != nil {
		o.Upload = &p
	}
}

// UploadText says how far that is and how long the rest may take.
func (o *OpenRoom) UploadText() Text {
	h := o.Upload
	if h == nil {
		return ""
	}
	left := string(dash)
	if h.Done > 0 {
		left = o.Duration(h.Seconds * float64(h.Total-h.Done) / float64(h.Done))
	}
	return o.T("open_room.uploading", "done", Bytes(h.Done), "total", Bytes(h.Total), "left", left)
}

// UploadPart is the part that has got there, as <progress> takes it.
func (o *OpenRoom) UploadPart() string {
	if o.Upload == nil || o.Upload.Total == 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(o.Upload.Done)/float64(o.Upload.Total), 'f', 3, 64)
}

// StopUpload keeps the files here.
func (o *OpenRoom) StopUpload(vugu.DOMEvent) { o.page.browser.StopUpload() }

// uploaded goes on with the names that the server has for the files.
func (o *OpenRoom) uploaded(names map[string]string) {
	o.Upload = nil
	if name := names["model"]; name != "" {
		o.job.Set("model", name)
		const base = "peft.base_model_name_or_path" // the name that people know
		if peft, _ := o.job.Get("peft"); peft != nil {
			if given, _ := o.job.Get(base); given == nil {
				o.job.Set(base, o.page.Studio.Model.Name)
			}
		}
	}
	if name := names["dataset"]; name != "" {
		o.job.Set("dataset.path", name)
	}
	o.open()
}

// refused says why there is no room.
func (o *OpenRoom) refused(f roomRefusal) {
	o.Working, o.Upload = false, nil
	o.Problem = o.page.Room.explain(f)
}
