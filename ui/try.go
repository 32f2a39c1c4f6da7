package ui

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Try is the screen where the model before training and the model after it answer the same prompt with the same random numbers.
type Try struct {
	*Words
	Before, After     reply
	Tokens            string // at most, as typed
	Temperature, Seed string
	Problem, Detail   Text                  // what went wrong, and the engine's English message
	Template          *message.ChatTemplate // by which conversations are put to the result; nil before the engine has answered
	AsText            bool                  // the person wants a text to go on, not a conversation
	Talk              *Talk

	shown  string // the run that prompt, temperature and Template are of
	prompt string // kept while another screen is shown
	page   *Page
}

// reply is the answer of one of the two models.
type reply struct {
	Text    string
	Scores  []message.Score // of a classifier, the most likely class first
	Working bool
	Finish  string // how an answer of a conversation ended, "" before
	tokens  int
	began   time.Time
	seconds float64
}

// add adds a piece of text, as the model writes it.
func (r *reply) add(now time.Time, text string) {
	if r.began.IsZero() {
		r.began = now
	}
	r.Text += text
	r.tokens++
	r.seconds = now.Sub(r.began).Seconds()
}

// Silent reports whether there is no answer.
func (r *reply) Silent() bool { return r.Text == "" && len(r.Scores) == 0 }

// topP is the threshold of nucleus sampling. Without one, the many unlikely tokens of a small model would spoil its texts.
const topP = 0.9

func newTry(p *Page) *Try {
	return &Try{Words: p.Words, page: p, Tokens: "60", Temperature: defaultTemperature, Seed: "1", Talk: newTalk(p)}
}

const defaultTemperature = "0.7"

// forget clears the replies and the conversation, as of a run that has begun, has ended or was opened.
func (t *Try) forget() {
	t.Before, t.After, t.Problem, t.Detail = reply{}, reply{}, "", ""
	t.Template, t.AsText, t.shown = nil, false, ""
	t.Talk.forget()
	if t.page.Screen == screenTry {
		t.enter()
	}
}

// enter sets the first prompt and the temperature of the run when the screen shows another run, and asks for its chat template.
func (t *Try) enter() {
	r := t.page.Run
	if t.shown == r.ID || r.ID == "" {
		return
	}
	t.shown, t.prompt, t.Temperature = r.ID, "", defaultTemperature
	if len(r.Meta.Prompts) > 0 {
		t.prompt = r.Meta.Prompts[0]
	}
	if v := r.Meta.Temperature; v != nil {
		t.Temperature = strconv.FormatFloat(*v, 'g', -1, 64)
	}
	t.Talk.Temperature = t.Temperature
	if r.HasResult() && !r.Classifies() {
		t.askTemplate(false)
	}
}

// askTemplate asks the engine for the run's chat template. A model without one holds conversations only where it was trained on
// some. Where the page does not know that, withData has the engine look at the run's data.
func (t *Try) askTemplate(withData bool) {
	r := t.page.Run
	dataset, _ := must(parseTree(r.Meta.Config))["dataset"].(map[string]any)
	config := Tree{"model": "", "dataset": dataset, "trainable": []any{message.PartAll}}
	sources := map[string]source{"model": r.Meta.Inputs["model"]}
	if r.resultFolder() == "model" {
		sources["model"] = r.resultSource()
	}
	if withData {
		sources["dataset"] = r.Meta.Inputs["dataset"]
	}
	job := message.Job{Command: message.Template, Config: config.JSON(), Mounts: map[string]string{}, Chat: &message.ChatJob{Template: r.template()}}
	for name := range sources {
		job.Mounts[name] = ""
	}
	id := r.ID
	t.page.ask(job, sources, func(e message.Envelope) {
		if e.Result == nil || id != t.shown {
			return
		}
		var answer message.ChatTemplate
		if json.Unmarshal(e.Result, &answer) != nil {
			return
		}
		if known := r.Meta.Conversations; known != nil {
			answer.Trained = *known
		} else if !answer.Own && !withData {
			t.askTemplate(true)
		}
		t.Template = &answer
		t.AsText = t.AsText || t.Busy() || !t.Before.Silent() || !t.After.Silent() // what is under way stays in view
		t.Talk.fillElements()
	})
}

// CanChat reports whether the result can hold a conversation: its model has a chat template, or it was trained on conversations.
func (t *Try) CanChat() bool {
	return t.Template != nil && (t.Template.Own || t.Template.Trained) && t.page.Run.HasResult() && !t.Labels()
}

// Chats reports whether the screen shows a conversation.
func (t *Try) Chats() bool { return t.CanChat() && !t.AsText }

// ShowAs chooses between a conversation and a text that goes on. The models of the conversation are given up: the other way loads
// its own.
func (t *Try) ShowAs(text bool) {
	if text {
		t.Talk.leave()
		t.Talk.end()
	} else {
		t.prompt = t.page.browser.ValueOf("prompt")
	}
	t.AsText = text
	t.fillElements()
}

func (t *Try) fillElements() {
	t.page.browser.SetText("prompt", t.prompt)
	t.page.browser.SetText("before", t.Before.Text)
	t.page.browser.SetText("after", t.After.Text)
	t.Talk.fillElements()
}

// Kept are the kept runs that have a result to try, where none is open.
func (t *Try) Kept() (runs []keptRun) {
	if r := t.page.Run; r.Stage.Active() || r.HasResult() {
		return nil
	}
	for _, r := range t.page.Home.Runs {
		if t.page.Home.HasResult(r) && !t.page.Home.Live(r) {
			runs = append(runs, r)
		}
	}
	return runs
}

// Prompts are the example prompts of the run.
func (t *Try) Prompts() []string { return t.page.Run.Meta.Prompts }

// Use fills in one of them.
func (t *Try) Use(prompt string) {
	t.prompt = prompt
	t.page.browser.SetText("prompt", prompt)
}

// Open opens a kept run to try its result.
func (t *Try) Open(r keptRun) { t.page.Home.Open(r, screenTry) }

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
	model := map[string]source{"model": run.baseSource()}
	after := map[string]source{"model": run.Meta.Inputs["model"]}
	folder := run.resultFolder()
	after[folder] = run.resultSource() // an adapter for the base model, or a model in its place
	if folder == "model" && run.baseSource().From == "" {
		model = nil // trained from random weights: there is no model before training
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
		switch {
		case e.Token != nil:
			text := wholeText(e.Token.Text)
			r.add(time.Now(), text)
			t.page.browser.AppendText(id, text)
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

// wholeText leaves out what stands for bytes that are not UTF-8, which a model may write.
func wholeText(text string) string { return strings.ReplaceAll(text, string(utf8.RuneError), "") }

// Speed says how fast a reply was generated.
func (t *Try) Speed(r *reply) Text {
	if text := t.speed(r); text != "" || !r.Working {
		return text
	}
	return t.T("try.working")
}

// speed says how many tokens a reply has, and how fast they came.
func (w *Words) speed(r *reply) Text {
	switch {
	case r.tokens > 1 && r.seconds < 0.1: // too short to measure a speed
		return w.T("try.tokens.n", "n", r.tokens)
	case r.tokens > 1:
		return w.T("try.speed", "n", r.tokens, "speed", number(float64(r.tokens-1)/r.seconds))
	}
	return ""
}
