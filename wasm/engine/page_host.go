//go:build js

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"strings"
	"syscall/js"
	"time"

	"llamatab/engine/message"
	"llamatab/engine/report"
)

// saveEvery is the longest time that a run of the page goes on without a checkpoint. A crash costs no more than that.
const saveEvery = time.Minute

// pageHost is the host of the jobs that the page posts. The results of a training run are kept in the browser's own file
// system, beside its record. The results of other jobs, and those that find no room there, go to the page as Blobs.
// Both lie outside this program's memory.
type pageHost struct {
	jobs     chan pageJob
	controls chan message.Control
	asks     chan string      // conversations for a chat job, as JSON
	parts    map[string][]any // files that are not committed, as lists of Blobs
	blobs    folder           // committed files that are not on disk, by path
	run      *keptRun         // nil for a job that is no run
	saved    time.Time        // when the run last had a checkpoint
}

func newPageHost() *pageHost {
	p := &pageHost{jobs: make(chan pageJob, 8), controls: make(chan message.Control, 64), asks: make(chan string, 8)}
	js.Global().Set("onmessage", js.FuncOf(func(_ js.Value, args []js.Value) any {
		switch m := args[0].Get("data"); m.Get("type").String() {
		case "job":
			p.jobs <- parsePageJob(m)
		case "control":
			select {
			case p.controls <- message.Control(m.Get("control").String()):
			default: // nobody presses a button that often
			}
		case "ask":
			p.asks <- text(m.Get("ask"))
		}
		return nil
	}))
	return p
}

// nextJob waits for a job of the page and opens its files.
func (p *pageHost) nextJob() (j message.Job, files report.Files, err error) {
	m := <-p.jobs
	for next(p.controls) != "" { // meant for the job before
	}
	p.parts, p.blobs, p.run, p.saved = map[string][]any{}, folder{}, nil, time.Now()
	if m.gone != "" {
		return j, files, &report.Error{Code: "inputs_gone", Next: "Choose the files again.", Exit: report.ExitFailed, Err: fmt.Errorf("files that the browser does not have any more: %s", m.gone)}
	}
	for mount, list := range m.files {
		assign(&files, mount, fromFiles(list))
	}
	if m.run != nil {
		if p.run, err = keep(*m.run, m.files); err != nil {
			return j, files, err
		}
	}
	j, err = parseJob([]byte(m.job))
	return j, files, err
}

// Emit implements report.Host.
func (p *pageHost) Emit(es ...message.Envelope) {
	if p.run != nil {
		var ended bool
		for _, e := range es {
			if warning := p.run.record(e); warning != nil {
				es = append(es, message.Envelope{Type: "event", Event: warning})
			}
			if e.Failed != nil && e.Failed.Code == "damaged" {
				if name := p.run.giveUp(); name != "" {
					postRemoved(name)
				}
			}
			ended = ended || e.Done != nil || e.Failed != nil
		}
		if ended { // the page may end this worker as soon as it hears of it
			p.run.close()
			p.run = nil
		}
	}
	postEnvelopes(es)
}

// Ask implements report.Asker. The page ends a chat by ending the worker.
func (p *pageHost) Ask() (ask message.Ask, err error) {
	return ask, json.Unmarshal([]byte(<-p.asks), &ask)
}

// Control implements report.Host. A control of the person comes before the checkpoint that is due.
func (p *pageHost) Control() message.Control {
	if control := next(p.controls); control != "" {
		return control
	}
	if p.run != nil && time.Since(p.saved) >= saveEvery {
		p.saved = time.Now()
		return message.Save
	}
	return ""
}

// isCheckpoint tells checkpoints from results by the path of their files.
func isCheckpoint(path string) bool { return strings.HasPrefix(path, "checkpoint-") }

// Create implements report.Host.
func (p *pageHost) Create(path string) (io.WriteCloser, error) {
	var kept io.WriteCloser
	if p.run != nil {
		if kept = p.run.create(path); isCheckpoint(path) {
			return kept, nil
		}
	}
	// A result goes to the page's memory as well until it is known to be on disk.
	p.parts[path] = nil
	blob := &upload{flush: func(b []byte, _ int64) error {
		p.parts[path] = append(p.parts[path], js.Global().Get("Blob").New([]any{uint8Array(b)}))
		return nil
	}}
	if kept == nil {
		return blob, nil
	}
	return both{blob, kept}, nil
}

// within reports whether a path is a file or folder, or lies in it.
func within(name, which string) bool { return name == which || strings.HasPrefix(name, which+"/") }

// both writes to two places. Errors of the second are kept there, see keptFile.
type both struct {
	io.WriteCloser
	kept io.WriteCloser
}

func (b both) Write(p []byte) (int, error) {
	b.kept.Write(p)
	return b.WriteCloser.Write(p)
}

func (b both) Close() error {
	b.kept.Close()
	return b.WriteCloser.Close()
}

// Commit implements report.Host. A result that finds no room on disk goes to the page as Blobs.
func (p *pageHost) Commit(which string) error {
	if isCheckpoint(which) {
		p.saved = time.Now()
	}
	if p.run != nil {
		files, err := p.run.commit(which)
		if err == nil {
			maps.DeleteFunc(p.parts, func(name string, _ []any) bool { return within(name, which) })
			for _, f := range files {
				postFile(which+"/"+f.path, f.size)
			}
			return nil
		}
		if isCheckpoint(which) {
			return err
		}
		if full, ok := errors.AsType[*report.NoRoom](err); ok {
			p.Emit(message.Envelope{Type: "event", Event: storageFull(full.Error(), map[string]any{"path": which, "bytes": full.Bytes})})
		}
	}
	for name, parts := range p.parts {
		if within(name, which) {
			blob := js.Global().Get("Blob").New(parts)
			postBlob(name, blob)
			p.blobs[name] = fromBlob(path.Base(name), blob)
			delete(p.parts, name)
		}
	}
	return nil
}

// Remove implements report.Host.
func (p *pageHost) Remove(which string) error {
	maps.DeleteFunc(p.parts, func(name string, _ []any) bool { return within(name, which) })
	maps.DeleteFunc(p.blobs, func(name string, _ *remote) bool { return within(name, which) })
	postRemoved(which)
	if p.run == nil {
		return nil
	}
	return p.run.remove(which)
}

// Open implements report.Host.
func (p *pageHost) Open(dir string) (fs.FS, error) {
	f := folder{}
	if p.run != nil {
		files, err := p.run.store.files(p.run.id, dir)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			f[file.path] = fromBlob(file.path, file.blob)
		}
	}
	for name, file := range p.blobs {
		if below, ok := strings.CutPrefix(name, dir+"/"); ok {
			f[below] = file
		}
	}
	if len(f) == 0 {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: fs.ErrNotExist}
	}
	return f, nil
}

func storageFull(text string, about map[string]any) *message.Event {
	return &message.Event{Time: time.Now().UTC().Format(time.RFC3339Nano), Level: "warning", Code: "storage_full", Message: text, Data: about}
}
