package ui

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"syscall/js"
	"time"

	"github.com/vugu/vugu"
	"github.com/vugu/vugu/domrender"

	"llamatab/engine/message"
)

// renderEvery is the least time between two renders that the engine causes: each rewrites the whole page.
const renderEvery = 100 * time.Millisecond

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
	page := NewPage(b, b.page.Call("language").String())
	go pump(b, page, env)
	for ok := true; ok; ok = renderer.EventWait() {
		env.RLock()
		result := build.RunBuild(page)
		env.RUnlock()
		if err := renderer.Render(result); err != nil {
			panic(err)
		}
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

// browser is the host: every method is one of page.js.
type browser struct{ page js.Value }

func (b browser) Form() map[string]string {
	var form map[string]string
	json.Unmarshal([]byte(b.page.Call("form").String()), &form) // an object of strings, made by page.js
	return form
}

func (b browser) Start(job message.Job, model, data []int) {
	text, err := json.Marshal(job)
	if err != nil {
		panic(err) // plain values
	}
	b.page.Call("start", string(text), positions(model), positions(data))
}

func positions(list []int) js.Value {
	array := js.Global().Get("Array").New(len(list))
	for i, v := range list {
		array.SetIndex(i, v)
	}
	return array
}

func (b browser) Control(c message.Control) { b.page.Call("control", string(c)) }
func (b browser) End()                      { b.page.Call("end") }
func (b browser) Download(name string)      { b.page.Call("download", name) }
func (b browser) Status(text string)        { b.page.Call("status", text) }
func (b browser) Focus(id string)           { b.page.Call("focus", id) }

func (b browser) Language(tag string, chosen bool) { b.page.Call("speak", tag, chosen) }

func (b browser) Put(path string, text []byte, add bool) {
	array := js.Global().Get("Uint8Array").New(len(text))
	js.CopyBytesToJS(array, text)
	b.page.Call("put", path, array, add)
}

func (b browser) Chart(c *Curve, names [3]string) {
	b.page.Call("chart", floats(c.Step), floats(c.Loss), floats(c.Smooth), names[0], names[1], names[2])
}

// floats copies values into a Float64Array.
func floats(values []float64) js.Value {
	bytes := make([]byte, 0, 8*len(values))
	for _, v := range values {
		bytes = binary.LittleEndian.AppendUint64(bytes, math.Float64bits(v))
	}
	array := js.Global().Get("Uint8Array").New(len(bytes))
	js.CopyBytesToJS(array, bytes)
	return js.Global().Get("Float64Array").New(array.Get("buffer"))
}
