package main

import (
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"path"
	"strings"
	"syscall/js"

	"llamatab/engine/message"
	"llamatab/engine/train"
)

// pageHost is the host of jobs that the page posts. Results go to the page as Blobs, which live outside this
// program's memory.
type pageHost struct {
	jobs     chan js.Value
	controls chan message.Control
	parts    map[string][]any // unfinished files: Uint8Arrays
	blobs    folder           // finished files of the job, by path
}

func newPageHost() *pageHost {
	p := &pageHost{jobs: make(chan js.Value, 8), controls: make(chan message.Control, 64), parts: map[string][]any{}}
	js.Global().Set("onmessage", js.FuncOf(func(_ js.Value, args []js.Value) any {
		switch m := args[0].Get("data"); m.Get("type").String() {
		case "job":
			p.jobs <- m
		case "control":
			select {
			case p.controls <- message.Control(m.Get("control").String()):
			default: // nobody presses a button that often
			}
		}
		return nil
	}))
	return p
}

func (p *pageHost) nextJob() (message.Job, train.Files, error) {
	m := <-p.jobs
	p.blobs = folder{}
	var files train.Files
	if given := m.Get("files"); given.Type() == js.TypeObject {
		names := js.Global().Get("Object").Call("keys", given)
		for i := range names.Length() {
			name := names.Index(i).String()
			assign(&files, name, fromFiles(given.Get(name)))
		}
	}
	j, err := parseJob([]byte(m.Get("job").String()))
	return j, files, err
}

func post(m map[string]any) { js.Global().Call("postMessage", m) }

// Emit implements train.Host.
func (p *pageHost) Emit(es ...message.Envelope) {
	text, err := json.Marshal(es)
	if err != nil { // a message that cannot be spelled is a fault of ours
		panic(err)
	}
	post(map[string]any{"type": "envelopes", "json": string(text)})
}

// Control implements train.Host.
func (p *pageHost) Control() message.Control { return next(p.controls) }

// Create implements train.Host.
func (p *pageHost) Create(path string) (io.WriteCloser, error) {
	p.parts[path] = nil
	return &upload{flush: func(b []byte, _ int64) error {
		p.parts[path] = append(p.parts[path], uint8Array(b))
		return nil
	}}, nil
}

// within reports whether a path is a file or folder, or lies in it.
func within(name, which string) bool { return name == which || strings.HasPrefix(name, which+"/") }

// Commit implements train.Host.
func (p *pageHost) Commit(which string) error {
	for name, parts := range p.parts {
		if within(name, which) {
			blob := js.Global().Get("Blob").New(parts)
			post(map[string]any{"type": "file", "path": name, "blob": blob})
			p.blobs[name] = fromBlob(path.Base(name), blob)
			delete(p.parts, name)
		}
	}
	return nil
}

// Remove implements train.Host.
func (p *pageHost) Remove(which string) error {
	maps.DeleteFunc(p.parts, func(name string, _ []any) bool { return within(name, which) })
	maps.DeleteFunc(p.blobs, func(name string, _ *remote) bool { return within(name, which) })
	post(map[string]any{"type": "removed", "path": which})
	return nil
}

// Open implements train.Host.
func (p *pageHost) Open(dir string) (fs.FS, error) {
	f := folder{}
	for name, file := range p.blobs {
		if path.Dir(name) == dir {
			f[path.Base(name)] = file
		}
	}
	if len(f) == 0 {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: fs.ErrNotExist}
	}
	return f, nil
}
