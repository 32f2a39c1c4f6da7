package ui

import (
	"encoding/json"

	"llamatab/engine/message"
)

// browser is what the page needs of the browser: each method is a function of js/page.js with the same name. The result of a
// call, if it has one, arrives later as a message (messages.go). Tests of the page's logic use fakeBrowser.
type browser interface {
	engines
	keptRuns
	hubRequests
	rooms
	runChart
	elements

	// The address and the document.
	GoTo(screen string)                 // asks for another screen, which comes back as an address
	ReplaceAddress(read, screen string) // puts a screen in place of a fragment that has been read
	Reload()
	SetLanguage(tag string, chosen bool) // chosen: the browser remembers it
	SetTheme(name string)                // "auto", "light" or "dark"

	Description() json.RawMessage // of the settings, as the server has it in /describe.json

	// What the browser remembers of the person's choices; "" for nothing.
	Language() string
	Theme() string
	Remember(name, value string)
	Remembered(name string) string

	// What leaves the page for the person.
	Copy(text string, shown bool) // to the clipboard; shown: the text is on the page, too, so that a failure is no problem
	SaveJSON(name, text string)
}

// engines are the page's engines (js/page_engines.js).
type engines interface {
	StartRun(job message.Job, sources map[string]source, meta runMeta, step int) // step is where the record goes on; 0 begins a new one
	AskSideEngine(job message.Job, sources map[string]source)
	StartChat(job message.Job, sources map[string]source) // in place of a chat before
	AskChat(ask message.Ask)
	ControlEngine(engine string, control message.Control)
	EndEngine(engine string)
}

// keptRuns are the runs that the browser keeps (js/kept_runs.js).
type keptRuns interface {
	ListRuns()
	OpenRun(id string, upTo int) // reads its record up to a step
	RemoveRun(id string)
	// Download packs what a run has below some paths as a zip. Without a run it packs what lies in the page's memory.
	Download(run string, paths []string, name, readme string)
}

// hubRequests are the requests about models of a hub (js/hub.js). The way is byServer or byBrowser.
type hubRequests interface {
	FetchModel(name, way string) // begins to fetch a model, or goes on
	PauseFetch(name, way string)
	CancelFetch(name, way string)
	RemoveModel(name, way string) // a model that is there, by its name in the server's list or its key in the browser's storage
}

// rooms are the requests to the server about rooms (js/room.js, js/upload.js).
type rooms interface {
	RecallRoom() // requests the room that this tab was in before a reload, or the one that this browser has opened
	ReturnToOwnedRoom()
	CreateRoom(roomRequest)
	JoinRoom(message.SeatRequest)
	WatchRoom()
	PlanRoom(tabs int)
	ReportSeat(message.SeatReport)
	ActInRoom(op string, tab uint32) // tab 0: the whole room
	LeaveRoom()
	ForgetRoom()
	ShowRoom(link string)                                      // the curve and, with a link, its QR code
	Upload(sources map[string]source, names map[string]string) // both by kind, "model" or "dataset"
	StopUpload()
}

// runChart are the charts of the run (js/chart_run.js).
type runChart interface {
	ShowRunChart(words map[string]string)
	ClearChart()
	SavePicture(kind, name string) // "svg", "png" or "csv"
}

// elements are those whose content vugu leaves alone (js/elements.js): each call waits until the element is there.
type elements interface {
	SetText(id, text string)
	AppendText(id, text string)
	ShowPreview(preview *message.DataPreview, words map[string]string)
	Focus(id string)
	ValueOf(id string) string    // what stands in a control
	TakeText(id string)          // empties a control, also while the person is typing in it
	RestoreText(id, text string) // puts a text into a control that is empty
}
