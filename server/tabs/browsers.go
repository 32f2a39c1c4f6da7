package tabs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"llamatab/server/exit"
	"llamatab/server/headless"
	"llamatab/server/runner"
	"llamatab/server/web"
)

// maxBrowsers bounds how many browsers end one after another without a step in between.
const maxBrowsers = 5

// errNoAdapter ends a browser that had a WebGPU adapter and gives no more: Chromium does that after its GPU process has crashed
// a few times.
var errNoAdapter = errors.New("the browser gives no WebGPU adapter any more")

// inBrowsers runs n tabs in a browser. Where the browser ends, another is started, whose tabs go on after the last step.
func (t *tabsRun) inBrowsers(ctx context.Context, n int, flags runner.Browser, address string) error {
	before, ended := t.recorded(), 0
	for {
		err := t.inBrowser(ctx, n, flags, address)
		if ctx.Err() != nil || !errors.Is(err, headless.ErrClosed) && !errors.Is(err, errNoAdapter) {
			return err
		}
		t.closeAll()
		now := t.recorded()
		if now > before {
			before, ended = now, 0
		}
		if ended++; ended == maxBrowsers {
			return &exit.Error{Code: exit.Failed, Err: fmt.Errorf("%w, and so did %d before it without a step in between: the same command resumes from the last step", err, ended-1)}
		}
		t.mu.Lock()
		t.record(roomEvent("warning", "browser_ended", now, nil, fmt.Sprintf("%v; another is started, whose tabs go on after step %d", err, now)))
		t.mu.Unlock()
	}
}

// inBrowser opens a browser with n tabs and waits for the result. The error is headless.ErrClosed where the browser ended, and
// errNoAdapter where it gives no adapter any more.
func (t *tabsRun) inBrowser(ctx context.Context, n int, flags runner.Browser, address string) error {
	browser, found, err := runner.OpenBrowser(ctx, flags, address+web.BlankPath)
	if err != nil {
		return err
	}
	defer browser.Close()
	t.spec.AdapterBackend = found.Backend
	for range n {
		if err = t.join(ctx, browser, address); err != nil {
			break
		}
	}
	if err == nil {
		err = t.wait(ctx, browser, address)
	}
	if err == nil || errors.Is(err, errNoAdapter) || errors.As(err, new(*exit.Error)) {
		return err
	}
	select { // a call that failed may have failed because the browser was about to end
	case <-browser.Ended():
		return headless.ErrClosed
	case <-time.After(time.Second):
		return err
	}
}

// closeAll closes the tabs of a browser that has ended.
func (t *tabsRun) closeAll() {
	t.mu.Lock()
	tabs := t.tabs
	for _, tab := range tabs {
		tab.ended = true
	}
	t.mu.Unlock()
	for _, tab := range tabs {
		if tab.browser != nil {
			tab.browser.Close()
		}
	}
}
