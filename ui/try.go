package ui

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Try is the screen where the model before training and the model after it answer the same prompt with the same random numbers.
type Try struct {
	*Words
	Before, After     reply
	Tokens            string // at most, as typed
	Temperature, Seed string
	temperatureRun    string // the run that Temperature was set for
	Problem, Detail   Text   // what went wrong, and the engine's English message

	prompt string // kept while another screen is shown
	page   *Page
}

// reply is the answer of one of the two models.
type reply struct {
	Text    string
	Scores  []message.Score // of a classifier, the most likely class first
	Working bool
	tokens  int
	began   time.Time
	seconds float64
}

// Silent reports whether there is no answer.
func (r *reply) Silent() bool { return r.Text == "" && len(r.Scores) == 0 }

// topP is the threshold of nucleus sampling. Without one, the many unlikely tokens of a small model would spoil its texts.
const topP = 0.9

func newTry(p *Page) *Try {
	return &Try{Words: p.Words, page: p, Tokens: "60", Temperature: defaultTemperature, Seed: "1"}
}

const defaultTemperature = "0.7"

// forget clears the replies.
func (t *Try) forget() {
	t.Before, t.After, t.Problem, t.Detail = reply{}, reply{}, "", ""
}

// enter sets the first prompt and the temperature of the run when the screen is shown.
func (t *Try) enter() {
	meta := t.page.Run.Meta
	if t.prompt == "" && len(meta.Prompts) > 0 {
		t.prompt = meta.Prompts[0]
	}
	if t.temperatureRun != meta.ID {
		t.temperatureRun, t.Temperature = meta.ID, defaultTemperature
		if meta.Temperature != nil {
			t.Temperature = strconv.FormatFloat(*meta.Temperature, 'g', -1, 64)
		}
	}
}

func (t *Try) fillElements() {
	t.page.browser.SetText("prompt", t.prompt)
	t.page.browser.SetText("before", t.Before.Text)
	t.page.browser.SetText("after", t.After.Text)
}

// Prompts are the example prompts of the run.
func (t *Try) Prompts() []string { return t.page.Run.Meta.Prompts }

// Use fills in one of them.
func (t *Try) Use(prompt string) {
	t.prompt = prompt
	t.page.browser.SetText("prompt", prompt)
}

func (t *Try) Busy() bool { return t.Before.Working || t.After.Working }

// CanGo reports whether there is a result and no model is answering.
func (t *Try) CanGo() bool { return t.page.Run.HasResult() && !t.Busy() }

// AboutText names the run whose result is tried, or says what is missing.
func (t *Try) AboutText() Text {
	if r := t.page.Run; r.Stage.Active() {
		return t.T("try.later")
	} else if !r.HasResult() {
		return t.T("try.none")
	}
	return t.T(t.either("try.about", "try.about.label"), "name", t.page.Run.Meta.Name)
}

// Labels reports whether the result is a classifier.
func (t *Try) Labels() bool { return t.page.Run.Classifies() }

// PromptText and GoText are the texts of the input and of the button.
func (t *Try) PromptText() Text { return t.T(t.either("try.prompt", "try.prompt.label")) }
func (t *Try) GoText() Text     { return t.T(t.either("try.go", "try.go.label")) }

func (t *Try) either(continued, labelled string) string {
	if t.Labels() {
		return labelled
	}
	return continued
}

// LabelText is the name of a class, translated for the built-in data.
func (t *Try) LabelText(label string) Text {
	if key := "label." + label; t.Has(key) {
		return t.T(key)
	}
	return Text(label)
}

func (t *Try) ScoreText(s message.Score) Text { return percent(float64(s.Score)) }

// Go asks both models, one after the other.
func (t *Try) Go(event vugu.DOMEvent) {
	if event != nil {
		event.PreventDefault()
	}
	if !t.CanGo() {
		return
	}
	t.prompt = t.page.browser.ValueOf("prompt")
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
	if run.inMemory {
		result.From = "memory"
	}
	after[folder] = result // an adapter for the base model, or a model in its place
	if folder == "model" {
		if _, ok := model["model"]; !ok || model["model"].From == "" {
			model = nil // trained from random weights: there is no model before training
		}
	}
	job := message.Job{Command: message.Generate, Generate: &message.GenerateJob{
		Prompt: t.prompt, MaxNewTokens: tokens, Temperature: temperature, TopP: topP, Seed: seed,
	}}
	t.Before, t.After = reply{}, reply{}
	t.fillElements()
	if t.Labels() { // the trained model knows the classes
		t.generate(job, after, "after", &t.After, func() {
			if model != nil && len(t.After.Scores) > 0 {
				g := *job.Generate
				g.Labels, g.Seed = labels(t.After.Scores), run.seed()
				job.Generate = &g
				t.generate(job, model, "before", &t.Before, nil)
			}
		})
		return
	}
	if model != nil {
		t.generate(job, model, "before", &t.Before, nil)
	}
	t.generate(job, after, "after", &t.After, nil)
}

// labels are the names of the classes in the order of their numbers.
func labels(scores []message.Score) []string {
	names := make([]string, len(scores))
	for _, s := range scores {
		if s.Class < len(names) {
			names[s.Class] = s.Label
		}
	}
	return names
}

// seed is training.seed of the run.
func (r *Run) seed() uint64 {
	config, err := parseTree([]byte(r.Config))
	if err != nil {
		return 0
	}
	v, _ := config.Get("training.seed")
	n, _ := v.(float64)
	return uint64(n)
}

// generate asks one of the two models and shows its reply as it comes. At the end it calls then, where that is not nil.
func (t *Try) generate(job message.Job, sources map[string]source, id string, r *reply, then func()) {
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
			t.page.browser.AppendText(id, e.Token.Text)
		case e.Failed != nil:
			r.Working = false
			if e.Failed.Code != "superseded" {
				t.Problem, t.Detail = t.cause(e.Failed), Text(e.Failed.Message)
			}
		case e.Result != nil:
			var v message.Classification
			if json.Unmarshal(e.Result, &v) == nil {
				r.Scores = v.Scores
			}
		case e.Done != nil:
			if r.Working = false; then != nil {
				then()
			}
		}
	})
}

// Stop ends the generation.
func (t *Try) Stop(vugu.DOMEvent) { t.page.browser.ControlEngine(sideEngine, message.Stop) }

// Copy copies prompt and replies to the clipboard.
func (t *Try) Copy(vugu.DOMEvent) {
	t.page.browser.Copy(t.prompt+"\n\n"+t.say("try.before")+":\n"+t.replyText(&t.Before)+"\n\n"+t.say("try.after")+":\n"+t.replyText(&t.After)+"\n", false)
}

// replyText is a reply as text, with the scores of a classifier.
func (t *Try) replyText(r *reply) string {
	text := r.Text
	for _, s := range r.Scores {
		text += string(t.LabelText(s.Label)+" "+t.ScoreText(s)) + "\n"
	}
	return text
}

// Speed says how fast a reply was generated.
func (t *Try) Speed(r *reply) Text {
	switch {
	case r.tokens > 1 && r.seconds < 0.1: // too short to measure a speed
		return t.T("try.tokens.n", "n", r.tokens)
	case r.tokens > 1:
		return t.T("try.speed", "n", r.tokens, "speed", number(float64(r.tokens-1)/r.seconds))
	case r.Working:
		return t.T("try.working")
	}
	return ""
}
