package ui

import "llamatab/engine/message"

// question is a job of the side engine. receive is called with each of its messages on the job.
type question struct{ receive func(message.Envelope) }

// ask gives a job to the side engine.
func (p *Page) ask(job message.Job, sources map[string]source, receive func(message.Envelope)) {
	p.questions = append(p.questions, question{receive})
	p.browser.AskSideEngine(job, sources)
}

// receiveAnswer passes a message of the side engine on to the oldest question: the engine answers in order. When the engine has
// died, all questions have failed.
func (p *Page) receiveAnswer(e message.Envelope) {
	if len(p.questions) == 0 {
		return
	}
	dead := e.Failed != nil && (e.Failed.Code == "engine_crashed" || e.Failed.Code == "engine_ended")
	if dead {
		p.browser.EndEngine(sideEngine)
	}
	for first := true; first || dead && len(p.questions) > 0; first = false {
		q := p.questions[0]
		if e.Done != nil || e.Failed != nil {
			p.questions = p.questions[1:]
		}
		q.receive(e)
	}
}
