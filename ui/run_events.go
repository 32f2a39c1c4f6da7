package ui

import "llamatab/engine/message"

// eventsKept is how many of the latest events the panel shows; events.jsonl has all.
const eventsKept = 50

func (r *Run) addEvent(e message.Event) {
	if e.Code == "evaluated_on_start" {
		r.Before = measuresOf(e)
	}
	r.PauseReached = e.Code == "paused" || r.PauseReached && e.Code != "continued"
	r.Latest = append([]message.Event{e}, r.Latest[:min(len(r.Latest), eventsKept-1)]...)
}

// LevelText names the level of an event.
func (r *Run) LevelText(e message.Event) Text {
	if key := "level." + e.Level; r.Has(key) {
		return r.T(key)
	}
	return r.T("level.info")
}

// EventText says what happened, in the page's language where the event's code is known.
func (r *Run) EventText(e message.Event) Text {
	text := r.eventText(e.Code, e.Message, e.Data)
	if e.Step > 0 {
		text += r.say("event.at", "step", e.Step)
	}
	return Text(text)
}

// EventDetail is the engine's English message of a warning or an error. It is empty where the page's text says the same.
func (r *Run) EventDetail(e message.Event) Text {
	if key := "event." + e.Code; e.Level == "info" || !r.Has(key) || len(namesIn(catalogue[key].en)) > 0 {
		return ""
	}
	return Text(e.Message)
}
