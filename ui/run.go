package ui

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vugu/vugu"

	"llamatab/engine/message"
)

// Stage is where a run stands.
type Stage string

const (
	Idle     Stage = "idle"
	Loading  Stage = "loading" // until the first step is done
	Training Stage = "training"
	Paused   Stage = "paused"
	Stopping Stage = "stopping"
	Done     Stage = "done"
	Stopped  Stage = "stopped" // ended by the person, saved
	Failed   Stage = "failed"
	Cut      Stage = "cut" // of the past, cut off by a crash or a closed tab
)

// Active reports whether the engine is at work.
func (s Stage) Active() bool { return s == Loading || s == Training || s == Paused || s == Stopping }

// eventsKept is how many of the latest events the panel shows; events.jsonl has all.
const eventsKept = 50

// Run is the screen of a run: it grows by what the engine says, or is read from the record of a past one.
type Run struct {
	*Words
	ID      string // "" before the first
	Meta    runMeta
	Stage   Stage
	Total   int               // steps the run will take
	Waiting *message.Progress // what is being waited for, nil while steps are made
	Last    message.Step
	Eval    *message.Float // newest held-out loss
	Best    struct {       // lowest held-out loss
		Step int
		Loss float64
	}
	Before     *measures       // on the held-out rows before training, nil where nobody has looked
	Accuracy   *message.Float  // newest of a classifier, on the held-out rows
	Latest     []message.Event // newest first
	Samples    []sampled       // by step
	Failure    *message.Failed
	Units      []message.Unit // newest norms by block
	Blocks     bool           // they are shown
	Details    bool           // of the failure are shown
	Still      bool           // paused, and the last step is done
	Config     string         // run.json as the engine resolved it
	ShowConfig bool

	files map[string]int64 // the result: size by path
	loose bool             // the result found no room on disk and lies in memory
	since time.Time        // when the phase of Waiting began
	eta   float64          // seconds that remain of it, 0 unknown
	pace  float64          // seconds a step, smoothed
	at    int              // the sample that is shown, counted from the newest
	ready bool             // a run could be started

	page *Page
}

// measures are what an evaluation finds.
type measures struct{ Loss, Accuracy *message.Float }

// measuresOf reads the event of an evaluation before training.
func measuresOf(e message.Event) *measures {
	read := func(key string) *message.Float {
		var v message.Float
		if raw, err := json.Marshal(e.Data[key]); err != nil || e.Data[key] == nil || json.Unmarshal(raw, &v) != nil {
			return nil
		}
		return &v
	}
	return &measures{Loss: read("eval_loss"), Accuracy: read("eval_accuracy")}
}

// sampled are the samples of one step.
type sampled struct {
	Step  int
	Texts []message.Sample
}

// pendingRun is a kept run whose record has been asked for.
type pendingRun struct {
	run    keptRun
	resume bool
	rejoin func(last int) // begins the run's part in its room again, after the last step on record
}

// start begins a run.
func (p *Page) start(job message.Job, sources map[string]source, meta runMeta, step int) {
	for len(p.asked) > 0 { // the side engine's memory is wanted
		p.answered(message.Envelope{Failed: &message.Failed{Code: "superseded"}})
	}
	if step == 0 {
		p.host.Call("clear")
		p.Run.begin(meta)
	}
	p.Run.Stage = Loading
	if len(meta.Prompts) > 0 && job.Samples == nil {
		job.Samples = &message.SampleJob{Prompts: meta.Prompts, Every: max(1, meta.Steps/6), MaxNewTokens: 40}
	}
	p.Try.forget()
	p.host.Call("start", job, sources, meta, step)
	if meta.Room != nil {
		return // the room's screen says what is waited for
	}
	p.turn(screenRun)
	p.host.Call("focus", "run")
}

// begin forgets the last run.
func (r *Run) begin(meta runMeta) {
	*r = Run{Words: r.Words, page: r.page, ready: r.ready, ID: meta.ID, Meta: meta, Total: meta.Steps, files: map[string]int64{}}
}

