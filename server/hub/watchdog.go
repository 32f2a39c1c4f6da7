package hub

import (
	"context"
	"errors"
	"io"
	"time"
)

// errNoBytes ends a request for which no bytes have come for a while.
var errNoBytes = errors.New("no bytes have come")

// watchdog ends a request that is silent for too long.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	after  time.Duration
}

// newWatchdog makes a context that ends after a time of silence.
func newWatchdog(parent context.Context, after time.Duration) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(parent)
	w := &watchdog{ctx: ctx, cancel: cancel, after: after}
	w.timer = time.AfterFunc(after, func() { cancel(errNoBytes) })
	return ctx, w
}

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(context.Canceled)
}

// reader reads from r. Every byte that comes puts the end off.
func (w *watchdog) reader(r io.Reader) io.Reader { return &watched{r, w} }

type watched struct {
	io.Reader
	w *watchdog
}

func (r *watched) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.w.timer.Reset(r.w.after)
	}
	return n, err
}

// explain replaces an error by what the watchdog knows of it: silence, or the end of the parent context.
func (w *watchdog) explain(err error, host string) error {
	if err == nil || w.ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(w.ctx); !errors.Is(cause, errNoBytes) {
		return cause
	}
	return &temporary{cause: fail(Stalled, "check the network and run the same command again", "no bytes have come from %s for %s", host, w.after)}
}
