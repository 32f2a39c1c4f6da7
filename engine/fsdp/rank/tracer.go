package rank

import (
	"time"

	"llamatab/engine/device"
	"llamatab/engine/message"
	"llamatab/engine/report"
)

// tracer sends the host a span for each thing that a tab does. Both goroutines use it; its fields do not change. A nil tracer
// does nothing.
type tracer struct {
	host report.Host
	dev  device.Device
	base time.Time // with the monotonic clock, as a browser's wall clock counts milliseconds
}

func newTracer(on bool, host report.Host, dev device.Device) *tracer {
	if !on {
		return nil
	}
	return &tracer{host, dev, time.Now()}
}

func (t *tracer) micros(at time.Time) int64 {
	return t.base.UnixMicro() + at.Sub(t.base).Microseconds()
}

// begin begins a span and returns the function that ends it.
func (t *tracer) begin(s message.Span) (end func()) {
	if t == nil {
		return func() {}
	}
	end = func() {
		s.To = t.micros(time.Now())
		t.host.Emit(message.Envelope{Type: "span", Span: &s})
	}
	s.From = t.micros(time.Now())
	return end
}

// onGPU is begin for work that is submitted before end is called: the span ends when the device has done the work. Work that
// was submitted earlier is waited for first.
func (t *tracer) onGPU(s message.Span) (end func() error) {
	if t == nil {
		return func() error { return nil }
	}
	before := t.dev.Sync()
	done := t.begin(s)
	return func() error {
		if before != nil {
			return before
		}
		err := t.dev.Sync()
		done()
		return err
	}
}

// carry is begin for bytes that are received. Without bytes no span is sent.
func (t *tracer) carry(s message.Span) (end func(bytes int64)) {
	if t == nil {
		return func(int64) {}
	}
	s.From = t.micros(time.Now())
	return func(bytes int64) {
		if s.To, s.Bytes = t.micros(time.Now()), bytes; bytes > 0 {
			t.host.Emit(message.Envelope{Type: "span", Span: &s})
		}
	}
}

// mark sends a span without duration.
func (t *tracer) mark(s message.Span) { t.begin(s)() }

// memory sends the bytes that are allocated on the device.
func (t *tracer) memory(step int) {
	if t != nil {
		t.mark(message.Span{What: "memory", Step: step, Usage: t.dev.Usage().Map()})
	}
}
