package ui

import (
	"syscall/js"
	"time"

	"github.com/vugu/vugu"
	"github.com/vugu/vugu/domrender"
)

// renderEvery is the least time between two renders that messages cause: each rewrites the whole page.
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
	time.Sleep(time.Millisecond) // the start of the program and the first render are two tasks of the browser
	b := jsBrowser{js.Global().Get("llamatabPage")}
	page := NewPage(b)
	go receiveMessages(b, page, env)
	for ok := true; ok; ok = renderer.EventWait() {
		env.RLock()
		result := build.RunBuild(page)
		env.RUnlock()
		time.Sleep(time.Millisecond) // building and rendering are two tasks, so that the browser can handle events between them
		if err := renderer.Render(result); err != nil {
			panic(err)
		}
		b.Rendered()
	}
}

// receiveMessages brings the messages of the page's JavaScript into the page, at most once every renderEvery.
func receiveMessages(b jsBrowser, page *Page, env vugu.EventEnv) {
	waiting := make(chan struct{}, 1)
	b.Listen(js.FuncOf(func(js.Value, []js.Value) any {
		select {
		case waiting <- struct{}{}:
		default:
		}
		return nil
	}))
	b.Start()
	for range waiting {
		env.Lock()
		page.receive(time.Now(), b.Drain())
		env.UnlockRender()
		time.Sleep(renderEvery)
	}
}
