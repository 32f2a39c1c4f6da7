package headless

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/chromedp"

	"llamatab/server/temporary"
)

// ErrTabCrashed is the value of Err when the tab's process died, ErrClosed when the whole browser ended.
var (
	ErrTabCrashed = errors.New("the browser's tab crashed")
	ErrClosed     = errors.New("the browser ended")
)

const (
	profileKind  = "chromium"       // of the temporary folder
	startTimeout = 60 * time.Second // a cold start on a busy machine takes a few seconds
	closeTimeout = 10 * time.Second
)

// Options says which browser to start and how.
type Options struct {
	Chrome      string    // program; "" finds one
	SwiftShader bool      // use Chromium's software WebGPU adapter
	Output      io.Writer // the browser's own stdout and stderr; nil drops them
}

// Browser is a running Chromium with one tab, or one more tab of it.
type Browser struct {
	Path string // the program

	ctx     context.Context
	cancel  context.CancelFunc
	profile *temporary.Folder // nil for one more tab
	pid     int

	once sync.Once
	gone chan struct{}
	err  error
}

// Start runs a Chromium. The caller must Close it; cancelling ctx kills it but leaves the profile to Close.
func Start(ctx context.Context, o Options) (*Browser, error) {
	path, err := Find(o.Chrome)
	if err != nil {
		return nil, err
	}
	options, err := flags(o)
	if err != nil {
		return nil, err
	}
	sweep()
	profile, err := temporary.New(profileKind)
	if err != nil {
		return nil, fmt.Errorf("headless: making the browser's profile folder: %w", err)
	}

	b := &Browser{Path: path, profile: profile, gone: make(chan struct{})}
	var program *exec.Cmd // once it was started
	options = append(options,
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile.Path),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			program = cmd
			cmd.SysProcAttr = processGroup()
			cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
		}))
	if o.Output != nil {
		options = append(options, chromedp.CombinedOutput(o.Output))
	}
	allocator, cancelAllocator := chromedp.NewExecAllocator(ctx, options...)
	tab, cancelTab := chromedp.NewContext(allocator, chromedp.WithBrowserOption(chromedp.WithBrowserErrorf(func(string, ...any) {})),
		b.crashed())
	b.ctx, b.cancel = tab, func() { cancelTab(); cancelAllocator() }

	// The first call binds the browser's life to the context it gets, so the time limit is kept beside it.
	if err = b.start(); err != nil {
		b.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		ended := ""
		if program != nil && program.ProcessState != nil && program.ProcessState.Exited() { // Close has waited for it
			ended = ": it ended at once with " + program.ProcessState.String()
		}
		return nil, fmt.Errorf("headless: %w: %s did not start%s: %w\n  what to do: start it by hand to see what it misses, or name another browser with --chrome PATH", ErrNoBrowser, path, ended, err)
	}
	b.pid = chromedp.FromContext(tab).Browser.Process().Pid
	return b, nil
}

// start makes the tab of b.ctx and watches it.
func (b *Browser) start() error {
	started := make(chan error, 1)
	go func() { started <- chromedp.Do(b.ctx) }()
	select {
	case err := <-started:
		if err != nil {
			return err
		}
	case <-time.After(startTimeout):
		return fmt.Errorf("did not answer within %v", startTimeout)
	}
	detached, err := chromedp.Detached(b.ctx)
	if err != nil {
		return err
	}
	lost := chromedp.FromContext(b.ctx).Browser.LostConnection
	go func() {
		select {
		case <-detached:
			b.fail(ErrTabCrashed)
		case <-lost:
			b.fail(ErrClosed)
		case <-b.ctx.Done():
			b.fail(ErrClosed)
		}
	}()
	return nil
}

// Tab opens one more tab in the browser, which ends with it. Closing it leaves the browser running.
func (b *Browser) Tab() (*Browser, error) {
	t := &Browser{Path: b.Path, gone: make(chan struct{})}
	t.ctx, t.cancel = chromedp.NewContext(b.ctx, t.crashed())
	if err := t.start(); err != nil {
		t.Close()
		return nil, fmt.Errorf("headless: one more tab: %w", err)
	}
	return t, nil
}

// crashed calls fail when the tab's process dies.
func (b *Browser) crashed() chromedp.ContextOption {
	return chromedp.WithListener(func(event any) {
		if _, ok := event.(*inspector.EventTargetCrashed); ok {
			b.fail(ErrTabCrashed)
		}
	})
}

func (b *Browser) fail(err error) {
	b.once.Do(func() { b.err = err; close(b.gone) })
}

// Gone is closed when the tab or the browser has ended. Err then tells which.
func (b *Browser) Gone() <-chan struct{} { return b.gone }

// Ended is closed when the whole browser has ended. Gone is closed before that where the browser's first tab crashed.
func (b *Browser) Ended() <-chan struct{} { return chromedp.FromContext(b.ctx).Browser.LostConnection }

// Err is nil while the tab lives, then ErrTabCrashed or ErrClosed.
func (b *Browser) Err() error {
	select {
	case <-b.gone:
		return b.err
	default:
		return nil
	}
}

// Close kills the browser with all its processes and removes its profile. It may be called more than once, from
// any goroutine.
func (b *Browser) Close() error {
	b.fail(ErrClosed)
	if b.profile == nil { // one more tab
		b.cancel()
		return nil
	}
	if b.pid != 0 {
		killGroup(b.pid)
	}
	done := make(chan struct{})
	go func() { b.cancel(); close(done) }()
	select {
	case <-done:
	case <-time.After(closeTimeout):
	}
	// A process of the browser may still be writing while it is torn down.
	deadline := time.Now().Add(closeTimeout)
	for {
		err := b.profile.Remove(removeProfile)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("headless: removing the browser's profile: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
