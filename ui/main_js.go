package ui

import (
	"encoding/json"
	"syscall/js"
	"time"

	"github.com/vugu/vugu"
	"github.com/vugu/vugu/domrender"
)

// renderEvery is the least time between two renders that the engine causes: each rewrites the whole page.
const renderEvery = 150 * time.Millisecond

// Main runs the page in the element with the id app. It returns when the page ends.
func Main() {
	renderer, err := domrender.New("#app")
	if err != nil {
		panic(err)
	}
	env := renderer.EventEnv()
	build, err := vugu.NewBuildEnv(env)
	if err != nil {
		panic(err)
	}
	time.Sleep(time.Millisecond) // the program's start was one task for the browser; the first render is another
	b := browser{js.Global().Get("llamatabPage")}
	page := NewPage(b, b.page.Call("language").String(), b.page.Call("theme").String())
	page.Studio.describe(json.RawMessage(js.Global().Get("llamatab").Get("description").String()))
	go pump(b, page, env)
	for ok := true; ok; ok = renderer.EventWait() {
		env.RLock()
		result := build.RunBuild(page)
		env.RUnlock()
		time.Sleep(time.Millisecond) // building and rendering are two tasks for the browser, which can do something between
		if err := renderer.Render(result); err != nil {
			panic(err)
		}
		b.Call("rendered")
	}
}

// pump brings what page.js tells into the page, at most once every renderEvery.
func pump(b browser, page *Page, env vugu.EventEnv) {
	told := make(chan struct{}, 1)
	b.page.Call("listen", js.FuncOf(func(js.Value, []js.Value) any {
		select {
		case told <- struct{}{}:
		default:
		}
		return nil
	}))
	for range told {
		env.Lock()
		page.receive(time.Now(), []byte(b.page.Call("drain").String()))
		env.UnlockRender()
		time.Sleep(renderEvery)
	}
}

// browser is the host: every call is one of page.js.
type browser struct{ page js.Value }

func (b browser) Value(id string) string { return b.page.Call("value", id).String() }

func (b browser) Remembered(name string) string { return b.page.Call("remembered", name).String() }

func (b browser) Call(name string, args ...any) {
	list := make([]any, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case string, int, bool:
			list[i] = v
		default:
			text, err := json.Marshal(v)
			if err != nil {
				panic(err) // plain values
			}
			list[i] = string(text)
		}
	}
	b.page.Call(name, list...)
}