// opened takes the record of a kept run, and goes on with it where that was asked for.
func (p *Page) opened(now time.Time, item incoming) {
	pending := p.pending
	if pending.run.ID != item.ID || p.Run.Stage.Active() {
		return
	}
	p.pending = pendingRun{}
	r := p.Run
	r.begin(pending.run.Meta)
	for _, e := range item.Envelopes {
		r.take(now, e)
	}
	r.Waiting = nil
	for _, f := range item.Files {
		r.files[f.Path] = f.Size
	}
	r.Stage = Cut
	if s := pending.run.State; s != nil {
		r.Stage = Stage(s.Stage)
		if r.Stage == Failed {
			r.Failure = &message.Failed{Code: s.Code, Message: s.Message, Next: s.Next}
		}
	}
	switch {
	case pending.rejoin != nil:
		pending.rejoin(r.Last.Step)
	case pending.resume:
		r.goOn(pending.run.Checkpoint)
	}
	p.Try.forget()
	p.islands()
}

// rejoin begins a run in a room, once the record of this seat from before a reload has been read: there may be none.
func (p *Page) rejoin(job message.Job, sources map[string]source, meta runMeta) {
	p.pending = pendingRun{run: keptRun{ID: meta.ID, Meta: meta}, rejoin: func(last int) { p.start(job, sources, meta, last) }}
	p.host.Call("open", meta.ID, math.MaxInt32)
}

// goOn continues the run from a checkpoint, or from its start where that is 0.
func (r *Run) goOn(checkpoint int, changes ...func(Tree)) {
	config, err := parseTree([]byte(r.Config))
	if err != nil || r.Config == "" {
		config, _ = parseTree(r.Meta.Config)
	}
	sources := map[string]source{}
	mounts := map[string]string{}
	for name, s := range r.Meta.Inputs {
		sources[name], mounts[name] = s, ""
	}
	config.Delete("training.resume_from_checkpoint")
	if checkpoint > 0 {
		name := "checkpoint-" + strconv.Itoa(checkpoint)
		sources["resume"], mounts["resume"] = source{From: "run", Run: r.ID, Folder: name}, ""
		config.Set("training.resume_from_checkpoint", name)
	}
	for _, change := range changes {
		change(config)
	}
	r.Failure, r.Latest = nil, nil
	if checkpoint == 0 {
		r.Last, r.Eval, r.Samples, r.Units = message.Step{}, nil, nil, nil
		r.page.host.Call("clear")
	}
	r.page.start(message.Job{Command: message.Train, Config: config.JSON(), Mounts: mounts}, sources, r.Meta, max(checkpoint, -1))
}

// take follows one message of the engine.
func (r *Run) take(now time.Time, e message.Envelope) {
	switch {
	case e.Progress != nil:
		r.progress(now, e.Progress)
	case e.Step != nil:
		r.step(e.Step)
	case e.Event != nil:
		r.note(*e.Event)
	case e.Sample != nil:
		if n := len(r.Samples); n == 0 || r.Samples[n-1].Step != e.Sample.Step {
			r.Samples = append(r.Samples, sampled{Step: e.Sample.Step})
		}
		last := &r.Samples[len(r.Samples)-1]
		last.Texts = append(last.Texts, *e.Sample)
	case e.Config != nil:
		if config, err := parseTree(e.Config); err == nil {
			r.Config = config.Indented()
		}
	case e.Failed != nil:
		r.Failure, r.Stage, r.Waiting = e.Failed, Failed, nil
		r.ended()
	case e.Done != nil:
		r.Stage, r.Waiting = Done, nil
		if e.Done.Stopped {
			r.Stage = Stopped
		}
		r.ended()
	}
}

func (r *Run) ended() {
	r.page.host.Call("end", runEngine)
	r.page.Try.forget()
}

func (r *Run) note(e message.Event) {
	if e.Code == "evaluated_on_start" {
		r.Before = measuresOf(e)
	}
	r.Still = e.Code == "paused" || r.Still && e.Code != "continued"
	r.Latest = append([]message.Event{e}, r.Latest[:min(len(r.Latest), eventsKept-1)]...)
}

