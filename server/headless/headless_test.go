package headless

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"llamatab/server/servertest"
	"llamatab/server/temporary"
)

// start starts a browser whose profile is in a folder of the test, and checks at the end that nothing of it is left.
func start(t *testing.T) *Browser {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	b, err := Start(t.Context(), Options{SwiftShader: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if temporary.Alive(b.pid) {
			t.Errorf("process %d still runs", b.pid)
		}
	})
	return b
}

// page serves an empty page, which browsers trust for its loopback address.
func page(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "<!doctype html><title>test</title>")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func limited(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestBrowser(t *testing.T) {
	b := start(t)
	ctx := limited(t, 5*time.Minute)
	if err := b.Open(ctx, page(t)); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Title string
		GPU   bool
	}
	expression := `navigator.gpu.requestAdapter().then(a => ({title: document.title, gpu: a !== null}))`
	if err := b.Evaluate(ctx, expression, &answer); err != nil || answer.Title != "test" || !answer.GPU {
		t.Errorf("%+v %v", answer, err)
	}
	if err := b.Evaluate(ctx, `(() => { throw new Error("why") })()`, &answer); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("an exception in the page is %v", err)
	}
	if version, err := b.Version(ctx); err != nil || version == "" {
		t.Errorf("version %q, %v", version, err)
	}
	if err := b.Open(ctx, "http://127.0.0.1:1/"); err == nil {
		t.Error("a page that is not there was opened")
	}
	// A page that never answers costs the time allowed and no more, and does not spoil the browser.
	if err := b.Evaluate(limited(t, 200*time.Millisecond), `new Promise(() => {})`, &answer); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a page that does not answer is %v", err)
	}
	if err := b.Evaluate(ctx, `({title: "again"})`, &answer); err != nil || answer.Title != "again" {
		t.Errorf("%+v %v", answer, err)
	}
	if b.Err() != nil {
		t.Errorf("a living browser says %v", b.Err())
	}
	b.Close()
	if err := b.Open(ctx, "about:blank"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestTabCrash(t *testing.T) {
	b := start(t)
	ctx := limited(t, 5*time.Minute)
	if err := b.Open(ctx, page(t)); err != nil {
		t.Fatal(err)
	}
	go b.Open(ctx, "chrome://crash") // never loaded
	select {
	case <-b.Gone():
	case <-ctx.Done():
		t.Fatal("nobody noticed")
	}
	if !errors.Is(b.Err(), ErrTabCrashed) {
		t.Errorf("got %v", b.Err())
	}
	var answer int
	if err := b.Evaluate(ctx, "1", &answer); !errors.Is(err, ErrTabCrashed) {
		t.Errorf("asking a crashed tab: %v", err)
	}
}

// TestFirstTabCrash: the tabs of a browser outlive its first one, and more can be opened.
func TestFirstTabCrash(t *testing.T) {
	b := start(t)
	ctx := limited(t, 5*time.Minute)
	other, err := b.Tab()
	if err != nil {
		t.Fatal(err)
	}
	go b.Open(ctx, "chrome://crash") // never loaded
	select {
	case <-b.Gone():
	case <-ctx.Done():
		t.Fatal("nobody noticed")
	}
	if err := b.Err(); !errors.Is(err, ErrTabCrashed) {
		t.Errorf("the first tab says %v", err)
	}
	third, err := b.Tab()
	if err != nil {
		t.Fatalf("no tab opens after the first has crashed: %v", err)
	}
	for _, tab := range []*Browser{other, third} {
		sum := 0
		if err := tab.Evaluate(ctx, `1 + 2`, &sum); err != nil || sum != 3 {
			t.Errorf("a tab that lives says %d, %v", sum, err)
		}
	}
}

func TestBrowserKilled(t *testing.T) {
	b := start(t)
	if err := killGroup(b.pid); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Gone():
	case <-limited(t, 5*time.Minute).Done():
		t.Fatal("nobody noticed")
	}
}

func TestCancelledStart(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { // cancels when the browser's profile is there, long before the browser answers
			for ctx.Err() == nil {
				if found, _ := filepath.Glob(filepath.Join(temp, "llamatab-"+profileKind+"-*")); len(found) > 0 {
					cancel()
				}
				time.Sleep(time.Millisecond)
			}
		}()
		b, err := Start(ctx, Options{})
		cancel()
		if err == nil { // it was there before it could be cancelled
			b.Close()
		}
		if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if err != nil {
			return
		}
	}
	t.Error("the start was never cancelled in time")
}

func TestSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dead := exec.Command(os.Args[0], "-test.run=^$")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	folder := func(id int) string {
		name := filepath.Join(os.TempDir(), fmt.Sprintf("llamatab-%s-%d-1", profileKind, id))
		if err := os.Mkdir(name, 0o777); err != nil {
			t.Fatal(err)
		}
		return name
	}
	ours, theirs := folder(os.Getpid()), folder(dead.Process.Pid)
	sweep()
	if _, err := os.Stat(ours); err != nil {
		t.Errorf("the profile of a living program is gone: %v", err)
	}
	if _, err := os.Stat(theirs); !os.IsNotExist(err) {
		t.Errorf("the profile of a dead program is still there: %v", err)
	}
}

func TestFind(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	if _, err := Find(missing); !errors.Is(err, ErrNoBrowser) || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v", err)
	}
	t.Setenv("CHROME", missing)
	if _, err := Find(""); !errors.Is(err, ErrNoBrowser) {
		t.Errorf("got %v", err)
	}
	if found, err := Find(os.Args[0]); err != nil || found != os.Args[0] {
		t.Errorf("got %q, %v", found, err)
	}
}

// TestFlags: the switches of CHROME_FLAGS reach Chromium, and what is no switch is refused before it starts.
func TestFlags(t *testing.T) {
	t.Setenv("CHROME_FLAGS", "--js-flags=--liftoff-only  --user-agent=flagged")
	b := start(t)
	var agent string
	if err := b.Evaluate(limited(t, servertest.Patience), "navigator.userAgent", &agent); err != nil || agent != "flagged" {
		t.Errorf("the user agent is %q (%v)", agent, err)
	}
	for _, wrong := range []string{"-x", "plain", "--", "--=1"} {
		t.Setenv("CHROME_FLAGS", wrong)
		if b, err := Start(t.Context(), Options{SwiftShader: true}); err == nil || !strings.Contains(err.Error(), "CHROME_FLAGS") {
			t.Errorf("%q: %v", wrong, err)
			if err == nil {
				b.Close()
			}
		}
	}
}
