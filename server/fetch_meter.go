package main

import (
	"fmt"
	"os"
	"time"

	"llamatab/server/hub"
)

// fetchMeter shows how far the fetching of a model is: on a terminal on one line that it rewrites, elsewhere on a line every
// linesEvery.
type fetchMeter struct {
	out      *os.File
	host     string
	terminal bool
	last     hub.Progress
	shown    time.Time // when the last line was written
	live     bool      // the cursor is at the end of the line that is rewritten
	speed    hub.Speed
}

const (
	redrawEvery = 200 * time.Millisecond
	linesEvery  = 30 * time.Second
)

func newFetchMeter(out *os.File, host string) *fetchMeter {
	info, err := out.Stat()
	return &fetchMeter{out: out, host: host, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// observe is told of the progress of a Pull.
func (m *fetchMeter) observe(p hub.Progress) {
	now := time.Now()
	if p.Total > 0 && m.last.Total == 0 {
		m.line("%s: %d files of %s from %s", p.Name, p.Files, hub.Bytes(p.Total), m.host)
		m.shown = now
	}
	if p.Event != "" {
		m.line("%s", p.Event)
	}
	m.last = p
	m.speed.Add(now, p.Came)
	every := linesEvery
	if m.terminal {
		every = redrawEvery
	}
	if p.Total > 0 && now.Sub(m.shown) >= every {
		m.shown = now
		m.draw()
	}
}

// draw shows bytes, speed and the time that is left.
func (m *fetchMeter) draw() {
	p := m.last
	text := fmt.Sprintf("%s of %s  %.0f%%", hub.Bytes(p.Done), hub.Bytes(p.Total), 100*float64(p.Done)/float64(p.Total))
	if rate := m.speed.PerSecond(); rate > 0 {
		left := time.Duration(float64(p.Total-p.Done) / rate * float64(time.Second)).Round(time.Second)
		text += fmt.Sprintf("  %s/s  %s left", hub.Bytes(int64(rate)), left)
	}
	if !m.terminal {
		m.line("%s", text)
		return
	}
	fmt.Fprintf(m.out, "\r\x1b[K%s", text)
	m.live = true
}

// line writes a line that stays.
func (m *fetchMeter) line(format string, args ...any) {
	m.end()
	fmt.Fprintf(m.out, format+"\n", args...)
}

// end removes the line that is rewritten.
func (m *fetchMeter) end() {
	if m.live {
		fmt.Fprint(m.out, "\r\x1b[K")
		m.live = false
	}
}
