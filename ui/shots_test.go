//go:build !js

package ui

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

func TestShots(t *testing.T) {
	address := site(t)
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.Flag("enable-unsafe-webgpu", true), chromedp.Flag("use-webgpu-adapter", "swiftshader"))
	actx, c1 := chromedp.NewExecAllocator(context.Background(), opts...)
	defer c1()
	ctx, c2 := chromedp.NewContext(actx)
	defer c2()
	os.MkdirAll("/tmp/shots", 0o777)
	ev := func(s string) {
		if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void]("(()=>{"+s+"})()")); err != nil {
			t.Fatal(s, err)
		}
	}
	choose := func(id, names string) {
		ev(`const t=new DataTransfer(); for (const n of ` + names + `) t.items.add(new File([new Uint8Array(300000)], n)); const i=document.getElementById("` + id + `"); i.files=t.files; i.dispatchEvent(new Event("change",{bubbles:true}))`)
	}
	shot := func(name string) {
		b, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile("/tmp/shots/"+name+".png", b, 0o666)
	}
	for _, lang := range []string{"en", "zh-CN"} {
		for _, theme := range []string{"light", "dark"} {
			for _, w := range []int64{1280, 320} {
				name := fmt.Sprintf("%s-%s-%d", lang, theme, w)
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(w, 800), func(ctx context.Context, tt *chromedp.Target) (chromedp.Void, error) {
					_, err := cdp.Call(ctx, tt, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
					return chromedp.Void{}, err
				}, chromedp.Navigate(address+"/?lang="+lang)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(700 * time.Millisecond)
				shot(name + "-idle")
				choose("model-input", `["config.json","tokenizer.json","model.safetensors"]`)
				choose("data-input", `["rows.jsonl"]`)
				ev(`document.getElementById("more").click(); document.getElementById("max-steps").value=300`)
				time.Sleep(200 * time.Millisecond)
				ev(`document.getElementById("start").click()`)
				time.Sleep(1500 * time.Millisecond)
				shot(name + "-train")
				time.Sleep(1500 * time.Millisecond)
				shot(name + "-done")
				choose("data-input", `["fails.jsonl"]`)
				time.Sleep(200 * time.Millisecond)
				ev(`document.getElementById("start").click()`)
				time.Sleep(900 * time.Millisecond)
				shot(name + "-failed")
				ev(`if (document.documentElement.scrollWidth > innerWidth) console.log("wide")`)
				wide, _ := chromedp.Run(ctx, chromedp.Evaluate[float64]("document.documentElement.scrollWidth - innerWidth"))
				t.Log(name, wide)
			}
		}
	}
}
