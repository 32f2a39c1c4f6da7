// Package headless starts a Chromium without a window, drives its one tab, and leaves nothing behind: when a
// Browser is closed, or this program dies, its processes are gone; its profile folder goes with Close, or, after
// a death that could not be caught, at the next Start.
package headless

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/inspector"
	cdppage "github.com/chromedp/cdproto/page"
	cdruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// ErrTabCrashed is what Gone reports when the tab's process died, ErrClosed when the whole browser went.
var (
	ErrTabCrashed = errors.New("the browser's tab crashed")
	ErrClosed     = errors.New("the browser ended")
)

const (
	profilePrefix = "llamatab-chromium-" // then our process id and a random part
	startTimeout  = 60 * time.Second     // a cold start on a busy machine takes a few seconds
	closeTimeout  = 10 * time.Second
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
	profile string
	pid     int

	once sync.Once
	gone chan struct{}
	err  error
}

// NeedsNoSandbox reports whether Chromium's sandbox must be switched off, because Chromium refuses to run as root
// with it.
func NeedsNoSandbox() bool { return os.Geteuid() == 0 }

// Start runs a Chromium. The caller must Close it; cancelling ctx kills it but leaves the profile to Close.
func Start(ctx context.Context, o Options) (*Browser, error) {
	path, err := Find(o.Chrome)
	if err != nil {
		return nil, err
	}
	sweep()
	profile, err := os.MkdirTemp("", profilePrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, fmt.Errorf("headless: making the browser's profile folder: %w", err)
	}

	b := &Browser{Path: path, profile: profile, gone: make(chan struct{})}
	options := append(flags(o),
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
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
		return nil, fmt.Errorf("headless: %w: %s did not start: %w", ErrNoBrowser, path, err)
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

// crashed hears of the death of the tab's process.
func (b *Browser) crashed() chromedp.ContextOption {
	return chromedp.WithListener(func(event any) {
		if _, ok := event.(*inspector.EventTargetCrashed); ok {
			b.fail(ErrTabCrashed)
		}
	})
}

// flags are Chromium's switches: no window, no first-run pages, no traffic of its own, no throttling of what it
// takes for a background tab, WebGPU on.
func flags(o Options) []chromedp.ExecAllocatorOption {
	on := []string{"headless", "no-first-run", "no-default-browser-check", "hide-scrollbars", "mute-audio",
		"disable-background-networking", "disable-component-update", "disable-domain-reliability", "disable-sync",
		"disable-default-apps", "disable-extensions", "disable-client-side-phishing-detection", "disable-breakpad",
		"disable-crash-reporter", "no-pings", "metrics-recording-only", "disable-hang-monitor", "disable-popup-blocking",
		"disable-prompt-on-repost", "disable-background-timer-throttling", "disable-backgrounding-occluded-windows",
		"disable-renderer-backgrounding", "disable-ipc-flooding-protection", "use-mock-keychain",
		"disable-dev-shm-usage", // containers often have a /dev/shm of 64 MiB
		"enable-unsafe-webgpu"}
	options := []chromedp.ExecAllocatorOption{
		chromedp.Flag("password-store", "basic"),
		chromedp.Flag("disable-features", "Translate,MediaRouter,OptimizationHints"),
	}
	if o.SwiftShader {
		options = append(options, chromedp.Flag("use-webgpu-adapter", "swiftshader"))
	} else {
		on = append(on, "ignore-gpu-blocklist", "disable-vulkan-surface")
		options = append(options, chromedp.Flag("enable-features", "Vulkan"))
	}
	if NeedsNoSandbox() {
		on = append(on, "no-sandbox")
	}
	for _, name := range on {
		options = append(options, chromedp.Flag(name, true))
	}
	return options
}

func (b *Browser) fail(err error) {
	b.once.Do(func() { b.err = err; close(b.gone) })
}

// Gone is closed when the tab or the browser has died; Err then tells which.
func (b *Browser) Gone() <-chan struct{} { return b.gone }

// Err is nil while the tab lives, then ErrTabCrashed or ErrClosed.
func (b *Browser) Err() error {
	select {
	case <-b.gone:
		return b.err
	default:
		return nil
	}
}

// Open sends the tab to the address and waits until it is loaded.
func (b *Browser) Open(ctx context.Context, url string) error {
	return b.do(ctx, "opening "+url, chromedp.Navigate(url))
}

// Evaluate runs a JavaScript expression in the page, awaits it where it is a promise, and decodes its value, made
// JSON, into out.
func (b *Browser) Evaluate(ctx context.Context, expression string, out any) error {
	var text string
	err := b.do(ctx, "asking the page", func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		var err error
		text, err = chromedp.Evaluate[string](`(async () => JSON.stringify(await (`+expression+`)))()`, func(p *cdruntime.EvaluateParams) {
			chromedp.EvalAwaitPromise(p)
		})(ctx, t)
		return chromedp.Void{}, err
	})
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		return fmt.Errorf("headless: the page's answer: %w", err)
	}
	return nil
}

