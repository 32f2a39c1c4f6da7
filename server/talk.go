package main

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"

	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/job"
	"llamatab/server/runner"
)

// turn is a message of a conversation.
type turn struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// talker is a chat job in a headless browser, which answers one conversation after another.
type talker struct {
	job      *job.Job
	progress *runner.Progress
	said     pieces // of the answer that is being written
	replies  chan *message.Reply
	ready    chan struct{} // closed when the model is loaded
	ended    chan struct{} // closed when the job has ended, then err says how
	err      error
	asked    int
	writing  atomic.Int64 // the number of the Ask whose answer is being written, 0 for none
}

// pieces are pieces of a text that have come and nobody has taken yet, so that whoever reads them slowly does not hold up the
// engine's messages.
type pieces struct {
	mu   sync.Mutex
	text string
	more chan struct{} // has a token where there is text
}

func (p *pieces) add(text string) {
	p.mu.Lock()
	p.text += text
	p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
}

func (p *pieces) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := p.text
	p.text = ""
	return text
}

// startTalk starts a chat job. Mistakes in the model are found before a browser starts. A signal ends the answer that is being
// written; without one it ends the job.
func startTalk(ctx context.Context, m *inputs.Mounts, spec message.ChatJob, browser runner.Browser) (*talker, error) {
	j := m.Into(message.Job{Command: message.Chat, Chat: &spec})
	if err := precheck(ctx, j.Spec, m); err != nil {
		return nil, err
	}
	t := &talker{job: j, progress: runner.NewProgress(), said: pieces{more: make(chan struct{}, 1)}, replies: make(chan *message.Reply, 1), ready: make(chan struct{}), ended: make(chan struct{})}
	j.Observe = t.observe
	go func() {
		defer close(t.ended)
		t.err = runner.Start(ctx, runner.Run{Job: j, Browser: browser, Signalled: t.cancel})
	}()
	select {
	case <-t.ready:
		return t, nil
	case <-t.ended:
		return nil, t.ending()
	}
}

func (t *talker) observe(e message.Envelope) {
	switch {
	case e.Progress != nil && e.Progress.Phase == "ready":
		t.progress.Clear()
		close(t.ready)
	case e.Token != nil:
		t.said.add(e.Token.Text)
	case e.Reply != nil:
		t.writing.Store(0)
		t.replies <- e.Reply
	default:
		t.progress.Observe(e)
	}
}

// cancel ends the answer that is being written, and reports whether there was one.
func (t *talker) cancel() bool {
	n := t.writing.Load()
	if n != 0 {
		t.job.Send(message.Cancel(int(n)))
	}
	return n != 0
}

func (t *talker) over() <-chan struct{} { return t.ended }

// ending is the error with which the job ended, if it should not have.
func (t *talker) ending() error {
	if t.err == nil {
		return errors.New("the engine ended by itself")
	}
	return t.err
}

// Ask answers a conversation and tells each about each piece of the text. It returns when the answer is complete, which it also
// is soon after ctx is done. The error says why there is no answer. One conversation is asked at a time.
func (t *talker) Ask(ctx context.Context, a message.Ask, each func(text string)) (*message.Reply, error) {
	t.asked++
	a.Number = t.asked
	t.writing.Store(int64(a.Number))
	defer t.writing.Store(0)
	asking, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // an engine that has ended takes no conversation
		select {
		case <-t.ended:
			stop()
		case <-asking.Done():
		}
	}()
	if err := t.job.Ask(asking, a); err != nil {
		if ctx.Err() == nil {
			<-t.ended
			return nil, t.ending()
		}
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { t.job.Send(message.Cancel(a.Number)) })()
	for {
		select {
		case <-t.said.more:
			each(t.said.take())
		case reply := <-t.replies:
			if rest := t.said.take(); rest != "" {
				each(rest)
			}
			if reply.Failed != nil {
				return nil, exit.Outcome(message.Envelope{Failed: reply.Failed})
			}
			return reply, nil
		case <-t.ended:
			return nil, t.ending()
		}
	}
}

// close ends the job and its browser.
func (t *talker) close() error {
	t.job.EndAsking()
	<-t.ended
	return t.err
}

// conversation is turns as a row of the format messages.
func conversation(turns []turn) (json.RawMessage, error) {
	return json.Marshal(map[string]any{"messages": turns})
}
