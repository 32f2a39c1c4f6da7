// Package ui is the page: a person chooses a model and data, starts a run in the engine's worker, watches it and
// takes the result away. Each panel is a name.vugu (markup) with a name.go (view model: messages in, strings out).
// All but main_js.go is free of the browser and is tested without one.
package ui

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// statusEvery is the least time between two status sentences of one phase of a run: a screen reader reads each.
const statusEvery = 4 * time.Second

// Page is the whole page.
type Page struct {
	*Words
	Setup *Setup
	Run   *Run
	// Problem is why the last press of start was refused, or "".
	Problem Text

	host     host
	status   string    // the status sentence shown
	stage    Stage     // of that sentence
	phase    string    // of that sentence
	said     time.Time // when
	curve    int       // steps in the chart
	language string    // that the document has been told
}

// host is the browser, as far as the page needs it: page.js through main_js.go, or a stand-in under test.
type host interface {
	// Form reads the values of the controls by name.
	Form() map[string]string
	// Start gives a job to a new engine, with the chosen files at the positions given.
	Start(job message.Job, model, data []int)
	Control(c message.Control)
	// End ends the engine. What it said and is not yet received is dropped.
	End()
	// Put makes text the content of a file of the result, or adds it at its end.
	Put(path string, text []byte, add bool)
	// Download packs the result and hands it over, then says "packed".
	Download(name string)
	// Status shows the status sentence. Like the chart it is in an element without content that vugu leaves alone,
	// which it does only where an attribute is an expression: others it takes for constant and rewrites.
	Status(text string)
	// Chart shows the curve, or an empty chart; names are those of its axis and two lines.
	Chart(c *Curve, names [3]string)
	// Language tells the document its language, and keeps one that the person chose for the next visit.
	Language(tag string, chosen bool)
	Focus(id string)
}

// NewPage makes a page in the language of the tag.
func NewPage(h host, language string) *Page {
	words := NewWords(language)
	p := &Page{Words: words, host: h, Setup: &Setup{Words: words, Method: "lora"}}
	p.Run = &Run{Words: words, Stage: Idle, page: p}
	p.refresh(time.Now())
	return p
}

// incoming is one thing that page.js tells.
type incoming struct {
	Type      string             `json:"type"`
	Envelopes []message.Envelope `json:"envelopes"` // "envelopes": the engine's words
	Kind      string             `json:"kind"`      // "files": what was chosen, "model" or "dataset"
	Files     []file             `json:"files"`
	Path      string             `json:"path"` // "file", "removed": a file of the result
	Size      int64              `json:"size"`
	// "invalid": a value that the browser refuses, perhaps out of sight; nothing more to say
	Text string `json:"text"` // "crashed": the engine's last words; "packed": why not, or ""
}

// receive follows what page.js tells, a JSON array of incoming.
func (p *Page) receive(now time.Time, text []byte) {
	var items []incoming
	if err := json.Unmarshal(text, &items); err != nil {
		items = []incoming{{Type: "crashed", Text: "the engine's words cannot be read: " + err.Error()}}
	}
	added := map[string][]byte{} // to the files of the record
	for _, item := range items {
		switch item.Type {
		case "envelopes":
			for _, e := range item.Envelopes {
				p.record(e, added)
				p.Run.take(now, e)
			}
		case "crashed":
			p.Run.take(now, message.Envelope{Failed: &message.Failed{Code: "engine_crashed", Message: item.Text, Next: p.say("failed.reload")}})
		case "files":
			p.choose(item.Kind, item.Files)
		case "invalid":
			p.Setup.More = true
		case "file":
			p.Run.files[item.Path] = item.Size
		case "removed":
			delete(p.Run.files, item.Path)
		case "packed":
			p.Run.Packing = false
			if item.Text != "" {
				p.Run.take(now, message.Envelope{Event: &message.Event{Level: "error", Code: "packing_failed", Message: item.Text}})
			}
		}
	}
	for path, text := range added {
		p.put(path, text, true)
	}
	if p.Run.Stage == Done || p.Run.Stage == Failed || p.Run.Stage == Stopped {
		p.host.End()
	}
	p.refresh(now)
}

// record keeps what belongs beside the result, in the files that a headless run leaves too.
func (p *Page) record(e message.Envelope, added map[string][]byte) {
	line := func(path string, v any) {
		if text, err := json.Marshal(v); err == nil {
			added[path] = append(append(added[path], text...), '\n')
		}
	}
	switch {
	case e.Step != nil:
		line("metrics.jsonl", e.Step)
	case e.Event != nil:
		line("events.jsonl", e.Event)
	case e.Config != nil:
		p.put("run.json", e.Config, false)
	case e.Summary != nil:
		p.put("summary.json", e.Summary, false)
	}
}

func (p *Page) put(path string, text []byte, add bool) {
	if !add {
		p.Run.files[path] = 0
	}
	p.Run.files[path] += int64(len(text))
	p.host.Put(path, text, add)
}

func (p *Page) choose(kind string, files []file) {
	if p.Setup.Locked || len(files) == 0 { // nothing chosen in a dialog keeps what was
		return
	}
	p.Problem = ""
	if kind == "model" {
		p.Setup.Model = chooseModel(files)
	} else {
		p.Setup.Data = chooseData(files)
	}
}

// Start begins a run with what the form says.
func (p *Page) Start(event vugu.DOMEvent) {
	if event != nil {
		event.PreventDefault() // the form goes nowhere
	}
	p.start()
	p.refresh(time.Now())
}

func (p *Page) start() {
	if p.Run.Stage.Active() {
		return
	}
	switch {
	case !p.Setup.Model.Usable():
		p.Problem = p.T("model.first")
		p.host.Focus("model-input")
		return
	case !p.Setup.Data.Usable():
		p.Problem = p.T("data.first")
		p.host.Focus("data-input")
		return
	}
	form := p.host.Form()
	job, err := p.Setup.job(form)
	if err != nil {
		p.Problem = Text(err.Error())
		return
	}
	var config struct {
		Training struct {
			MaxSteps float64 `json:"max_steps"`
		} `json:"training"`
	}
	json.Unmarshal(job.Config, &config) // just made
	p.Problem = ""
	p.Run.begin(int(config.Training.MaxSteps))
	p.host.Start(job, p.Setup.Model.Files, p.Setup.Data.Files)
	p.host.Focus("run")
}

// Speak switches the language.
func (p *Page) Speak(vugu.DOMEvent) {
	p.chinese = !p.chinese
	p.Problem = ""
	p.said = time.Time{}
	p.curve = -1 // the chart has names in it
	p.refresh(time.Now())
}

// refresh brings what is around vugu up to date: status, chart, document.
func (p *Page) refresh(now time.Time) {
	r := p.Run
	p.Setup.Locked = r.Stage.Active()
	phase := fmt.Sprint(r.Still)
	if r.Waiting != nil {
		phase = r.Waiting.Phase
	}
	if text := r.Status(); text != p.status && (!r.Stage.Active() || r.Stage != p.stage || phase != p.phase || now.Sub(p.said) >= statusEvery) {
		p.status, p.stage, p.phase, p.said = text, r.Stage, phase, now
		p.host.Status(text)
	}
	if lang := p.Lang(); lang != p.language {
		p.host.Language(lang, p.language != "")
		p.language = lang
	}
	if r.Last.Step != p.curve {
		p.curve = r.Last.Step
		p.host.Chart(&r.Curve, [3]string{p.say("step"), p.say("loss"), p.say("smooth")})
	}
}
