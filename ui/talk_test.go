package ui

import (
	"encoding/json"
	"strings"
	"testing"

	"llamatab/engine/message"
)

// chatting is a page that shows Try with the adapter of a run whose model has a chat template.
func chatting(t *testing.T) (*Page, *fakeBrowser) {
	t.Helper()
	b := &fakeBrowser{texts: map[string]string{}}
	p := NewPage(b)
	p.Run.begin(runMeta{ID: "a", Name: "Chats", Config: json.RawMessage(`{"dataset":{"path":"chats.jsonl","template":"chatml"}}`),
		Inputs: map[string]source{"model": {From: "server"}, "dataset": {From: "kept", Key: "d"}}})
	p.Run.Stage, p.Run.files["adapter/adapter_config.json"] = Done, 1
	p.goTo(screenTry)
	answerTemplate(p, `{"name":"chatml","own":true}`)
	if !p.Try.Chats() {
		t.Fatal("Try shows no conversation")
	}
	return p, b
}

// answerTemplate has the side engine answer its oldest question, which is for a chat template.
func answerTemplate(p *Page, answer string) {
	p.receiveAnswer(message.Envelope{Type: "result", Result: json.RawMessage(answer)})
	p.receiveAnswer(message.Envelope{Type: "done", Done: &message.Done{}})
}

// writes has the chat engine answer what it was asked.
func writes(p *Page, finish string, pieces ...string) {
	for _, text := range pieces {
		p.Try.Talk.receive(now, message.Envelope{Token: &message.Token{Text: text}})
	}
	p.Try.Talk.receive(now, message.Envelope{Reply: &message.Reply{Text: strings.Join(pieces, ""), Finish: finish}})
}

func fails(p *Page, code string) {
	p.Try.Talk.receive(now, message.Envelope{Reply: &message.Reply{Failed: &message.Failed{Code: code, Message: "why"}}})
}

func loaded(p *Page) {
	p.Try.Talk.receive(now, message.Envelope{Progress: &message.Progress{Phase: "ready"}})
}

func send(p *Page, b *fakeBrowser, text string) {
	b.texts[messageBox] = text
	p.Try.Talk.Send(nil)
}

// Both models answer each message in turn, each with its own answers in its history. The models are loaded once, and their
// texts are streamed.
func TestTalk(t *testing.T) {
	p, b := chatting(t)
	talk := p.Try.Talk
	b.texts[systemBox] = "Be brief."
	send(p, b, " Hello\n")
	if b.count("StartChat") != 1 || len(b.asks) != 0 || !talk.Busy() || b.texts[messageBox] != "" {
		t.Fatalf("before the engine is ready: %v", b.calls)
	}
	if j := b.jobs[len(b.jobs)-1]; j.Command != message.Chat || *j.Chat != (message.ChatJob{Template: "chatml", Context: chatContext, Base: true}) || len(j.Mounts) != 2 {
		t.Errorf("the job is %+v, %+v", j, j.Chat)
	}
	loaded(p)
	if len(b.asks) != 1 || !b.asks[0].Base {
		t.Fatalf("asked %+v", b.asks)
	}
	talk.receive(now, message.Envelope{Token: &message.Token{Text: "Good"}})
	if e := talk.last(); e.Before.Text != "Good" || !e.Before.Working || e.After.Text != "" || talk.Announcement != "" {
		t.Errorf("in the middle of an answer: %+v", e)
	}
	writes(p, "stop", " day")
	writes(p, "length", "Arr", "!")
	if e := talk.last(); e.Before.Text != " day" || e.After.Text != "Arr!" || talk.Busy() || talk.Announcement != "Before:  day After: Arr!" {
		t.Errorf("after both answers: %+v, announced %q", e, talk.Announcement)
	}
	send(p, b, "And then?")
	writes(p, "stop", "b2")
	writes(p, "stop", "a2")
	if len(b.asks) != 4 || b.count("StartChat") != 1 {
		t.Fatalf("asked %d times, started %d engines", len(b.asks), b.count("StartChat"))
	}
	for i, own := range []string{" day", "Arr!"} {
		want := `{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello"},{"role":"assistant","content":"` + own + `"},{"role":"user","content":"And then?"}]}`
		if a := b.asks[2+i]; string(a.Conversation) != want || a.Base != (i == 0) || a.Number != 3+i {
			t.Errorf("question %d: %+v, %s", 2+i, a, a.Conversation)
		}
	}
	if s := b.asks[3].Sampling; s.MaxNewTokens != 200 || s.Temperature != 0.7 || s.TopP != 0.9 || s.Seed != 1 {
		t.Errorf("sampling %+v", s)
	}
	talk.Again(nil)
	writes(p, "stop", "b3")
	if a := b.asks[4]; string(a.Conversation) != string(b.asks[2].Conversation) || a.Sampling.Seed != 2 || talk.Seed != "2" {
		t.Errorf("again: %+v, %s", a, a.Conversation)
	}
	writes(p, "stop", "a3")
	talk.Copy(nil)
	if want := "Copy System prompt:\nBe brief.\n\nYou:\nHello\n\nBefore:\n day\n\nAfter:\nArr!\n\nYou:\nAnd then?\n\nBefore:\nb3\n\nAfter:\na3\n\n"; b.count(want) != 1 {
		t.Errorf("copied %q", b.calls[len(b.calls)-1])
	}
	talk.Clear(nil)
	send(p, b, "New")
	if got := string(b.asks[6].Conversation); !strings.HasSuffix(got, `"Be brief."},{"role":"user","content":"New"}]}`) || b.count("StartChat") != 1 {
		t.Errorf("a new conversation asks %s", got)
	}
}

