package runner

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"llamatab/engine/message"
)

// Progress shows on stderr what the engine does. On a terminal it rewrites one line. Elsewhere it prints one line for each
// phase and each step.
type Progress struct {
	out      io.Writer
	terminal bool
	now      func() time.Time

	phase  string
	total  int64 // steps, 0 until it is known
	live   string
	redraw time.Time
}

const redrawEvery = 100 * time.Millisecond

func NewProgress() *Progress {
	info, err := os.Stderr.Stat()
	return &Progress{out: os.Stderr, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0, now: time.Now}
}

// Observe shows one message.
func (p *Progress) Observe(e message.Envelope) {
	switch {
	case e.Progress != nil:
		p.progress(e.Progress)
	case e.Step != nil:
		p.step(e.Step)
	case e.Event != nil:
		p.line("%s: %s: %s", e.Event.Level, e.Event.Code, e.Event.Message)
	case e.Done != nil || e.Failed != nil:
		p.Clear()
	}
}

func (p *Progress) progress(m *message.Progress) {
	if m.Phase == "train" {
		p.total = m.Total
	}
	text := m.Phase
	if m.Detail != "" {
		text += " " + m.Detail
	}
	switch {
	case m.Total > 0:
		text += fmt.Sprintf("  %s/%s %.0f%%", amount(m.Done, m.Unit), amount(m.Total, m.Unit), 100*float64(m.Done)/float64(m.Total))
	case m.Done > 0:
		text += "  " + amount(m.Done, m.Unit)
	}
	if m.ETASeconds > 0 {
		text += "  " + left(m.ETASeconds)
	}
	if p.terminal {
		if m.Phase != "train" { // the lines of steps say more
			p.draw(text, m.Phase != p.phase)
		}
	} else if m.Phase != p.phase {
		p.line("%s", strings.TrimSpace(m.Phase+" "+m.Detail))
	}
	p.phase = m.Phase
}

func (p *Progress) step(s *message.Step) {
	text := fmt.Sprintf("step %d", s.Step)
	if p.total > 0 {
		text += fmt.Sprintf("/%d", p.total)
	}
	text += fmt.Sprintf("  loss %.4f  lr %.2e  grad %.3g  %.0f tok/s", float64(s.Loss), s.LearningRate, float64(s.GradNorm), s.TokensPerSecond)
	if s.EvalLoss != nil {
		text += fmt.Sprintf("  eval %.4f", float64(*s.EvalLoss))
	}
	if remaining := p.total - int64(s.Step); remaining > 0 {
		text += "  " + left(float64(remaining)*s.StepSeconds)
	}
	last := p.total > 0 && int64(s.Step) >= p.total
	if !p.terminal || s.EvalLoss != nil || last { // worth keeping on the screen
		p.Clear()
		p.line("%s", text)
	} else {
		p.draw(text, false)
	}
}

// draw replaces the live line, once every redrawEvery at most unless now is set.
func (p *Progress) draw(text string, now bool) {
	if t := p.now(); now || t.Sub(p.redraw) >= redrawEvery {
		p.redraw, p.live = t, text
		fmt.Fprintf(p.out, "\r\x1b[K%s", text)
	}
}

// line writes a line that stays, above the live line.
func (p *Progress) line(format string, args ...any) {
	live := p.live
	p.Clear()
	fmt.Fprintf(p.out, format+"\n", args...)
	if live != "" {
		p.draw(live, true)
	}
}

func (p *Progress) Clear() {
	if p.live != "" {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.live = ""
	}
}

// left formats the remaining time.
func left(seconds float64) string {
	if math.IsNaN(seconds) || seconds < 0 || seconds > 1e9 {
		return ""
	}
	return time.Duration(math.Ceil(seconds)*float64(time.Second)).String() + " left"
}

// amount formats a number with its unit, bytes in MB.
func amount(n int64, unit string) string {
	switch unit {
	case "":
		return fmt.Sprint(n)
	case "bytes", "byte", "B":
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	default:
		return fmt.Sprintf("%d %s", n, unit)
	}
}