func (r *Run) progress(now time.Time, p *message.Progress) {
	if p.Phase == "wait" && r.InRoom() { // the room's run is over: this tab keeps the result as well as any
		r.control(message.Save)
	}
	if p.Phase == "train" {
		if p.Total > 0 {
			r.Total = int(p.Total)
		}
		r.Waiting = nil
		if r.Stage == Loading {
			r.Stage = Training
		}
		return
	}
	if r.Waiting == nil || r.Waiting.Phase != p.Phase {
		r.since = now
	}
	r.Waiting, r.eta = p, p.ETASeconds
	// Where the engine makes no forecast, what is left takes as long as what is done took, after a second of it.
	if elapsed := now.Sub(r.since).Seconds(); r.eta == 0 && elapsed >= 1 && p.Done > 0 && p.Total > p.Done {
		r.eta = elapsed * float64(p.Total-p.Done) / float64(p.Done)
	}
}

func (r *Run) step(s *message.Step) {
	if s.Step <= r.Last.Step { // the run went back
		r.Samples = slices.DeleteFunc(r.Samples, func(old sampled) bool { return old.Step >= s.Step })
	}
	r.Last, r.Waiting = *s, nil
	if len(s.Units) > 0 {
		r.Units = s.Units
	}
	if s.EvalLoss != nil {
		r.Eval, r.Accuracy = s.EvalLoss, s.EvalAccuracy
		if l := float64(*s.EvalLoss); r.Best.Step == 0 || l < r.Best.Loss {
			r.Best.Step, r.Best.Loss = s.Step, l
		}
	}
	if r.pace == 0 {
		r.pace = s.StepSeconds
	}
	r.pace = 0.9*r.pace + 0.1*s.StepSeconds
	if r.Stage == Loading {
		r.Stage = Training
	}
}

// chartWords are the texts in the charts.
func (r *Run) chartWords() map[string]string {
	words := map[string]string{}
	for name, key := range map[string]string{"step": "step", "loss": "loss", "smooth": "smooth", "eval": "eval", "accuracy": "accuracy", "lr": "learning-rate",
		"norm": "norm", "speed": "speed", "memory": "memory", "ratio": "ratio", "table": "chart.table", "log": "chart.log", "clip": "chart.clip",
		"smoothing": "chart.smoothing", "window": "chart.window", "all": "chart.all", "latest": "chart.latest", "take": "chart.take"} {
		words[name] = r.say(key)
	}
	words["file"] = r.fileName() + "-loss"
	return words
}

// Pause pauses or resumes.
func (r *Run) Pause(vugu.DOMEvent) {
	switch r.Stage {
	case Training:
		r.Stage = Paused
		r.control(message.Pause)
	case Paused:
		r.Stage, r.Still = Training, false
		r.control(message.Resume)
	}
}

// Single takes one step and pauses.
func (r *Run) Single(vugu.DOMEvent) {
	if r.Stage == Training {
		r.control(message.Pause)
	}
	if r.Stage == Training || r.Stage == Paused {
		r.Stage = Paused
		r.control(message.Single)
	}
}

// Stop ends the run and keeps what it has trained.
func (r *Run) Stop(vugu.DOMEvent) {
	switch {
	case r.Stage == Loading: // nothing is trained yet: there is nothing to wait for
		r.Stage, r.Waiting = Stopped, nil
		r.ended()
		r.page.refresh(time.Now())
	case r.Stage.Active():
		r.Stage = Stopping
		r.control(message.Stop)
	}
}

func (r *Run) control(c message.Control) {
	r.page.host.Call("control", runEngine, string(c))
	r.page.refresh(time.Now())
}

// PauseText is what the pause button says.
func (r *Run) PauseText() Text {
	if r.Stage == Paused {
		return r.T("resume")
	}
	return r.T("pause")
}

// Title names the run.
func (r *Run) Title() Text {
	if r.ID == "" {
		return r.T("run")
	}
	return Text(r.Meta.Name)
}

