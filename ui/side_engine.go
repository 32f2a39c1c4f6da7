package ui

import "llamatab/engine/message"

// question is a job that the side engine has been given; hear is told all that it says about it.
type question struct{ hear func(message.Envelope) }

// ask gives a job to the side engine.
func (p *Page) ask(job message.Job, sources map[string]source, hear func(message.Envelope)) {
	p.asked = append(p.asked, question{hear})
	p.browser.AskSideEngine(job, sources)
}

// answered passes on what the side engine says. It answers in the order in which it was asked; when it has died, all
// that was asked has failed.
func (p *Page) answered(e message.Envelope) {
	if len(p.asked) == 0 {
		return
	}
	dead := e.Failed != nil && (e.Failed.Code == "engine_crashed" || e.Failed.Code == "engine_ended")
	if dead {
		p.browser.EndEngine(sideEngine)
	}
	for first := true; first || dead && len(p.asked) > 0; first = false {
		q := p.asked[0]
		if e.Done != nil || e.Failed != nil {
			p.asked = p.asked[1:]
		}
		q.hear(e)
	}
}