// do runs one action in the tab, bounded by ctx and by the life of the tab.
func (b *Browser) do(ctx context.Context, what string, action chromedp.Action[chromedp.Void]) error {
	if err := b.Err(); err != nil {
		return fmt.Errorf("headless: %s: %w", what, err)
	}
	bounded, cancel := context.WithCancelCause(b.ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(ctx.Err()) })()
	go func() {
		select {
		case <-b.gone:
			cancel(b.err)
		case <-bounded.Done():
		}
	}()
	if err := chromedp.Do(bounded, action); err != nil {
		if cause := context.Cause(bounded); cause != nil {
			err = cause
		}
		return fmt.Errorf("headless: %s: %w", what, err)
	}
	return nil
}

// Version is Chromium's product name and version.
func (b *Browser) Version(ctx context.Context) (string, error) {
	var agent string
	err := b.Evaluate(ctx, `navigator.userAgentData?.getHighEntropyValues(["fullVersionList"])
		.then(v => v.fullVersionList.filter(b => !b.brand.startsWith("Not")).map(b => b.brand + " " + b.version).join(", ")) ?? navigator.userAgent`, &agent)
	return agent, err
}

// Close kills the browser with all its processes and removes its profile. It may be called more than once, from
// any goroutine.
func (b *Browser) Close() error {
	b.fail(ErrClosed)
	if b.profile == "" { // one more tab
		b.cancel()
		return nil
	}
	if b.pid != 0 {
		killGroup(b.pid) // its exit status is of no interest: it is being killed
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
		err := removeProfile(b.profile)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("headless: removing the browser's profile: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// removeProfile removes a profile folder, and the folder for a socket that Chromium makes beside it in the temporary
// folder: a link in the profile leads there.
func removeProfile(profile string) error {
	if socket, err := os.Readlink(filepath.Join(profile, "SingletonSocket")); err == nil {
		folder := filepath.Dir(socket)
		if filepath.Dir(folder) == filepath.Clean(os.TempDir()) && filepath.Base(socket) == "SingletonSocket" {
			os.RemoveAll(folder) // empty but for the socket; the profile is what counts
		}
	}
	return os.RemoveAll(profile)
}

// sweep removes profiles whose owner is dead: it was killed in a way that could not be caught.
func sweep() {
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), profilePrefix+"*"))
	for _, folder := range folders {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), profilePrefix), "-")
		if pid, err := strconv.Atoi(id); err == nil && pid > 0 && !alive(pid) {
			removeProfile(folder) // where this fails, a later sweep tries again
		}
	}
}

// Resize sets the size of the tab's window, in CSS pixels.
func (b *Browser) Resize(ctx context.Context, width, height int64) error {
	return b.do(ctx, "resizing", chromedp.EmulateViewport(width, height))
}

