package ui

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"llamatab/engine/message"
)

// desk is a host that writes down what the page asks for.
type desk struct {
	form     map[string]string
	asked    []string
	statuses []string
	files    map[string]string
	job      message.Job
}

func (d *desk) Form() map[string]string { return d.form }
func (d *desk) Start(job message.Job, model, data []int) {
	d.job = job
	d.ask("start", model, data)
}
func (d *desk) Control(c message.Control)       { d.ask(c) }
func (d *desk) End()                            { d.ask("end") }
func (d *desk) Download(name string)            { d.ask("download", name) }
func (d *desk) Status(text string)              { d.statuses = append(d.statuses, text) }
func (d *desk) Chart(c *Curve, names [3]string) { d.ask("chart", len(c.Step), names) }
func (d *desk) Language(tag string, chosen bool) {
	d.ask("language", tag, chosen)
}
func (d *desk) Focus(id string) { d.ask("focus", id) }
func (d *desk) Put(path string, text []byte, add bool) {
	if !add {
		d.files[path] = ""
	}
	d.files[path] += string(text)
}
func (d *desk) ask(what ...any) {
	d.asked = append(d.asked, strings.TrimSuffix(fmt.Sprintln(what...), "\n"))
}

// play is a page with a clock, that is told things.
type play struct {
	*testing.T
	*desk
	page *Page
	now  time.Time
}

func newPlay(t *testing.T) *play {
	d := &desk{form: form, files: map[string]string{}}
	p := &play{T: t, desk: d, page: NewPage(d, "en"), now: time.Now()}
	return p
}

func (p *play) tell(items ...any) {
	p.Helper()
	text, err := json.Marshal(items)
	if err != nil {
		p.Fatal(err)
	}
	p.page.receive(p.now, text)
}

func (p *play) say(envelopes ...message.Envelope) {
	p.Helper()
	p.tell(map[string]any{"type": "envelopes", "envelopes": envelopes})
}

func (p *play) choose() {
	p.tell(map[string]any{"type": "files", "kind": "model", "files": []file{{"m/config.json", 1}, {"m/a.safetensors", 9}, {"m/tokenizer.json", 1}}},
		map[string]any{"type": "files", "kind": "dataset", "files": []file{{"d.jsonl", 3}}})
}

// want checks the last status sentence and the stage.
func (p *play) want(stage Stage, status string) {
	p.Helper()
	if got := p.statuses[len(p.statuses)-1]; got != status || p.page.Run.Stage != stage {
		p.Errorf("%s, %q; want %s, %q", p.page.Run.Stage, got, stage, status)
	}
}

func (p *play) wantAsked(what ...string) {
	p.Helper()
	for _, w := range what {
		if !slices.Contains(p.asked, w) {
			p.Errorf("never asked for %q, but for %q", w, p.asked)
		}
	}
	p.asked = nil
}

func progress(phase string, done, total int64) message.Envelope {
	return message.Envelope{Progress: &message.Progress{Phase: phase, Done: done, Total: total, Unit: "bytes"}}
}

func step(n int, loss float64) message.Envelope {
	return message.Envelope{Step: &message.Step{Step: n, Loss: message.Float(loss), StepSeconds: 2, TokensPerSecond: 1234.5}}
}

