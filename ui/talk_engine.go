package ui

import (
	"time"

	"llamatab/engine/message"
)

// chatEngineName is the engine that answers conversations.
const chatEngineName = "chat"

// chatEngine is the engine of a conversation as far as the page knows. It keeps the models loaded between the answers.
type chatEngine struct {
	running, ready bool
	base           bool              // it answers for the model before training, too
	waiting        *message.Progress // what it does before it is ready
	asked          int               // the number of the message that is being answered, 0 for none
	answers        side              // who answers it
	count          int               // messages that it was asked
}

// start starts the engine where it does not run, or runs without the model before training and that one is wanted.
func (t *Talk) start() {
	if e := &t.engine; e.running && (e.base || !t.comparing()) {
		return
	}
	t.end()
	r := t.page.Run
	sources := map[string]source{"model": r.Meta.Inputs["model"]}
	folder := r.resultFolder()
	sources[folder] = r.resultSource() // an adapter for the base model, or a model in its place
	if folder == "model" && t.comparing() {
		sources["base"] = r.baseSource()
	}
	job := message.Job{Command: message.Chat, Mounts: map[string]string{}, MemoryBudget: t.page.Studio.limit(),
		Chat: &message.ChatJob{Template: r.template(), Context: chatContext, Base: t.comparing()}}
	for name := range sources {
		job.Mounts[name] = ""
	}
	t.engine = chatEngine{running: true, base: t.comparing()}
	t.page.browser.StartChat(job, sources)
}

// end ends the engine.
func (t *Talk) end() {
	if t.engine.running {
		t.page.browser.EndEngine(chatEngineName)
	}
	t.engine = chatEngine{}
}

// next asks for the next answer that is due.
func (t *Talk) next() {
	e := &t.engine
	if !e.ready || e.asked != 0 || len(t.due) == 0 {
		return
	}
	e.count++
	e.asked, e.answers, t.due = e.count, t.due[0], t.due[1:]
	t.page.browser.AskChat(message.Ask{Number: e.asked, Base: e.answers == before, Conversation: t.conversation(e.answers), Sampling: t.wanted})
}

// receive handles a message of the engine.
func (t *Talk) receive(now time.Time, m message.Envelope) {
	e := &t.engine
	if !e.running {
		return
	}
	switch {
	case m.Progress != nil && m.Progress.Phase == "ready":
		e.ready, e.waiting = true, nil
		t.next()
	case m.Progress != nil:
		e.waiting = m.Progress
	case m.Token != nil && e.asked != 0:
		t.last().of(e.answers).add(now, m.Token.Text)
	case m.Reply != nil && e.asked != 0:
		t.answered(m.Reply)
	case m.Failed != nil:
		t.failed(m.Failed)
		t.end()
	case m.Done != nil:
		t.end()
	}
}

// answered takes the end of an answer.
func (t *Talk) answered(m *message.Reply) {
	r := t.last().of(t.engine.answers)
	t.engine.asked, r.Working = 0, false
	if m.Failed != nil {
		t.Problem, t.Detail = t.causeAndAdvice(m.Failed), Text(m.Failed.Message)
	} else {
		r.Text, r.Finish = m.Text, m.Finish
	}
	if len(t.due) > 0 {
		t.next()
		return
	}
	t.announce()
	t.takeBack()
}

// failed takes the end of the engine by a failure.
func (t *Talk) failed(f *message.Failed) {
	t.Problem, t.Detail = t.causeAndAdvice(f), Text(f.Message)
	if f.Code == "does_not_fit" || f.Code == "out_of_memory" {
		t.Problem = t.cause(f)
		if t.engine.base {
			t.Problem += " " + t.T("talk.less")
		}
	}
	t.due = nil
	if e := t.last(); e != nil {
		e.Before.Working, e.After.Working = false, false
	}
	t.takeBack()
}

// announce tells screen readers the answers, once both are complete.
func (t *Talk) announce() {
	text := ""
	if e := t.last(); e.Before.Finish != "" {
		text = t.say("try.before") + ": " + e.Before.Text + " "
	}
	if e := t.last(); e.After.Finish != "" {
		text += t.say("try.after") + ": " + e.After.Text
	}
	t.Announcement = Text(text)
}

// StateText says beside an answer what it waits for, how fast it is written, or why it ended early.
func (t *Talk) StateText(i int, s side) Text {
	r := t.Turns[i].of(s)
	switch e := &t.engine; {
	case r.Finish == "length":
		return t.speed(r) + " · " + t.T("talk.cut")
	case r.Finish == "cancelled":
		return t.speed(r) + " · " + t.T("talk.stopped")
	case r.Finish != "" || r.tokens > 0:
		return t.speed(r)
	case !r.Working:
		return t.T("talk.none")
	case !e.ready && e.waiting != nil && e.waiting.Phase == "load" && e.waiting.Total > 0:
		return t.T("talk.loading", "done", Bytes(e.waiting.Done), "total", Bytes(e.waiting.Total))
	case !e.ready:
		return t.T("try.working")
	case e.asked != 0 && e.answers == s:
		return t.T("talk.reading")
	}
	return t.T("talk.waits")
}

// Shown reports whether an answer has a place: the model was asked.
func (t *Talk) Shown(i int, s side) bool {
	r := t.Turns[i].of(s)
	return s == after || r.Working || r.Finish != "" || r.Text != ""
}
