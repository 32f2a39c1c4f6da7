package headless

import (
	"context"
	"encoding/json"
	"fmt"

	cdruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

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