func TestRun(t *testing.T) {
	p := newPlay(t)
	run := p.page.Run
	p.want(Idle, "Choose a model and data, then start.")
	p.page.Start(nil)
	p.wantAsked("focus model-input")
	p.choose()
	p.want(Idle, "Ready to start.")
	p.page.Start(nil)
	p.want(Loading, "Starting the engine")
	p.wantAsked("start [0 1 2] [0]", "focus run")
	if p.job.Command != message.Train || !p.page.Setup.Locked {
		t.Errorf("job %+v, locked %v", p.job, p.page.Setup.Locked)
	}

	// Loading: what, how much, how long. The page makes a forecast where the engine makes none.
	p.say(progress("load", 0, 8e6))
	p.want(Loading, "Loading the model · 0 B of 8 MB")
	p.now = p.now.Add(5 * time.Second)
	p.say(progress("load", 2e6, 8e6))
	p.want(Loading, "Loading the model · 2 MB of 8 MB · about 15 s left")
	if run.Bar() != "0.250" {
		t.Errorf("bar at %v", run.Bar())
	}
	p.say(progress("weave", 0, 0))
	p.want(Loading, "weave")
	if run.Bar() != nil {
		t.Errorf("bar at %v", run.Bar())
	}

	// Steps: numbers at once, a sentence every few seconds.
	p.say(message.Envelope{Config: json.RawMessage(`{"model":"files"}`)}, progress("train", 0, 50))
	p.say(step(1, 2.5))
	said := len(p.statuses)
	p.say(step(2, math.NaN()), message.Envelope{Event: &message.Event{Level: "warning", Code: "nonfinite_step_skipped", Step: 2, Message: "NaN."}})
	p.say(step(10, 1.25))
	if len(p.statuses) != said {
		t.Errorf("too many sentences: %q", p.statuses[said:])
	}
	got := []Text{run.StepText(), run.LossText(), run.SpeedText(), run.LeftText(), run.EventText(run.Latest[0]), run.LevelText(run.Latest[0])}
	want := []Text{"10 / 50", "1.2500", "1234", "1 min 20 s", "A step gave a loss or gradient that is not a number and was skipped. NaN. (step 2)", "Warning"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	p.now = p.now.Add(statusEvery)
	p.say(step(11, 1.2))
	p.want(Training, "Training: step 11 of 50, loss 1.2000.")

	run.Pause(nil)
	p.want(Paused, "Paused; the step under way is being finished.")
	p.say(step(12, 1.1), message.Envelope{Event: &message.Event{Level: "info", Code: "paused", Message: "paused"}})
	p.want(Paused, "Paused after step 12.")
	run.Pause(nil)
	run.Stop(nil)
	p.wantAsked("pause", "resume", "stop")
	p.say(progress("save", 0, 0))
	p.want(Stopping, "Saving")
	p.tell(map[string]any{"type": "file", "path": "adapter/adapter_config.json", "size": 100},
		map[string]any{"type": "file", "path": "checkpoint-1/x", "size": 100}, map[string]any{"type": "removed", "path": "checkpoint-1/x"})
	p.say(message.Envelope{Summary: json.RawMessage(`{}`)}, message.Envelope{Done: &message.Done{Stopped: true}})
	p.want(Stopped, "Stopped after step 12. What was trained is ready to download.")
	run.Download(nil)
	run.Download(nil)
	p.wantAsked("end", "download llamatab-m.zip")

	if lines := strings.Count(p.files["metrics.jsonl"], "\n"); lines != 5 || !strings.Contains(p.files["metrics.jsonl"], `"loss":"NaN"`) {
		t.Errorf("metrics.jsonl:\n%s", p.files["metrics.jsonl"])
	}
	if p.files["run.json"] != `{"model":"files"}` || p.files["summary.json"] != "{}" || strings.Count(p.files["events.jsonl"], "\n") != 2 {
		t.Errorf("the record: %q", p.files)
	}
	if len(run.files) != 5 || !run.HasResult() || p.page.Setup.Locked {
		t.Errorf("%d files, result %v, locked %v", len(run.files), run.HasResult(), p.page.Setup.Locked)
	}
	p.tell(map[string]any{"type": "packed", "text": "QuotaExceededError"})
	if run.Packing || run.Latest[0].Code != "packing_failed" {
		t.Errorf("packing %v, %+v", run.Packing, run.Latest[0])
	}

	// Another run starts afresh.
	p.page.Start(nil)
	if run.Stage != Loading || run.Last.Step != 0 || len(run.files) != 0 || len(run.Curve.Step) != 0 || len(run.Latest) != 0 {
		t.Errorf("not fresh: %+v", run)
	}
	run.Stop(nil)
	p.want(Stopped, "Stopped before the first step: there is nothing to save.")
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		item any
		want Text
	}{
		{map[string]any{"type": "envelopes", "envelopes": []message.Envelope{{Failed: &message.Failed{Code: "data", Message: "line 3"}}}}, "The data cannot be used."},
		{map[string]any{"type": "envelopes", "envelopes": []message.Envelope{{Failed: &message.Failed{Code: "new", Message: "?"}}}}, "The run failed."},
		{map[string]any{"type": "crashed", "text": "panic"}, "The engine crashed."},
		{"no object", "The engine crashed."},
	} {
		p := newPlay(t)
		p.choose()
		p.page.Start(nil)
		p.tell(c.item)
		p.want(Failed, "The run has not begun.")
		if got := p.page.Run.FailedText(); got != c.want || p.page.Run.Failure.Message == "" {
			t.Errorf("%v: %q, %+v", c.item, got, p.page.Run.Failure)
		}
		p.wantAsked("end")
	}
}

func TestSpeak(t *testing.T) {
	p := newPlay(t)
	p.wantAsked("language en false")
	p.page.Speak(nil)
	p.want(Idle, "选择模型和数据，然后开始。")
	p.wantAsked("language zh true", "chart 0 [步 损失 平滑]")
}

// A long run's events do not fill the page.
func TestEventsKept(t *testing.T) {
	p := newPlay(t)
	p.choose()
	p.page.Start(nil)
	for i := range 200 {
		p.say(message.Envelope{Event: &message.Event{Level: "info", Message: fmt.Sprint(i)}})
	}
	if r := p.page.Run; len(r.Latest) != eventsKept || r.Latest[0].Message != "199" || strings.Count(p.files["events.jsonl"], "\n") != 200 {
		t.Errorf("%d events, first %+v", len(r.Latest), r.Latest[0])
	}
}