// Status is one sentence about where the run stands.
func (r *Run) Status() string {
	if me := r.page.Room.me(); r.InRoom() && me != nil && me.State != "loading" && (r.Stage == Loading || r.Stage == Training && r.page.Room.Phase() == "paused") {
		return string(r.page.Room.StatusText())
	}
	switch r.Stage {
	case Loading:
		if r.Waiting == nil {
			return r.say("status.starting")
		}
	case Training:
		if r.Waiting == nil && r.Last.Step == 0 {
			return r.say("phase.train")
		} else if r.Waiting == nil {
			return r.say("status.training", "step", r.Last.Step, "total", r.Total, "loss", r.LossText())
		}
	case Paused:
		if r.Still {
			return r.say("status.paused", "step", r.Last.Step)
		}
		return r.say("status.pausing")
	case Stopping:
		if r.Waiting == nil {
			return r.say("status.stopping")
		}
	case Done:
		return r.say("status.done", "step", r.Last.Step, "loss", r.LossText())
	case Stopped:
		if r.Last.Step == 0 {
			return r.say("status.ended")
		}
		return r.say("status.stopped", "step", r.Last.Step)
	case Cut:
		return r.say("status.cut", "step", r.Last.Step)
	case Failed:
		if r.Last.Step == 0 {
			return r.say("status.unbegun")
		}
		return r.say("status.failed", "step", r.Last.Step)
	default:
		if r.ready {
			return r.say("status.ready")
		}
		return r.say("status.idle")
	}
	text := r.phaseText()
	if r.Waiting.Total > 0 {
		text += " · " + r.say("amount", "done", amount(r.Waiting.Done, r.Waiting.Unit), "total", amount(r.Waiting.Total, r.Waiting.Unit))
	}
	if r.eta > 0 {
		text += " · " + r.say("eta", "time", r.Duration(r.eta))
	}
	return text
}

func (r *Run) phaseText() string {
	text := r.Waiting.Phase
	if key := "phase." + text; r.Has(key) {
		text = r.say(key)
	}
	if r.Waiting.Detail != "" {
		text += " (" + r.Waiting.Detail + ")"
	}
	return text
}

// amount spells how much is done of what is waited for. Only bytes need their unit said.
func amount(n int64, unit string) string {
	if unit == "bytes" {
		return Bytes(n)
	}
	return strconv.FormatInt(n, 10)
}

// Bar is the progress bar's value between 0 and 1, nil where nobody knows.
func (r *Run) Bar() any {
	done, total := int64(r.Last.Step), int64(r.Total)
	switch {
	case r.Stage == Done:
		done, total = 1, 1
	case r.Waiting != nil:
		done, total = r.Waiting.Done, r.Waiting.Total
	case r.Stage == Loading:
		total = 0
	}
	if total <= 0 {
		return nil
	}
	return strconv.FormatFloat(min(float64(done)/float64(total), 1), 'f', 3, 64)
}

// dash stands for a number that is not known yet.
const dash = "–"

// StepText, LossText, EvalText, SpeedText, MemoryText and LeftText are the numbers of the run.
func (r *Run) StepText() Text {
	if r.Total == 0 {
		return dash
	}
	return r.T("step.of", "step", r.Last.Step, "total", r.Total)
}

func (r *Run) LossText() Text {
	if r.Last.Step == 0 {
		return dash
	}
	return r.lossText(float64(r.Last.Loss))
}

func (r *Run) EvalText() Text {
	if r.Eval == nil {
		return dash
	}
	return r.lossText(float64(*r.Eval))
}

// AccuracyText is how many of the held-out rows a classifier gets right.
func (r *Run) AccuracyText() Text {
	if r.Accuracy == nil {
		return dash
	}
	return percent(float64(*r.Accuracy))
}

func percent(share float64) Text { return Text(strconv.FormatFloat(100*share, 'f', 0, 64) + " %") }

// EvalBefore and AccuracyBefore tell what the numbers were before training.
func (r *Run) EvalBefore() Text {
	if r.Before == nil || r.Before.Loss == nil {
		return ""
	}
	return r.T("before", "value", r.lossText(float64(*r.Before.Loss)))
}

func (r *Run) AccuracyBefore() Text {
	if r.Before == nil || r.Before.Accuracy == nil {
		return ""
	}
	return r.T("before", "value", percent(float64(*r.Before.Accuracy)))
}

// Classifies reports whether the run teaches the model to tell classes of texts apart.
func (r *Run) Classifies() bool {
	if r.Accuracy != nil || r.Before != nil && r.Before.Accuracy != nil {
		return true
	}
	config, err := parseTree([]byte(r.Config))
	if err != nil {
		return false
	}
	task, _ := config.Get("peft.task_type")
	parts, _ := config["trainable"].([]any)
	return task == "SEQ_CLS" || slices.Contains(parts, any("score"))
}