// Without the comparison only the trained model is asked. Wanting it later loads the models again; a model that has not answered
// a message has no history of it.
func TestTalkWithoutComparison(t *testing.T) {
	p, b := chatting(t)
	talk := p.Try.Talk
	talk.Compare = false
	send(p, b, "Hello")
	loaded(p)
	writes(p, "stop", "Arr")
	if len(b.asks) != 1 || b.asks[0].Base || b.jobs[len(b.jobs)-1].Chat.Base || talk.Shown(0, before) {
		t.Errorf("asked %+v", b.asks)
	}
	talk.Compare = true
	send(p, b, "More")
	if b.count("StartChat") != 2 || b.count("EndEngine chat") != 1 {
		t.Errorf("the browser was asked for %v", b.calls)
	}
	loaded(p)
	if got := string(b.asks[1].Conversation); got != `{"messages":[{"role":"user","content":"More"}]}` || !b.asks[1].Base {
		t.Errorf("the base model is asked %s", got)
	}
}

// An answer can be stopped; what was written of it stays. A message that nobody has answered goes back to the person.
func TestTalkStops(t *testing.T) {
	p, b := chatting(t)
	talk := p.Try.Talk
	send(p, b, "Hello")
	talk.Stop(nil) // while the models load
	if talk.Busy() || len(talk.Turns) != 0 || b.count("RestoreText talk-message Hello") != 1 || b.count("EndEngine chat") != 1 {
		t.Errorf("given up: %+v, %v", talk.Turns, b.calls)
	}
	send(p, b, "Hello")
	loaded(p)
	talk.Stop(nil)
	if b.count("ControlEngine chat cancel 1") != 1 || !talk.Busy() {
		t.Errorf("stopped: %v", b.calls)
	}
	writes(p, "cancelled", "Go")
	if e := talk.last(); talk.Busy() || e.Before.Text != "Go" || e.After.Working || len(b.asks) != 1 {
		t.Errorf("stopped: %+v", e)
	}
	send(p, b, "Next")
	fails(p, "context_full")
	writes(p, "stop", "Arr")
	if talk.Problem == "" || len(talk.Turns) != 2 || talk.last().After.Text != "Arr" {
		t.Errorf("one model has no room: %q, %+v", talk.Problem, talk.Turns)
	}
	send(p, b, "Last")
	if got := string(b.asks[len(b.asks)-1].Conversation); got != `{"messages":[{"role":"user","content":"Hello"},{"role":"assistant","content":"Go"},{"role":"user","content":"Last"}]}` {
		t.Errorf("the model that had no answer is asked %s", got)
	}
	fails(p, "turns_refused")
	fails(p, "turns_refused")
	if want := talk.T("failed.turns_refused"); len(talk.Turns) != 2 || !strings.HasPrefix(string(talk.Problem), string(want)) || b.count("RestoreText talk-message Last") != 1 {
		t.Errorf("refused: %q, %+v", talk.Problem, talk.Turns)
	}
	// A dead engine is started again with the next message.
	send(p, b, "Again")
	talk.receive(now, message.Envelope{Failed: &message.Failed{Code: "does_not_fit", Message: "too much"}})
	if talk.Busy() || !strings.Contains(string(talk.Problem), string(talk.T("talk.less"))) || b.count("EndEngine chat") != 2 {
		t.Errorf("no memory: %q, %v", talk.Problem, b.calls)
	}
	started := b.count("StartChat")
	send(p, b, "Again")
	if b.count("StartChat") != started+1 {
		t.Error("the engine is not started again")
	}
	talk.TopP = "2"
	loaded(p)
	talk.Stop(nil)
	writes(p, "cancelled")
	send(p, b, "Again")
	if talk.Problem != talk.T("talk.bad") || !talk.More || len(b.asks) != 7 {
		t.Errorf("wrong settings: %q, asked %d times", talk.Problem, len(b.asks))
	}
}

