package ui

import (
	"strconv"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Try is the screen where the model before and the model after training answer the same prompt with the same dice.
type Try struct {
	*Words
	Before, After     reply
	Tokens            string // at most, as typed
	Temperature, Seed string
	Problem, Detail   Text // what went wrong, and the engine's own words about it

	prompt string // kept while the screen is away
	page   *Page
}

// reply is what one of the two has said.
type reply struct {
	Text    string
	Working bool
	tokens  int
	began   time.Time
	seconds float64
}

func newTry(p *Page) *Try {
	return &Try{Words: p.Words, page: p, Tokens: "60", Temperature: "0.7", Seed: "1"}
}

// forget clears the replies: they are of another run.
func (t *Try) forget() {
	t.Before, t.After, t.Problem, t.Detail = reply{}, reply{}, "", ""
}

// enter fills the prompt when the screen is shown for a run that brings some.
func (t *Try) enter() {
	if t.prompt == "" && len(t.Prompts()) > 0 {
		t.prompt = t.Prompts()[0]
	}
}

func (t *Try) islands() {
	t.page.host.Call("text", "prompt", t.prompt)
	t.page.host.Call("text", "before", t.Before.Text)
	t.page.host.Call("text", "after", t.After.Text)
}

// Prompts are those that the run brings along.
func (t *Try) Prompts() []string { return t.page.Run.Meta.Prompts }

// Use takes one of them.
func (t *Try) Use(prompt string) {
	t.prompt = prompt
	t.page.host.Call("text", "prompt", prompt)
}

func (t *Try) Busy() bool { return t.Before.Working || t.After.Working }

// CanGo reports whether there is a trained model and nothing else at work.
func (t *Try) CanGo() bool { return t.page.Run.HasResult() && !t.Busy() }

// AboutText says what is tried, or what is missing.
func (t *Try) AboutText() Text {
	if r := t.page.Run; r.Stage.Active() {
		return t.T("try.later")
	} else if !r.HasResult() {
		return t.T("try.none")
	}
	return t.T("try.about", "name", t.page.Run.Meta.Name)
}

// Go asks both for a continuation, one after the other.
func (t *Try) Go(event vugu.DOMEvent) {
	if event != nil {
		event.PreventDefault()
	}
	if !t.CanGo() {
		return
	}
	t.prompt = t.page.host.Value("prompt")
	tokens, err1 := strconv.Atoi(t.Tokens)
	temperature, err2 := strconv.ParseFloat(t.Temperature, 64)
	seed, err3 := strconv.ParseUint(t.Seed, 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || tokens < 1 || temperature < 0 {
		t.Problem, t.Detail = t.T("try.bad"), ""
		return
	}
	t.Problem, t.Detail = "", ""
	run := t.page.Run
	model := map[string]source{"model": run.Meta.Inputs["model"]}
	after := map[string]source{"model": model["model"]}
	folder := run.resultFolder()
	result := source{From: "run", Run: run.ID, Folder: folder}
	if run.loose {
		result.From = "memory"
	}
	after[folder] = result // an adapter on the base, or a model instead of it
	if folder == "model" {
		if _, ok := model["model"]; !ok || model["model"].From == "" {
			model = nil // trained from scratch: there is no before
		}
	}
	job := message.Job{Command: message.Generate, Generate: &message.GenerateJob{
		Prompt: t.prompt, MaxNewTokens: tokens, Temperature: temperature, TopP: 1, Seed: seed,
	}}
	t.Before, t.After = reply{}, reply{}
	t.islands()
	if model != nil {
		t.hear(job, model, "before", &t.Before)
	}
	t.hear(job, after, "after", &t.After)
}

// hear asks one of the two and shows its words as they come.
func (t *Try) hear(job message.Job, sources map[string]source, id string, r *reply) {
	job.Mounts = map[string]string{}
	for name := range sources {
		job.Mounts[name] = ""
	}
	r.Working = true
	t.page.ask(job, sources, func(e message.Envelope) {
		if r.began.IsZero() && e.Token != nil {
			r.began = time.Now()
		}
		switch {
		case e.Token != nil:
			r.Text += e.Token.Text
			r.tokens++
			r.seconds = time.Since(r.began).Seconds()
			t.page.host.Call("append", id, e.Token.Text)
		case e.Failed != nil:
			r.Working = false
			if e.Failed.Code != "superseded" {
				t.Problem, t.Detail = t.cause(e.Failed), Text(e.Failed.Message)
			}
		case e.Done != nil:
			r.Working = false
		}
	})
}

// Stop ends both.
func (t *Try) Stop(vugu.DOMEvent) { t.page.host.Call("control", sideEngine, string(message.Stop)) }

// Copy puts both on the clipboard.
func (t *Try) Copy(vugu.DOMEvent) {
	t.page.host.Call("copy", t.prompt+"\n\n"+t.say("try.before")+":\n"+t.Before.Text+"\n\n"+t.say("try.after")+":\n"+t.After.Text+"\n")
}

// Speed says how fast a reply came.
func (t *Try) Speed(r *reply) Text {
	switch {
	case r.tokens > 1 && r.seconds < 0.1: // all at once: nobody saw it
		return t.T("try.tokens.n", "n", r.tokens)
	case r.tokens > 1:
		return t.T("try.speed", "n", r.tokens, "speed", number(float64(r.tokens-1)/r.seconds))
	case r.Working:
		return t.T("try.working")
	}
	return ""
}
