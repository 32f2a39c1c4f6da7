package ui

import (
	"encoding/json"
	"syscall/js"

	"llamatab/engine/message"
)

// jsBrowser is the browser: globalThis.llamatabPage of js/page.js.
type jsBrowser struct{ page js.Value }

// jsonText is how a value that is neither text, a number nor a boolean goes to JavaScript.
func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain values
	}
	return string(text)
}

// The page's own life: see js/inbox.js, js/elements.js and js/page.js.

func (b jsBrowser) Listen(f js.Func) { b.page.Call("listen", f) }
func (b jsBrowser) Start()           { b.page.Call("start") }
func (b jsBrowser) Drain() []byte    { return []byte(b.page.Call("drain").String()) }
func (b jsBrowser) Rendered()        { b.page.Call("rendered") }

func (b jsBrowser) StartRun(job message.Job, sources map[string]source, meta runMeta, step int) {
	b.page.Call("startRun", jsonText(job), jsonText(sources), jsonText(meta), step)
}

func (b jsBrowser) AskSideEngine(job message.Job, sources map[string]source) {
	b.page.Call("askSideEngine", jsonText(job), jsonText(sources))
}

func (b jsBrowser) StartChat(job message.Job, sources map[string]source) {
	b.page.Call("startChat", jsonText(job), jsonText(sources))
}

func (b jsBrowser) AskChat(ask message.Ask) { b.page.Call("askChat", jsonText(ask)) }

func (b jsBrowser) ControlEngine(engine string, control message.Control) {
	b.page.Call("controlEngine", engine, string(control))
}

func (b jsBrowser) EndEngine(engine string) { b.page.Call("endEngine", engine) }

func (b jsBrowser) ListRuns()                   { b.page.Call("listRuns") }
func (b jsBrowser) OpenRun(id string, upTo int) { b.page.Call("openRun", id, upTo) }
func (b jsBrowser) RemoveRun(id string)         { b.page.Call("removeRun", id) }

func (b jsBrowser) Download(run string, paths []string, name, readme string) {
	b.page.Call("download", run, jsonText(paths), name, readme)
}

func (b jsBrowser) FetchModel(name, way string)  { b.page.Call("fetchModel", name, way) }
func (b jsBrowser) PauseFetch(name, way string)  { b.page.Call("pauseFetch", name, way) }
func (b jsBrowser) CancelFetch(name, way string) { b.page.Call("cancelFetch", name, way) }
func (b jsBrowser) RemoveModel(name, way string) { b.page.Call("removeModel", name, way) }

func (b jsBrowser) RecallRoom()                     { b.page.Call("recallRoom") }
func (b jsBrowser) ReturnToOwnedRoom()              { b.page.Call("returnToOwnedRoom") }
func (b jsBrowser) CreateRoom(r roomRequest)        { b.page.Call("createRoom", jsonText(r)) }
func (b jsBrowser) JoinRoom(r message.SeatRequest)  { b.page.Call("joinRoom", jsonText(r)) }
func (b jsBrowser) WatchRoom()                      { b.page.Call("watchRoom") }
func (b jsBrowser) PlanRoom(tabs int)               { b.page.Call("planRoom", tabs) }
func (b jsBrowser) ReportSeat(r message.SeatReport) { b.page.Call("reportSeat", jsonText(r)) }
func (b jsBrowser) ActInRoom(op string, tab uint32) { b.page.Call("actInRoom", op, tab) }
func (b jsBrowser) LeaveRoom()                      { b.page.Call("leaveRoom") }
func (b jsBrowser) ForgetRoom()                     { b.page.Call("forgetRoom") }
func (b jsBrowser) ShowRoom(link string)            { b.page.Call("showRoom", link) }
func (b jsBrowser) StopUpload()                     { b.page.Call("stopUpload") }

func (b jsBrowser) Upload(sources map[string]source, names map[string]string) {
	b.page.Call("upload", jsonText(sources), jsonText(names))
}

func (b jsBrowser) ShowRunChart(words map[string]string) {
	b.page.Call("showRunChart", jsonText(words))
}
func (b jsBrowser) ClearChart()                   { b.page.Call("clearChart") }
func (b jsBrowser) SavePicture(kind, name string) { b.page.Call("savePicture", kind, name) }

func (b jsBrowser) SetText(id, text string)     { b.page.Call("setText", id, text) }
func (b jsBrowser) AppendText(id, text string)  { b.page.Call("appendText", id, text) }
func (b jsBrowser) Focus(id string)             { b.page.Call("focus", id) }
func (b jsBrowser) TakeText(id string)          { b.page.Call("takeText", id) }
func (b jsBrowser) RestoreText(id, text string) { b.page.Call("restoreText", id, text) }
func (b jsBrowser) ValueOf(id string) string    { return b.page.Call("valueOf", id).String() }

func (b jsBrowser) ShowPreview(preview *message.DataPreview, words map[string]string) {
	b.page.Call("showPreview", jsonText(preview), jsonText(words))
}

func (b jsBrowser) GoTo(screen string)                  { b.page.Call("goTo", screen) }
func (b jsBrowser) ReplaceAddress(read, screen string)  { b.page.Call("replaceAddress", read, screen) }
func (b jsBrowser) Reload()                             { b.page.Call("reload") }
func (b jsBrowser) SetLanguage(tag string, chosen bool) { b.page.Call("setLanguage", tag, chosen) }
func (b jsBrowser) SetTheme(name string)                { b.page.Call("setTheme", name) }

func (b jsBrowser) Description() json.RawMessage {
	return json.RawMessage(b.page.Call("description").String())
}

func (b jsBrowser) Language() string              { return b.page.Call("language").String() }
func (b jsBrowser) Theme() string                 { return b.page.Call("theme").String() }
func (b jsBrowser) Remember(name, value string)   { b.page.Call("remember", name, value) }
func (b jsBrowser) Remembered(name string) string { return b.page.Call("remembered", name).String() }

func (b jsBrowser) Copy(text string, shown bool) { b.page.Call("copy", text, shown) }
func (b jsBrowser) SaveJSON(name, text string)   { b.page.Call("saveJSON", name, text) }
