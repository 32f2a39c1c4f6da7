package ui

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"llamatab/engine/message"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// fakeBrowser stands in for the browser: it notes what it is asked for and remembers nothing.
type fakeBrowser struct {
	calls []string
	jobs  []message.Job     // of the side engine and of the chat
	asks  []message.Ask     // put to the chat
	texts map[string]string // that ValueOf reads, by element
}

func (b *fakeBrowser) note(name string, args ...any) {
	b.calls = append(b.calls, strings.TrimSpace(name+" "+strings.TrimSuffix(fmt.Sprintln(args...), "\n")))
}

// count is how many calls begin with a text.
func (b *fakeBrowser) count(start string) (n int) {
	for _, call := range b.calls {
		if strings.HasPrefix(call, start) {
			n++
		}
	}
	return n
}

func (b *fakeBrowser) StartRun(message.Job, map[string]source, runMeta, int) { b.note("StartRun") }
func (b *fakeBrowser) AskSideEngine(j message.Job, _ map[string]source) {
	b.jobs = append(b.jobs, j)
	b.note("AskSideEngine")
}
func (b *fakeBrowser) StartChat(j message.Job, sources map[string]source) {
	b.jobs = append(b.jobs, j)
	b.note("StartChat", sources)
}
func (b *fakeBrowser) AskChat(a message.Ask) {
	b.asks = append(b.asks, a)
	b.note("AskChat", a.Number)
}
func (b *fakeBrowser) ControlEngine(e string, c message.Control) { b.note("ControlEngine", e, c) }
func (b *fakeBrowser) EndEngine(e string)                        { b.note("EndEngine", e) }
func (b *fakeBrowser) ListRuns()                                 { b.note("ListRuns") }
func (b *fakeBrowser) OpenRun(id string, upTo int)               { b.note("OpenRun", id, upTo) }
func (b *fakeBrowser) RemoveRun(id string)                       { b.note("RemoveRun", id) }
func (b *fakeBrowser) Download(run string, paths []string, name, _ string) {
	b.note("Download", run, paths, name)
}
func (b *fakeBrowser) FetchModel(name, way string)     { b.note("FetchModel", name, way) }
func (b *fakeBrowser) PauseFetch(name, way string)     { b.note("PauseFetch", name, way) }
func (b *fakeBrowser) CancelFetch(name, way string)    { b.note("CancelFetch", name, way) }
func (b *fakeBrowser) RemoveModel(name, way string)    { b.note("RemoveModel", name, way) }
func (b *fakeBrowser) RecallRoom()                     { b.note("RecallRoom") }
func (b *fakeBrowser) ReturnToOwnedRoom()              { b.note("ReturnToOwnedRoom") }
func (b *fakeBrowser) CreateRoom(r roomRequest)        { b.note("CreateRoom", r.Name) }
func (b *fakeBrowser) JoinRoom(r message.SeatRequest)  { b.note("JoinRoom", r) }
func (b *fakeBrowser) WatchRoom()                      { b.note("WatchRoom") }
func (b *fakeBrowser) PlanRoom(tabs int)               { b.note("PlanRoom", tabs) }
func (b *fakeBrowser) ReportSeat(r message.SeatReport) { b.note("ReportSeat", r) }
func (b *fakeBrowser) ActInRoom(op string, t uint32)   { b.note("ActInRoom", op, t) }
func (b *fakeBrowser) LeaveRoom()                      { b.note("LeaveRoom") }
func (b *fakeBrowser) ForgetRoom()                     { b.note("ForgetRoom") }
func (b *fakeBrowser) ShowRoom(link string)            { b.note("ShowRoom", link) }
func (b *fakeBrowser) Upload(_ map[string]source, names map[string]string) {
	b.note("Upload", names)
}
func (b *fakeBrowser) StopUpload()                                         { b.note("StopUpload") }
func (b *fakeBrowser) ShowRunChart(map[string]string)                      { b.note("ShowRunChart") }
func (b *fakeBrowser) ClearChart()                                         { b.note("ClearChart") }
func (b *fakeBrowser) SavePicture(kind, name string)                       { b.note("SavePicture", kind, name) }
func (b *fakeBrowser) SetText(id, text string)                             { b.note("SetText", id, text) }
func (b *fakeBrowser) AppendText(id, text string)                          { b.note("AppendText", id, text) }
func (b *fakeBrowser) ShowPreview(*message.DataPreview, map[string]string) { b.note("ShowPreview") }
func (b *fakeBrowser) Focus(id string)                                     { b.note("Focus", id) }
func (b *fakeBrowser) ValueOf(id string) string                            { return b.texts[id] }
func (b *fakeBrowser) TakeText(id string)                                  { delete(b.texts, id) }
func (b *fakeBrowser) RestoreText(id, text string)                         { b.note("RestoreText", id, text) }
func (b *fakeBrowser) GoTo(screen string)                                  { b.note("GoTo", screen) }
func (b *fakeBrowser) ReplaceAddress(read, screen string)                  { b.note("ReplaceAddress", read, screen) }
func (b *fakeBrowser) Reload()                                             { b.note("Reload") }
func (b *fakeBrowser) SetLanguage(tag string, chosen bool)                 { b.note("SetLanguage", tag, chosen) }
func (b *fakeBrowser) SetTheme(name string)                                { b.note("SetTheme", name) }
func (b *fakeBrowser) Description() json.RawMessage                        { return json.RawMessage("{}") }
func (b *fakeBrowser) Language() string                                    { return "en" }
func (b *fakeBrowser) Theme() string                                       { return "auto" }
func (b *fakeBrowser) Remember(name, value string)                         { b.note("Remember", name, value) }
func (b *fakeBrowser) Remembered(string) string                            { return "" }
func (b *fakeBrowser) Copy(text string, shown bool)                        { b.note("Copy", text, shown) }
func (b *fakeBrowser) SaveJSON(name, text string)                          { b.note("SaveJSON", name, text) }
