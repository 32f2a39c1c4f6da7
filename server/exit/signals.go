package exit

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// ending are the signals that ask the program to end: Ctrl-C, SIGTERM, and SIGHUP, which comes when the terminal is closed.
var ending = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// Signals delivers the signals that ask the program to end, until stop is called. A signal that was ignored when the program
// started, as nohup ignores SIGHUP, stays ignored.
func Signals() (delivered <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 2) // a first and a second one
	for _, s := range ending {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
	return c, func() { signal.Stop(c) }
}

// UntilSignal is done at the first signal that asks the program to end. After stop such a signal ends the program at once.
func UntilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, ignore := Signals()
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { ignore(); cancel() }
}

// OutliveReader lets the program live on when nobody reads its output any more: else a closed terminal, which ends the reader
// of a pipe as well, would kill a run that is saving its checkpoint.
func OutliveReader() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // nobody takes what is delivered
}