func (r *Run) lossText(loss float64) Text {
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return r.T("status.nan")
	}
	return Text(strconv.FormatFloat(loss, 'f', 4, 64))
}

func (r *Run) SpeedText() Text {
	if r.Last.TokensPerSecond <= 0 {
		return dash
	}
	return Text(number(r.Last.TokensPerSecond))
}

func (r *Run) MemoryText() Text {
	if r.Last.GPUBytes == 0 {
		return dash
	}
	return Text(Bytes(r.Last.GPUBytes))
}

func (r *Run) LeftText() Text {
	if r.Last.Step == 0 || !r.Stage.Active() {
		return dash
	}
	return Text(r.Duration(float64(r.Total-r.Last.Step) * r.pace))
}

// LevelText names the level of an event.
func (r *Run) LevelText(e message.Event) Text {
	if key := "level." + e.Level; r.Has(key) {
		return r.T(key)
	}
	return r.T("level.info")
}

// EventText says what happened, in the person's language where the code is known.
func (r *Run) EventText(e message.Event) Text {
	text := r.told(e.Code, e.Message, e.Data)
	if e.Step > 0 {
		text += r.say("event.at", "step", e.Step)
	}
	return Text(text)
}

// EventDetail are the engine's own words where the text leaves something open: it has not been told what it is about.
func (r *Run) EventDetail(e message.Event) Text {
	if key := "event." + e.Code; e.Level == "info" || !r.Has(key) || len(names(catalogue[key].en)) > 0 {
		return ""
	}
	return Text(e.Message)
}

// HasResult reports whether there is something to try and to take away.
func (r *Run) HasResult() bool { return !r.Stage.Active() && r.resultFolder() != "" }

// resultFolder is where the result lies: "adapter", "model", or "" while there is none.
func (r *Run) resultFolder() string {
	for _, folder := range []string{"adapter", "model"} {
		for path := range r.files {
			if strings.HasPrefix(path, folder+"/") {
				return folder
			}
		}
	}
	return ""
}

// checkpoint is the step of the newest checkpoint that this run has, 0 for none.
func (r *Run) checkpoint() (newest int) {
	for path := range r.files {
		var n int
		if rest, ok := strings.CutPrefix(path, "checkpoint-"); ok {
			for _, c := range rest {
				if c < '0' || c > '9' {
					break
				}
				n = 10*n + int(c-'0')
			}
			newest = max(newest, n)
		}
	}
	return newest
}

// troubles are the events after which going back is worth offering.
var troubles = []string{"nonfinite_step_skipped", "loss_spike", "spike", "plateau", "overfitting"}

// CanGoBack reports whether something went wrong and there is a checkpoint from before.
func (r *Run) CanGoBack() bool {
	return r.checkpoint() > 0 && slices.ContainsFunc(r.Latest, func(e message.Event) bool { return slices.Contains(troubles, e.Code) })
}

func (r *Run) GoBackText() Text { return r.T("goback", "step", r.checkpoint()) }

// GoBack goes on from the last checkpoint at half the learning rate.
func (r *Run) GoBack(vugu.DOMEvent) {
	if r.Stage.Active() {
		r.control(message.Back)
		return
	}
	r.again(halve)
}

// Samples: what the model writes as it learns. SampleAt is the index of those that are shown.
func (r *Run) SampleAt() int { return max(0, len(r.Samples)-1-r.at) }

func (r *Run) Shown() []message.Sample {
	if len(r.Samples) == 0 {
		return nil
	}
	return r.Samples[r.SampleAt()].Texts
}

func (r *Run) SampleText() Text {
	if len(r.Samples) == 0 {
		return ""
	}
	return r.T("samples.at", "step", r.Samples[r.SampleAt()].Step)
}

// Scrub goes to earlier or later samples.
func (r *Run) Scrub(by int) { r.at = min(max(r.at-by, 0), max(len(r.Samples)-1, 0)) }

// figure spells a number of any size.
func figure(v message.Float) Text { return Text(strconv.FormatFloat(float64(v), 'g', 3, 64)) }
