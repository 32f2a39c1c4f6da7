//go:build js

package main

import (
	"encoding/json"
	"syscall/js"

	"llamatab/engine/message"
)

// The messages between page and worker. The page posts
//
//	{type: "job", job, files, run}     a job; see pageJob
//	{type: "job", gone}                a job whose files are gone
//	{type: "control", control}         a message.Control for the running job
//	{type: "ask", ask}                 a message.Ask for the running chat job, as JSON
//
// and the worker posts
//
//	{type: "envelopes", json}          a JSON list of message.Envelopes
//	{type: "file", path, size, blob}   a file of the result is complete; it is on disk if blob is absent
//	{type: "removed", path}            a file or folder of the result is gone
//
// worker.js itself takes {type: "start"} and posts a message.Envelope as text when the engine dies.

// pageJob is a job that the page posts.
type pageJob struct {
	job   string              // a message.Job as JSON
	gone  string              // the files that the browser does not have any more, "" where it has all
	files map[string]js.Value // by mount: a list of File objects, or of {name, size, url} for files of the server
	run   *pageRun            // for a training run that the browser keeps, else nil
}

// pageRun is the run that a job belongs to.
type pageRun struct {
	id   string
	meta string            // what the page notes of the run, as JSON
	step int               // of the checkpoint from which it goes on; 0: the run is new; -1: it has no checkpoint and begins again
	keys map[string]string // by mount: the key under which chosen files are copied
}

func parsePageJob(m js.Value) pageJob {
	j := pageJob{job: text(m.Get("job")), gone: text(m.Get("gone")), files: entries(m.Get("files"))}
	if run := m.Get("run"); run.Type() == js.TypeObject {
		j.run = &pageRun{id: text(run.Get("id")), meta: text(run.Get("meta")), step: run.Get("step").Int(), keys: map[string]string{}}
		for mount, key := range entries(run.Get("keys")) {
			j.run.keys[mount] = key.String()
		}
	}
	return j
}

// text is a string, "" for a value that is none.
func text(v js.Value) string {
	if v.Type() != js.TypeString {
		return ""
	}
	return v.String()
}

// entries are the properties of an object, none for a value that is no object.
func entries(object js.Value) map[string]js.Value {
	all := map[string]js.Value{}
	if object.Type() == js.TypeObject {
		names := js.Global().Get("Object").Call("keys", object)
		for i := range names.Length() {
			name := names.Index(i).String()
			all[name] = object.Get(name)
		}
	}
	return all
}

func post(m map[string]any) { js.Global().Call("postMessage", m) }

func postEnvelopes(es []message.Envelope) {
	text, err := json.Marshal(es)
	if err != nil { // an envelope holds only what JSON can write
		panic(err)
	}
	post(map[string]any{"type": "envelopes", "json": string(text)})
}

// postFile tells that a file is on disk.
func postFile(path string, size int64) {
	post(map[string]any{"type": "file", "path": path, "size": float64(size)})
}

// postBlob hands over a file that is only in memory.
func postBlob(path string, blob js.Value) {
	post(map[string]any{"type": "file", "path": path, "size": blob.Get("size"), "blob": blob})
}

func postRemoved(path string) { post(map[string]any{"type": "removed", "path": path}) }