// Media makes features of CSS media queries true, such as "forced-colors": "active"; nil ends that.
func (b *Browser) Media(ctx context.Context, features map[string]string) error {
	var list []*emulation.MediaFeature
	for name, value := range features {
		list = append(list, &emulation.MediaFeature{Name: name, Value: value})
	}
	return b.do(ctx, "setting media features", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: list})
		return err
	}))
}

// Hide minimises the tab's window, or restores it: what a person does who turns to something else.
func (b *Browser) Hide(ctx context.Context, hidden bool) error {
	state := browser.WindowStateNormal
	if hidden {
		state = browser.WindowStateMinimized
	}
	return b.do(ctx, "hiding the window", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		w, err := cdp.Call(ctx, t, browser.GetWindowForTarget, browser.GetWindowForTargetParams{})
		if err == nil {
			_, err = cdp.Call(ctx, t, browser.SetWindowBounds, browser.SetWindowBoundsParams{WindowID: w.WindowID, Bounds: &browser.Bounds{WindowState: state}})
		}
		return err
	}))
}

// Press presses and releases a key: one that writes a character, or "Tab", "Enter", "Home" or an arrow.
func (b *Browser) Press(ctx context.Context, key string) error {
	if name, ok := map[string]string{
		"Tab": kb.Tab, "Enter": kb.Enter, "Home": kb.Home, "ArrowLeft": kb.ArrowLeft, "ArrowRight": kb.ArrowRight,
	}[key]; ok {
		key = name
	}
	return b.do(ctx, "pressing a key", chromedp.KeyEvent(key))
}

// Click presses the mouse on the element that a CSS selector names, once that can be seen.
func (b *Browser) Click(ctx context.Context, selector string) error {
	return b.do(ctx, "clicking "+selector, chromedp.Click(selector))
}

// Crash kills the tab's process, as the system does that runs out of memory.
func (b *Browser) Crash(ctx context.Context) error {
	err := b.do(ctx, "crashing the tab", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, cdppage.Crash, cdp.Empty{}) // the dead do not answer
		return chromedp.Void{}, err
	})
	if errors.Is(err, ErrTabCrashed) {
		return nil
	}
	return err
}

// CrashGPU kills the browser's GPU process, which takes every WebGPU device with it.
func (b *Browser) CrashGPU(ctx context.Context) error {
	return b.do(ctx, "crashing the GPU process", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.CallBrowser(ctx, browser.CrashGPUProcess, cdp.Empty{})
		return chromedp.Void{}, err
	})
}

// Heap is how many bytes the page's objects take, without garbage. Those of its workers are not among them.
func (b *Browser) Heap(ctx context.Context) (used float64, err error) {
	err = b.do(ctx, "measuring the page's heap", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		if _, err := chromedp.Call(ctx, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
			return chromedp.Void{}, err
		}
		usage, err := chromedp.Call(ctx, cdruntime.GetHeapUsage, cdp.Empty{})
		used = usage.UsedSize
		return chromedp.Void{}, err
	})
	return used, err
}

// Downloads puts what pages offer for download into a folder.
func (b *Browser) Downloads(ctx context.Context, dir string) error {
	return b.do(ctx, "choosing the folder for downloads", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir})
		return chromedp.Void{}, err
	})
}

// Quota bounds how many bytes an origin may keep.
func (b *Browser) Quota(ctx context.Context, origin string, bytes float64) error {
	return b.do(ctx, "setting a quota", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, storage.OverrideQuotaForOrigin, storage.OverrideQuotaForOriginParams{Origin: origin, QuotaSize: &bytes})
		return chromedp.Void{}, err
	})
}

// Screenshot is a PNG of the whole page, below the window's end too.
func (b *Browser) Screenshot(ctx context.Context) (png []byte, err error) {
	err = b.do(ctx, "taking a picture", func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		png, err = chromedp.FullScreenshot(100)(ctx, t)
		return chromedp.Void{}, err
	})
	return png, err
}
