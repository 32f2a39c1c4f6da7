package ui

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Talk is the conversation on the screen Try. The model before training and the model after it answer the same messages of the
// person, each with its own earlier answers in its history.
type Talk struct {
	*Words
	Turns []exchange
	// Compare: the model before training answers, too.
	Compare                         bool
	Tokens, Temperature, TopP, Seed string // as typed
	More                            bool   // system prompt and settings are shown
	Problem, Detail                 Text   // what went wrong, and the engine's English message
	Announcement                    Text   // for screen readers: the answers, once they are complete

	engine  chatEngine
	due     []side              // whose answers to the last message are still to be asked for
	wanted  message.GenerateJob // how they are sampled
	system  string              // the system prompt, kept while another screen is shown
	written string              // the message that is being written, kept likewise
	page    *Page
}

// exchange is a message of the person with the answers to it.
type exchange struct {
	Said          string
	Before, After reply
}

// side is one of the two models.
type side int

const (
	before side = iota
	after
)

// of is the answer of a model.
func (e *exchange) of(s side) *reply {
	if s == before {
		return &e.Before
	}
	return &e.After
}

const (
	chatContext = 2048 // tokens of a conversation at most: its keys and values take memory from the start
	systemBox   = "talk-system"
	messageBox  = "talk-message"
)

func newTalk(p *Page) *Talk {
	return &Talk{Words: p.Words, page: p, Compare: true, Tokens: "200", Temperature: defaultTemperature, TopP: strconv.FormatFloat(topP, 'g', -1, 64), Seed: "1"}
}

// forget ends the conversation and the engine, as for another run.
func (t *Talk) forget() {
	t.end()
	t.Turns, t.due, t.Problem, t.Detail, t.Announcement = nil, nil, "", "", ""
	t.system, t.written = "", ""
}

// leave keeps what the person has typed when the screen is left or written again.
func (t *Talk) leave() {
	if !t.page.Try.Chats() {
		return
	}
	t.system, t.written = t.page.browser.ValueOf(systemBox), t.page.browser.ValueOf(messageBox)
}

func (t *Talk) fillElements() {
	t.page.browser.SetText(systemBox, t.system)
	t.page.browser.SetText(messageBox, t.written)
}

// AnswerID is the id of an answer's element.
func (t *Talk) AnswerID(i int, s side) string {
	return [...]string{before: "before-", after: "after-"}[s] + strconv.Itoa(i)
}

// CanTalk reports whether there is a result to talk to.
func (t *Talk) CanTalk() bool { return t.page.Run.HasResult() }

// AboutText says what is compared, in which template.
func (t *Talk) AboutText() Text {
	name := ""
	if about := t.page.Try.Template; about != nil {
		name = about.Name
	}
	if !t.comparing() {
		return t.T("talk.about.one", "template", name)
	}
	return t.T("talk.about", "template", name)
}

// EmptyText says what to do where nothing is said yet.
func (t *Talk) EmptyText() Text {
	if !t.comparing() {
		return t.T("talk.empty.one")
	}
	return t.T("talk.empty")
}

// Busy reports whether an answer is being written or asked for.
func (t *Talk) Busy() bool { return t.engine.asked != 0 || len(t.due) > 0 }

// CanCompare reports whether there is a model before training.
func (t *Talk) CanCompare() bool { return t.page.Run.baseSource().From != "" }

// comparing reports whether both models answer.
func (t *Talk) comparing() bool { return t.Compare && t.CanCompare() }

// last is the newest exchange, nil before the first.
func (t *Talk) last() *exchange {
	if len(t.Turns) == 0 {
		return nil
	}
	return &t.Turns[len(t.Turns)-1]
}

// Send puts the message of the person to the models.
func (t *Talk) Send(event vugu.DOMEvent) {
	if event != nil {
		event.PreventDefault()
	}
	text := strings.TrimSpace(t.page.browser.ValueOf(messageBox))
	if t.Busy() || !t.CanTalk() || text == "" {
		return
	}
	s, ok := t.sampling()
	if !ok {
		return
	}
	t.page.browser.TakeText(messageBox)
	t.written = ""
	t.Turns = append(t.Turns, exchange{Said: text})
	t.begin(s)
}

