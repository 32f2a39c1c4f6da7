package ui

import (
	"math"
	"strconv"
	"time"

	"llamatab/engine/message"
)

// pendingRun is a kept run whose record is being read.
type pendingRun struct {
	run    keptRun
	resume bool
	rejoin func(last int) // starts this tab's part of the room's run, after the last step of the record
}

// start begins a run.
func (p *Page) start(job message.Job, sources map[string]source, meta runMeta, step int) {
	for len(p.questions) > 0 { // the run needs the GPU memory of the side engine
		p.receiveAnswer(message.Envelope{Failed: &message.Failed{Code: "superseded"}})
	}
	if step == 0 {
		p.browser.ClearChart()
		p.Run.begin(meta)
	}
	p.Run.Stage = Loading
	if chats := meta.Conversations; job.Samples == nil && (len(meta.Prompts) > 0 || meta.Room == nil && chats != nil && *chats) {
		job.Samples = &message.SampleJob{Prompts: meta.Prompts, Every: max(1, meta.Steps/6), MaxNewTokens: 40}
	}
	p.Try.forget()
	p.browser.StartRun(job, sources, meta, step)
	if meta.Room != nil {
		return // the room's screen shows the progress
	}
	p.goTo(screenRun)
	p.browser.Focus("run")
}

// begin clears the screen for a new run.
func (r *Run) begin(meta runMeta) {
	*r = Run{Words: r.Words, page: r.page, canStart: r.canStart, ID: meta.ID, Meta: meta, Total: meta.Steps, files: map[string]int64{}}
}

// receiveRecord shows the record of a kept run, and continues the run where the person has asked for that.
func (p *Page) receiveRecord(now time.Time, m recordMessage) {
	pending := p.pending
	if pending.run.ID != m.ID || p.Run.Stage.Active() {
		return
	}
	p.pending = pendingRun{}
	r := p.Run
	r.begin(pending.run.Meta)
	for _, e := range m.Envelopes {
		r.receive(now, e)
	}
	r.Waiting = nil
	for _, f := range m.Files {
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
		r.continueFrom(pending.run.Checkpoint)
	}
	p.Try.forget()
	p.fillElements()
}

// rejoin starts a run in a room after it has read what a reload has left of this seat's record.
func (p *Page) rejoin(job message.Job, sources map[string]source, meta runMeta) {
	p.pending = pendingRun{run: keptRun{ID: meta.ID, Meta: meta}, rejoin: func(last int) { p.start(job, sources, meta, last) }}
	p.browser.OpenRun(meta.ID, math.MaxInt32)
}

// continueFrom continues the run from the checkpoint of a step; step 0 is the start of the run.
func (r *Run) continueFrom(checkpoint int, changes ...func(Tree)) {
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
		r.page.browser.ClearChart()
	}
	r.page.start(message.Job{Command: message.Train, Config: config.JSON(), Mounts: mounts}, sources, r.Meta, max(checkpoint, -1))
}
