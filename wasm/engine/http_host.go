//go:build js

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall/js"
	"time"

	"llamatab/engine/message"
	"llamatab/engine/report"
)

// httpHost is the host of a headless job. Files come from the server that started the browser, and go to it.
type httpHost struct {
	base     string     // the job's address, with a slash at its end
	mu       sync.Mutex // guards queue and closing
	queue    []message.Envelope
	closing  bool
	wake     chan struct{} // an envelope was queued
	controls chan message.Control
	sent     chan struct{} // closed when the queue was sent for the last time
}

// heartbeat is the longest time between two requests of an engine. The server can so tell a long step from a dead tab, and
// sends controls in its answers.
const heartbeat = time.Second

func newHTTPHost(base string) *httpHost {
	h := &httpHost{base: base, wake: make(chan struct{}, 1), controls: make(chan message.Control, 64), sent: make(chan struct{})}
	go h.send()
	return h
}

// errUnreachable is wrapped by the errors of requests that got no answer.
var errUnreachable = errors.New("the server cannot be reached")

// errGone is wrapped by the errors of requests for what will not come any more.
var errGone = errors.New("gone")

// fetch makes a request and returns the answer's body as an ArrayBuffer. A status of 400 or more is an error with the
// server's text.
func (h *httpHost) fetch(method, path string, headers map[string]any, body js.Value) (js.Value, error) {
	init := map[string]any{"method": method, "headers": headers}
	if !body.IsUndefined() {
		init["body"] = body
	}
	res, err := await(js.Global().Call("fetch", h.base+path, init))
	if err != nil {
		return res, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	if status := res.Get("status").Int(); status >= 400 {
		text, err := await(res.Call("text"))
		if err != nil {
			return res, fmt.Errorf("the server answered with status %d", status)
		}
		err = errors.New(strings.TrimSpace(text.String()))
		switch status {
		case 404:
			err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		case 410:
			err = fmt.Errorf("%w: %w", errGone, err)
		}
		return res, err
	}
	return await(res.Call("arrayBuffer"))
}

func (h *httpHost) get(path string) ([]byte, error) {
	buffer, err := h.fetch("GET", path, map[string]any{}, js.Undefined())
	if err != nil {
		return nil, err
	}
	p := make([]byte, buffer.Get("byteLength").Int())
	bytesOf(buffer, p)
	return p, nil
}

// fetchJob gets the job and lists its mounts.
func (h *httpHost) fetchJob() (j message.Job, files report.Files, err error) {
	text, err := h.get("job.json")
	if err != nil {
		return j, files, err
	}
	if j, err = parseJob(text); err != nil {
		return j, files, err
	}
	for name := range j.Mounts {
		f, err := h.mount(name)
		if err != nil {
			return j, files, fmt.Errorf("%s: %w", name, err)
		}
		assign(&files, name, f)
	}
	return j, files, nil
}

// assign puts the files of a mount into the field of that name; those with other names are adapters to compare.
func assign(files *report.Files, name string, f fs.FS) {
	switch name {
	case "model":
		files.Model = f
	case "dataset":
		files.Dataset = f
	case "adapter":
		files.Adapter = f
	case "resume":
		files.Resume = f
	case "tokenizer":
		files.Tokenizer = f
	case "head":
		files.Head = f
	case "base":
		files.Base = f
	default:
		if files.Compare == nil {
			files.Compare = map[string]fs.FS{}
		}
		files.Compare[name] = f
	}
}

func (h *httpHost) mount(name string) (folder, error) { return h.folder("files/" + name + "/") }

// Open implements report.Host.
func (h *httpHost) Open(path string) (fs.FS, error) {
	f, err := h.folder("out/" + escape(path) + "/")
	if err != nil { // not the nil folder as an interface
		return nil, err
	}
	return f, nil
}

// folder lists the files below an address of the job.
func (h *httpHost) folder(base string) (folder, error) {
	text, err := h.get(base + "?list")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Name string `json:"name"`
		Size int64  `json:"size"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	f := folder{}
	for _, e := range list {
		path := base + escape(e.Name)
		f[e.Name] = &remote{name: e.Name, size: e.Size, read: func(p []byte, offset int64) (int, error) { return h.readAt(path, p, offset) }}
	}
	return f, nil
}

// readAt fetches a range of a file.
func (h *httpHost) readAt(path string, p []byte, offset int64) (int, error) {
	buffer, err := h.fetch("GET", path, map[string]any{"Range": fmt.Sprintf("bytes=%d-%d", offset, offset+int64(len(p))-1)}, js.Undefined())
	if err != nil {
		return 0, err
	}
	return bytesOf(buffer, p), nil
}

// Emit implements report.Host.
func (h *httpHost) Emit(es ...message.Envelope) {
	h.mu.Lock()
	h.queue = append(h.queue, es...)
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// send posts the queued envelopes in order and takes the controls of the answers.
func (h *httpHost) send() {
	defer close(h.sent)
	for {
		select {
		case <-h.wake:
		case <-time.After(heartbeat):
		}
		h.mu.Lock()
		batch, last := h.queue, h.closing
		h.queue = nil
		h.mu.Unlock()
		if batch == nil {
			batch = []message.Envelope{}
		}
		body, err := json.Marshal(batch)
		if err != nil { // an envelope holds only what JSON can write
			panic(err)
		}
		answer, err := h.fetch("POST", "messages", map[string]any{"Content-Type": "application/json"}, uint8Array(body))
		if err == nil {
			p := make([]byte, answer.Get("byteLength").Int())
			bytesOf(answer, p)
			var reply struct {
				Control []message.Control `json:"control"`
			}
			if json.Unmarshal(p, &reply) == nil {
				for _, c := range reply.Control {
					h.controls <- c
				}
			}
		}
		h.mu.Lock()
		if errors.Is(err, errUnreachable) { // sent again with the next heartbeat, before later envelopes
			h.queue = append(batch, h.queue...)
		}
		last = last && len(h.queue) == 0
		h.mu.Unlock()
		if last {
			return
		}
	}
}

// close sends the rest of the queue and waits until it was sent.
func (h *httpHost) close() {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	h.Emit()
	<-h.sent
}

// Ask implements report.Asker. An answer without a body means that no conversation has come yet.
func (h *httpHost) Ask() (message.Ask, error) {
	for {
		text, err := h.get("ask")
		var ask message.Ask
		switch {
		case errors.Is(err, errGone):
			return ask, io.EOF
		case errors.Is(err, errUnreachable):
			time.Sleep(heartbeat)
		case err != nil:
			return ask, err
		case len(text) > 0:
			return ask, json.Unmarshal(text, &ask)
		}
	}
}

// Control implements report.Host.
func (h *httpHost) Control() message.Control { return next(h.controls) }

// next is the next control that waits, "" for none.
func next(c chan message.Control) message.Control {
	select {
	case control := <-c:
		return control
	default:
		return ""
	}
}

// Create implements report.Host.
func (h *httpHost) Create(path string) (io.WriteCloser, error) {
	return &upload{flush: func(p []byte, offset int64) error {
		_, err := h.fetch("POST", fmt.Sprintf("out/%s?offset=%d", escape(path), offset), map[string]any{}, uint8Array(p))
		return err
	}}, nil
}

// Commit implements report.Host.
func (h *httpHost) Commit(path string) error {
	_, err := h.fetch("POST", "commit/"+escape(path), map[string]any{}, js.Undefined())
	return err
}

// Remove implements report.Host.
func (h *httpHost) Remove(path string) error {
	_, err := h.fetch("DELETE", "out/"+escape(path), map[string]any{}, js.Undefined())
	return err
}

// escape encodes a path for an address. It calls the browser, as net/url would add 25 kB to the program.
func escape(path string) string {
	escaped := js.Global().Get("encodeURIComponent").Invoke(path).String()
	return strings.ReplaceAll(escaped, "%2F", "/")
}