// Again has the last message answered once more, with other random numbers.
func (t *Talk) Again(vugu.DOMEvent) {
	if t.Busy() || t.last() == nil {
		return
	}
	s, ok := t.sampling()
	if !ok {
		return
	}
	s.Seed++
	t.Seed = strconv.FormatUint(s.Seed, 10)
	t.begin(s)
}

// begin asks for the answers to the last message.
func (t *Talk) begin(s message.GenerateJob) {
	t.wanted = s
	e := t.last()
	e.Before, e.After = reply{}, reply{}
	t.Problem, t.Detail, t.Announcement = "", "", ""
	if t.due = []side{after}; t.comparing() {
		t.due = []side{before, after}
	}
	for _, model := range t.due {
		e.of(model).Working = true
	}
	t.system = t.page.browser.ValueOf(systemBox)
	t.start()
	t.next()
}

// Clear begins a new conversation. The models stay loaded.
func (t *Talk) Clear(vugu.DOMEvent) {
	if t.Busy() {
		return
	}
	t.Turns, t.Problem, t.Detail, t.Announcement = nil, "", "", ""
	t.page.browser.Focus(messageBox)
}

// Stop ends the answer that is being written. While the models are loading it gives up.
func (t *Talk) Stop(vugu.DOMEvent) {
	waiting := t.due
	t.due = nil
	for _, s := range waiting {
		t.last().of(s).Working = false
	}
	if t.engine.asked != 0 {
		t.page.browser.ControlEngine(chatEngineName, message.Cancel(t.engine.asked))
		return
	}
	t.end()
	t.takeBack()
}

// sampling reads the settings. It is false, and the problem is shown, where they are none.
func (t *Talk) sampling() (message.GenerateJob, bool) {
	tokens, err1 := strconv.Atoi(t.Tokens)
	temperature, err2 := strconv.ParseFloat(t.Temperature, 64)
	p, err3 := strconv.ParseFloat(t.TopP, 64)
	seed, err4 := strconv.ParseUint(t.Seed, 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || tokens < 1 || !(temperature >= 0) || !(p > 0 && p <= 1) {
		t.Problem, t.Detail, t.More = t.T("talk.bad"), "", true
		return message.GenerateJob{}, false
	}
	return message.GenerateJob{MaxNewTokens: tokens, Temperature: temperature, TopP: p, Seed: seed}, true
}

// turn is a message of a conversation.
type turn struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// conversation is what one of the models is asked: its history, with the messages that it has answered, and the last message.
func (t *Talk) conversation(s side) json.RawMessage {
	var turns []turn
	if system := strings.TrimSpace(t.system); system != "" {
		turns = append(turns, turn{"system", system})
	}
	for i, e := range t.Turns {
		if answer := e.of(s); i == len(t.Turns)-1 {
			turns = append(turns, turn{"user", e.Said})
		} else if answer.Text != "" { // without an answer it is as if nothing had been said: templates know no empty turn
			turns = append(turns, turn{"user", e.Said}, turn{"assistant", answer.Text})
		}
	}
	row, err := json.Marshal(map[string]any{"messages": turns})
	if err != nil {
		panic(err) // plain texts
	}
	return row
}

// takeBack takes the last message back into the input where no model has answered it.
func (t *Talk) takeBack() {
	if e := t.last(); e != nil && e.Before.Finish == "" && e.After.Finish == "" {
		t.written = e.Said
		t.page.browser.RestoreText(messageBox, e.Said)
		t.Turns = t.Turns[:len(t.Turns)-1]
	}
}

// Copy copies the conversation to the clipboard.
func (t *Talk) Copy(vugu.DOMEvent) {
	var b strings.Builder
	add := func(who, text string) { b.WriteString(who + ":\n" + text + "\n\n") }
	if t.system != "" {
		add(t.say("talk.system"), t.system)
	}
	for _, e := range t.Turns {
		add(t.say("talk.you"), e.Said)
		if e.Before.Finish != "" {
			add(t.say("try.before"), e.Before.Text)
		}
		if e.After.Finish != "" {
			add(t.say("try.after"), e.After.Text)
		}
	}
	t.page.browser.Copy(b.String(), false)
}
