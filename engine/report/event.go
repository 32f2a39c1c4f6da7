package report

import (
	"fmt"
	"time"

	"llamatab/engine/message"
)

// Event sends an event of a run: its level ("info", "warning", "error"), its code, the step after which it happened, its
// data by name, and its text in English.
func Event(h Host, level, code string, step int, data map[string]any, format string, args ...any) {
	h.Emit(message.Envelope{Type: "event", Event: &message.Event{
		Time: time.Now().UTC().Format(time.RFC3339Nano), Level: level, Code: code, Step: step,
		Message: fmt.Sprintf(format, args...), Data: data,
	}})
}

// Progress reports how far one phase of a job has come, and estimates the time left.
type Progress struct {
	host  Host
	phase string
	unit  string
	total int64
	start time.Time
	last  time.Time
}

// NewProgress starts a phase that ends after total units, for example "bytes" or "rows".
func NewProgress(h Host, phase, unit string, total int64) *Progress {
	p := &Progress{host: h, phase: phase, unit: unit, total: total, start: time.Now()}
	p.Update(0, "")
	return p
}

// DataReading tells a host how much of a large data file has been read, as the phase "data".
func DataReading(h Host) func(done, total int64) {
	var p *Progress
	return func(done, total int64) {
		if p == nil {
			p = NewProgress(h, "data", "bytes", total)
		}
		if p.Update(done, ""); done == total {
			p = nil
		}
	}
}

// reportInterval is the shortest time between two reports of a phase.
const reportInterval = 200 * time.Millisecond

// Update reports that done units are finished. Between the first and the last report of a phase it skips those that
// follow within reportInterval. detail is what the job works on now, for example the name of a parameter.
func (p *Progress) Update(done int64, detail string) {
	now := time.Now()
	if done > 0 && done < p.total && now.Sub(p.last) < reportInterval {
		return
	}
	p.last = now
	m := &message.Progress{Phase: p.phase, Detail: detail, Done: done, Total: p.total, Unit: p.unit}
	if done > 0 && done < p.total {
		m.ETASeconds = now.Sub(p.start).Seconds() / float64(done) * float64(p.total-done)
	}
	p.host.Emit(message.Envelope{Type: "progress", Progress: m})
}
