package ui

import (
	"strconv"
	"strings"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// OpenRoom is the panel of the studio that opens a room: several tabs, on this computer or on several, compute each step
// together. The server gives model and data to all tabs, so files of this computer are uploaded to it first.
type OpenRoom struct {
	*Words
	Open     bool   // the panel is shown
	Name     string // name of the room, as typed
	Tabs     string // number of expected tabs, as typed
	Slots    string // micro-batches of a step, as typed
	Strategy string
	Problem  problem
	Working  bool
	Upload   *uploadProgress // progress of the upload, nil for none

	job  Tree // run.json of the new room
	page *Page
}

func newOpenRoom(p *Page) *OpenRoom {
	return &OpenRoom{Words: p.Words, page: p, Tabs: "4", Slots: "4", Strategy: ddp}
}

// NameLimit is the length of a room's name in characters.
func (o *OpenRoom) NameLimit() string { return strconv.Itoa(message.RoomNameLimit) }

// Strategies are the sharding strategies.
func (o *OpenRoom) Strategies() []message.Option {
	return o.page.Studio.About.Choices["fsdp.sharding_strategy"]
}

// Toggle shows the panel, or hides it.
func (o *OpenRoom) Toggle(vugu.DOMEvent) { o.Open = !o.Open }

// About describes the chosen strategy.
func (o *OpenRoom) About() Text { return o.T("strategy." + o.Strategy) }

// config is the studio's run.json with the key fsdp. The server refuses settings that a room cannot have.
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

// Begin uploads files of this computer, if there are any, and then has the server open a room. This page becomes its owner.
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

// uploading takes the progress of the upload.
func (o *OpenRoom) uploading(p uploadProgress) {
	if o.Upload != nil {
		o.Upload = &p
	}
}

// UploadText is that progress in words, with a forecast of the time left.
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

// UploadPart is that progress between 0 and 1.
func (o *OpenRoom) UploadPart() string {
	if o.Upload == nil || o.Upload.Total == 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(o.Upload.Done)/float64(o.Upload.Total), 'f', 3, 64)
}

// StopUpload cancels the upload.
func (o *OpenRoom) StopUpload(vugu.DOMEvent) { o.page.browser.StopUpload() }

// uploaded opens the room, with the names that the server has given the files.
func (o *OpenRoom) uploaded(names map[string]string) {
	o.Upload = nil
	if name := names["model"]; name != "" {
		o.job.Set("model", name)
		const base = "peft.base_model_name_or_path" // keeps the name that the person has chosen
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
func (o *OpenRoom) refused(f message.Refusal) {
	o.Working, o.Upload = false, nil
	o.Problem = o.page.Room.explain(f)
}
