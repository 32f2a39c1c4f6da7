package headless

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/input"
	cdppage "github.com/chromedp/cdproto/page"
	cdruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

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

// Drop drops a file of this computer on the element that a CSS selector names, as a person does with the mouse.
func (b *Browser) Drop(ctx context.Context, selector, path string) error {
	name, err := json.Marshal(selector)
	if err != nil {
		return err
	}
	var at struct{ X, Y float64 }
	err = b.Evaluate(ctx, `(() => { const e = document.querySelector(`+string(name)+`); e.scrollIntoView({ block: "center" });
		const r = e.getBoundingClientRect(); return { X: r.x + r.width / 2, Y: r.y + r.height / 2 }; })()`, &at)
	if err != nil {
		return err
	}
	data := &input.DragData{Items: []*input.DragDataItem{}, Files: []string{path}, DragOperationsMask: 1} // a copy
	return b.do(ctx, "dropping a file", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		for _, kind := range []input.DispatchDragEventType{input.DispatchDragEventTypeDragEnter, input.DispatchDragEventTypeDragOver, input.DispatchDragEventTypeDrop} {
			if _, err := cdp.Call(ctx, t, input.DispatchDragEvent, input.DispatchDragEventParams{Type: kind, X: at.X, Y: at.Y, Data: data}); err != nil {
				return err
			}
		}
		return nil
	}))
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
