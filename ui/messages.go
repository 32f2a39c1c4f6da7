package ui

import (
	"encoding/json"
	"fmt"
	"time"

	"llamatab/engine/message"
)

// The messages of the page's JavaScript (js/inbox.js), one type for each topic. room_messages.go has those of rooms.
type (
	envelopesMessage struct { // messages of an engine
		Engine    string             `json:"engine"`
		Envelopes []message.Envelope `json:"envelopes"`
	}
	filesMessage struct { // files that the person has chosen
		Kind    string `json:"kind"` // "model" or "dataset"
		Files   []file `json:"files"`
		Problem string `json:"problem"` // why they cannot be read, or ""
	}
	writtenMessage struct { // an engine has written a file of a result
		Engine   string `json:"engine"`
		Path     string `json:"path"`
		Size     int64  `json:"size"`
		InMemory bool   `json:"in_memory"` // the browser's storage had no space for it
	}
	removedMessage struct { // an engine has removed a file or folder of a result
		Engine string `json:"engine"`
		Path   string `json:"path"`
	}
	inputsMessage   map[string]source // where the files of the run that begins can be found again, by mount
	settingsMessage struct {          // a run.json
		Text   string `json:"text"`
		Newer  bool   `json:"-"` // a newer page has made the link
		Lesson bool   `json:"-"` // the link is for a lesson: the settings are fixed
	}
	addressMessage struct { // the page's address
		Fragment string `json:"fragment"`
		Origin   string `json:"origin"`
	}
	offersMessage struct { // what the server offers
		Models  []offer              `json:"models"`
		Data    []message.ServerFile `json:"data"`
		Ready   []readyRun           `json:"ready"`
		Recipes []recipe             `json:"recipes"`
	}
	runsMessage struct { // the runs that the browser keeps
		Runs  []keptRun `json:"runs"`
		Usage int64     `json:"usage"` // bytes
		Quota int64     `json:"quota"`
	}
	recordMessage struct { // the record of a kept run
		ID        string             `json:"id"`
		Envelopes []message.Envelope `json:"envelopes"`
		Files     []file             `json:"files"`
	}
	downloadMessage struct { // a download has ended
		Problem string `json:"problem"` // why it failed, or ""
	}
	problemMessage struct { // something failed in the browser
		Code string `json:"code"`
		Text string `json:"text"`
	}
)

// topics are the functions that handle the messages, by topic.
var topics = map[string]func(p *Page, now time.Time, content []byte) error{
	"address":        take(func(p *Page, _ time.Time, m addressMessage) { p.arrive(m) }),
	"download-ended": take(func(p *Page, _ time.Time, m downloadMessage) { p.Export.packed(m.Problem) }),
	"envelopes":      take((*Page).receiveEnvelopes),
	"file-removed":   take(func(p *Page, _ time.Time, m removedMessage) { p.fileRemoved(m) }),
	"file-written":   take(func(p *Page, _ time.Time, m writtenMessage) { p.fileWritten(m) }),
	"files-chosen":   take(func(p *Page, _ time.Time, m filesMessage) { p.Studio.choose(m.Kind, m.Files, m.Problem) }),
	"gpu":            take(func(p *Page, _ time.Time, m adapter) { p.GPU = m; p.Studio.changed() }),
	"hub":            take(func(p *Page, _ time.Time, m hubMessage) { p.Studio.Hub.receive(m) }),
	"hub-direct":     take(func(p *Page, _ time.Time, m directMessage) { p.Studio.Hub.receiveDirect(m) }),
	"hub-problem":    take(func(p *Page, _ time.Time, m hubProblem) { p.Studio.Hub.refused(m) }),
	"kept-runs": take(func(p *Page, _ time.Time, m runsMessage) {
		p.Home.Runs, p.Home.Usage, p.Home.Quota = m.Runs, m.Usage, m.Quota
	}),
	"offers": take(func(p *Page, _ time.Time, m offersMessage) { p.receiveOffers(m) }),
	"problem": take(func(p *Page, _ time.Time, m problemMessage) {
		p.Run.addEvent(message.Event{Level: "error", Code: m.Code, Message: m.Text})
	}),
	"run-inputs": take(func(p *Page, _ time.Time, m inputsMessage) { p.Run.Meta.Inputs = m }),
	"run-record": take((*Page).receiveRecord),
	"settings":   take(func(p *Page, _ time.Time, m settingsMessage) { p.Studio.takeSettings(m) }),

	"room-joined":     take(func(p *Page, _ time.Time, m message.Seat) { p.Room.takeSeat(m) }),
	"room-known":      take(func(p *Page, _ time.Time, m rememberedRoom) { p.Room.comeBack(m) }),
	"room-owned":      take(func(p *Page, _ time.Time, m ownedRoomMessage) { p.Room.offerReturn(m) }),
	"room-opened":     take(func(p *Page, _ time.Time, m message.RoomOpening) { p.Room.opened(m) }),
	"room-planned":    take(func(p *Page, _ time.Time, m []message.ShardPlan) { p.Room.Plan = m }),
	"room-refused":    take(func(p *Page, now time.Time, m refusedMessage) { p.Room.refused(now, m) }),
	"room-view":       take(func(p *Page, _ time.Time, m roomView) { p.Room.receiveView(m) }),
	"upload-progress": take(func(p *Page, _ time.Time, m uploadProgress) { p.OpenRoom.uploading(m) }),
	"uploaded":        take(func(p *Page, _ time.Time, m map[string]string) { p.OpenRoom.uploaded(m) }),
}

// take wraps the function of a topic: it decodes the content into the topic's type.
func take[T any](f func(*Page, time.Time, T)) func(*Page, time.Time, []byte) error {
	return func(p *Page, now time.Time, content []byte) error {
		var m T
		if err := json.Unmarshal(content, &m); err != nil {
			return err
		}
		f(p, now, m)
		return nil
	}
}

// receive handles the waiting messages, a JSON array. A message that cannot be decoded ends the run, as it may have been a step.
func (p *Page) receive(now time.Time, text []byte) {
	var messages []struct {
		Topic   string          `json:"topic"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(text, &messages); err != nil {
		p.unreadable(now, err)
	}
	for _, m := range messages {
		f, ok := topics[m.Topic]
		if !ok {
			p.unreadable(now, fmt.Errorf("there is no topic %q", m.Topic))
		} else if err := f(p, now, m.Content); err != nil {
			p.unreadable(now, err)
		}
	}
	p.Room.report()
	p.refresh(now)
}

func (p *Page) unreadable(now time.Time, err error) {
	p.Run.receive(now, message.Envelope{Failed: &message.Failed{Code: "engine_crashed", Message: "the engine's words cannot be read: " + err.Error()}})
}

func (p *Page) receiveEnvelopes(now time.Time, m envelopesMessage) {
	for _, e := range m.Envelopes {
		switch m.Engine {
		case sideEngine:
			p.receiveAnswer(e)
		case chatEngineName:
			p.Try.Talk.receive(now, e)
		default:
			p.Run.receive(now, e)
		}
	}
}

func (p *Page) receiveOffers(m offersMessage) {
	p.Home.Ready, p.Studio.Recipes = m.Ready, m.Recipes
	p.Studio.offer(m.Models, m.Data)
}