// A model without a chat template holds conversations only where the run was trained on some: the page knows that from the
// preview of the data, or has the engine look at the data. Otherwise Try continues a text, as it does where the person wants that.
func TestTalkOnlyWithTemplate(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		known   *bool
		answers []string
		chats   bool
	}{
		{nil, []string{`{"name":"default","own":true}`}, true},
		{nil, []string{`{"name":"plain","own":false}`, `{"name":"plain","own":false,"trained":true}`}, true},
		{nil, []string{`{"name":"plain","own":false}`, `{"name":"plain","own":false,"trained":false}`}, false},
		{&yes, []string{`{"name":"plain","own":false}`}, true},
		{&no, []string{`{"name":"plain","own":false}`}, false},
	} {
		b := &fakeBrowser{texts: map[string]string{}}
		p := NewPage(b)
		p.Run.begin(runMeta{ID: "a", Config: json.RawMessage(`{"dataset":{"path":"x"}}`), Conversations: c.known, Inputs: map[string]source{"model": {From: "server"}, "dataset": {From: "server"}}})
		p.Run.Stage, p.Run.files["model/config.json"] = Done, 1
		p.goTo(screenTry)
		for i, a := range c.answers {
			if j := b.jobs[i]; j.Command != message.Template || (j.Mounts["dataset"] == "" && len(j.Mounts) != 1+i) {
				t.Errorf("question %d is %+v", i, j)
			}
			answerTemplate(p, a)
		}
		if p.Try.Chats() != c.chats || len(p.questions) != 0 || len(b.jobs) != len(c.answers) {
			t.Errorf("%v: a conversation is %t, %d questions", c.answers, p.Try.Chats(), len(b.jobs))
		}
		if !c.chats {
			continue
		}
		send(p, b, "Hi")
		if j := b.jobs[len(b.jobs)-1]; len(j.Mounts) != 2 || j.Chat == nil || !j.Chat.Base { // the trained model, and the one before
			t.Errorf("%+v", j)
		}
		p.Try.Talk.Stop(nil)
		p.Try.ShowAs(true)
		if p.Try.Chats() || !p.Try.CanChat() {
			t.Error("the person cannot have a text continued")
		}
	}
}

// Another run's conversation, prompt and answers are not shown for a run that is opened, and a run that starts ends the engine.
func TestTalkIsOfOneRun(t *testing.T) {
	p, b := chatting(t)
	send(p, b, "Hello")
	loaded(p)
	writes(p, "stop", "Good day")
	kept := keptRun{ID: "b", Meta: runMeta{ID: "b", Name: "Other", tryout: tryout{Prompts: []string{"One day"}}}, Files: []string{"adapter"}}
	p.Home.Open(kept, screenTry)
	p.receiveRecord(now, recordMessage{ID: "b", Files: []file{{Path: "adapter/adapter_config.json", Size: 1}}})
	if talk := p.Try.Talk; len(talk.Turns) != 0 || talk.Busy() || talk.engine.running || p.Try.Template != nil || p.Try.prompt != "One day" || b.count("EndEngine chat") != 1 {
		t.Errorf("of the run before: %+v, prompt %q", talk.Turns, p.Try.prompt)
	}
	answerTemplate(p, `{"name":"x","own":true}`)
	if !p.Try.Chats() {
		t.Error("the kept run's template was not asked for")
	}
	p.Run.begin(runMeta{})
	p.Run.Stage = Idle
	p.Home.Runs = []keptRun{kept, {ID: "c"}}
	if runs := p.Try.Kept(); len(runs) != 1 || runs[0].ID != "b" {
		t.Errorf("without a run, Try offers %+v", runs)
	}
}
