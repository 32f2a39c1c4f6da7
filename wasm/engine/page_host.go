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

// saveEvery is the longest that a run of the page goes without a checkpoint: what a crash may cost.
const saveEvery = time.Minute

// pageHost is the host of jobs that the page posts. The results of a run are kept in the browser's own file system,
// with its record; those of other jobs, and what finds no room there, go to the page as Blobs. Both live outside
// this program's memory.
type pageHost struct {
	jobs     chan js.Value
	controls chan message.Control
	parts    map[string][]any // files that are not committed, as lists of Blobs
	blobs    folder           // committed files that are not on disk, by path
	run      *keptRun         // nil for a job that is no run
	saved    time.Time        // when the run last had a checkpoint
}

func newPageHost() *pageHost {
	p := &pageHost{jobs: make(chan js.Value, 8), controls: make(chan message.Control, 64)}
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

func (p *pageHost) nextJob() (j message.Job, files report.Files, err error) {
	m := <-p.jobs
	for next(p.controls) != "" { // meant for the job before
	}
	p.parts, p.blobs, p.run, p.saved = map[string][]any{}, folder{}, nil, time.Now()
	if gone := m.Get("gone"); gone.Type() == js.TypeString {
		return j, files, &report.Error{Code: "inputs_gone", Next: "Choose the files again.", Exit: 1, Err: fmt.Errorf("files that the browser does not have any more: %s", gone.String())}
	}
	if given := m.Get("files"); given.Type() == js.TypeObject {
		names := js.Global().Get("Object").Call("keys", given)
		for i := range names.Length() {
			name := names.Index(i).String()
			assign(&files, name, fromFiles(given.Get(name)))
		}
	}
	if run := m.Get("run"); run.Type() == js.TypeObject {
		if p.run, err = keep(run, m.Get("files")); err != nil {
			return j, files, err
		}
	}
	j, err = parseJob([]byte(m.Get("job").String()))
	return j, files, err
}

func post(m map[string]any) { js.Global().Call("postMessage", m) }

// Emit implements train.Host.
func (p *pageHost) Emit(es ...message.Envelope) {
	if p.run != nil {
		var ended bool
		for _, e := range es {
			if warning := p.run.record(e); warning != nil {
				es = append(es, message.Envelope{Type: "event", Event: warning})
			}
			ended = ended || e.Done != nil || e.Failed != nil
		}
		if ended { // the page may end this worker as soon as it hears of it
			p.run.close()
			p.run = nil
		}
	}
	text, err := json.Marshal(es)
	if err != nil { // a message that cannot be spelled is a fault of ours
		panic(err)
	}
	post(map[string]any{"type": "envelopes", "json": string(text)})
}

// Control implements train.Host. What the person says goes first.
func (p *pageHost) Control() message.Control {
	if said := next(p.controls); said != "" {
		return said
	}
	if p.run != nil && time.Since(p.saved) >= saveEvery {
		p.saved = time.Now()
		return message.Save
	}
	return ""
}

// Create implements train.Host.
func (p *pageHost) Create(path string) (io.WriteCloser, error) {
	checkpoint := strings.HasPrefix(path, "checkpoint-")
	var kept io.WriteCloser
	if p.run != nil {
		if kept = p.run.create(path); checkpoint {
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

// both writes to two places; the second keeps its errors to itself.
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

// Commit implements train.Host. What of a result found no room goes to the page instead.
func (p *pageHost) Commit(which string) error {
	checkpoint := strings.HasPrefix(which, "checkpoint-")
	if checkpoint {
		p.saved = time.Now()
	}
	if p.run != nil {
		files, err := p.run.commit(which)
		if err == nil {
			maps.DeleteFunc(p.parts, func(name string, _ []any) bool { return within(name, which) })
			for i := range files.Length() {
				f := files.Index(i)
				post(map[string]any{"type": "file", "path": which + "/" + f.Get("path").String(), "size": f.Get("size")})
			}
			return nil
		}
		if checkpoint {
			return err
		}
		full := err.(*report.NoRoom)
		p.Emit(message.Envelope{Type: "event", Event: storageFull(full.Error(), map[string]any{"path": which, "bytes": full.Bytes})})
	}
	for name, parts := range p.parts {
		if within(name, which) {
			blob := js.Global().Get("Blob").New(parts)
			post(map[string]any{"type": "file", "path": name, "size": blob.Get("size"), "blob": blob})
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
	if p.run == nil {
		return nil
	}
	return p.run.remove(which)
}

// Open implements train.Host.
func (p *pageHost) Open(dir string) (fs.FS, error) {
	f := folder{}
	if p.run != nil {
		list, err := p.run.do("files", p.run.id, dir)
		if err != nil {
			return nil, err
		}
		for i := range list.Length() {
			name := list.Index(i).Get("path").String()
			f[name] = fromBlob(name, list.Index(i).Get("file"))
		}
	}
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

func storageFull(text string, about map[string]any) *message.Event {
	return &message.Event{Time: time.Now().UTC().Format(time.RFC3339Nano), Level: "warning", Code: "storage_full", Message: text, Data: about}
}

// keptRun is a run whose record and results are kept in the browser, by store.js.
type keptRun struct {
	id     string
	store  js.Value
	lock   js.Value
	lines  map[string]js.Value // the files that grow, by name
	broken map[string]error    // folders that found no room
	began  map[string]bool     // folders written to
	sizes  map[string]int64    // bytes of those, whether they found room or not
	lost   int64               // bytes of the record that have found no room
	told   bool                // that there are such
	last   int                 // the last step in the record
	put    chan func()         // small files on their way, in order
	ended  chan struct{}
}

// keep begins or resumes a run. Of a resumed one the record is kept up to the step of its checkpoint.
func keep(run, files js.Value) (*keptRun, error) {
	k := &keptRun{
		id: run.Get("id").String(), store: js.Global().Get("llamatabStore"), lines: map[string]js.Value{},
		broken: map[string]error{}, began: map[string]bool{}, sizes: map[string]int64{}, put: make(chan func(), 64), ended: make(chan struct{}),
	}
	go func() {
		defer close(k.ended)
		for f := range k.put {
			f()
		}
	}()
	var err error
	if k.lock, err = k.do("lock", k.id); err != nil {
		return nil, err
	}
	if k.lock.IsNull() {
		return nil, errors.New("this run is going on in another tab: close that tab first, or look on there")
	}
	from := run.Get("step").Int()
	if k.last = max(from, 0); from > 0 { // the others are of no use any more
		k.do("keepCheckpoint", k.id, from)
	}
	if from == 0 {
		k.later("run.json", nil)
	}
	k.later("state.json", nil)
	k.later("meta.json", []byte(run.Get("meta").String()))
	upTo := stepsTo(from)
	defer upTo.Release()
	for _, name := range []string{"metrics.jsonl", "events.jsonl", "samples.jsonl"} {
		if k.lines[name], err = k.do("lines", k.path(name), upTo); err != nil {
			delete(k.lines, name) // it is told with the first line that is lost
		}
	}
	// Copies of what was chosen are made beside the run, so that it can go on without being given them again.
	keys := run.Get("keys")
	names := js.Global().Get("Object").Call("keys", keys)
	for i := range names.Length() {
		name := names.Index(i).String()
		go k.do("keepInputs", keys.Get(name), files.Get(name)) // where there is no room, the page asks for them again
	}
	go k.do("prune")
	return k, nil
}

// stepsTo keeps lines up to those of a step.
func stepsTo(last int) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any {
		step := args[0].Get("step")
		return step.IsUndefined() && last > 0 || !step.IsUndefined() && step.Int() <= last
	})
}

// cut drops the lines after those of a step.
func (k *keptRun) cut(name string, last int) {
	if file, ok := k.lines[name]; ok {
		upTo := stepsTo(last)
		defer upTo.Release()
		file.Call("cut", upTo)
	}
}

func (k *keptRun) path(name string) string { return "runs/" + k.id + "/" + name }

// do calls a function of the store and waits for it.
func (k *keptRun) do(name string, args ...any) (js.Value, error) {
	return await(k.store.Call(name, args...))
}

// later writes a small file, or removes it where content is nil, after those before it.
func (k *keptRun) later(name string, content []byte) {
	k.put <- func() {
		if content == nil {
			k.do("remove", k.path(name))
			return
		}
		if _, err := k.do("put", k.path(name), uint8Array(content)); err != nil {
			k.lost += int64(len(content))
		}
	}
}

// record keeps what belongs beside the results, in the files that a headless run leaves too. The first time that
// there is no room it returns a warning.
func (k *keptRun) record(e message.Envelope) *message.Event {
	switch {
	case e.Step != nil:
		if e.Step.Step <= k.last { // a run that goes back says some steps again: the new line counts
			k.cut("metrics.jsonl", e.Step.Step-1)
			k.cut("samples.jsonl", e.Step.Step-1)
		}
		k.last = e.Step.Step
		k.line("metrics.jsonl", e.Step)
	case e.Event != nil:
		k.line("events.jsonl", e.Event)
	case e.Sample != nil:
		k.line("samples.jsonl", e.Sample)
	case e.Config != nil:
		k.later("run.json", e.Config)
	case e.Summary != nil:
		k.later("summary.json", e.Summary)
	case e.Done != nil:
		k.state(map[string]any{"stage": map[bool]string{false: "done", true: "stopped"}[e.Done.Stopped], "files": e.Done.Files})
	case e.Failed != nil:
		k.state(map[string]any{"stage": "failed", "code": e.Failed.Code, "message": e.Failed.Message, "next": e.Failed.Next})
	}
	if k.lost == 0 || k.told {
		return nil
	}
	k.told = true
	return storageFull("the record of the run has gaps", map[string]any{"bytes": k.lost})
}

func (k *keptRun) state(s map[string]any) {
	if text, err := json.Marshal(s); err == nil {
		k.later("state.json", text)
	}
}

func (k *keptRun) line(name string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		return
	}
	file, ok := k.lines[name]
	if !ok {
		k.lost += int64(len(text) + 1)
		return
	}
	defer func() {
		if recover() != nil { // JavaScript has thrown: no room
			k.lost += int64(len(text) + 1)
			delete(k.lines, name)
		}
	}()
	file.Call("add", uint8Array(append(text, '\n')))
}

// create opens a file below the run. What finds no room is dropped, and the commit of its folder says so.
func (k *keptRun) create(path string) io.WriteCloser {
	folder, _, _ := strings.Cut(path, "/")
	err := k.broken[folder]
	if err == nil && !k.began[folder] { // what is there is from before
		k.began[folder] = true
		_, err = k.do("remove", k.path(folder))
	}
	var file js.Value
	if err == nil {
		file, err = k.do("writer", k.path(path))
	}
	k.broken[folder] = err
	return &keptFile{upload: upload{flush: func(b []byte, _ int64) error {
		_, err := await(file.Call("write", uint8Array(b)))
		return err
	}}, run: k, folder: folder, file: file}
}

// keptFile is a file that is being written. An error is kept for the folder's commit: a checkpoint that finds no
// room must not end the run.
type keptFile struct {
	upload
	run    *keptRun
	folder string
	file   js.Value
}

func (f *keptFile) Write(p []byte) (int, error) {
	f.run.sizes[f.folder] += int64(len(p))
	if f.run.broken[f.folder] == nil {
		if _, err := f.upload.Write(p); err != nil {
			f.run.broken[f.folder] = err
		}
	}
	return len(p), nil
}

func (f *keptFile) Close() error {
	err := f.run.broken[f.folder]
	if err == nil {
		if err = f.upload.Close(); err == nil {
			_, err = await(f.file.Call("close"))
		}
	}
	if err != nil && !f.file.IsUndefined() {
		await(f.file.Call("abort")) // what it has written takes room
	}
	f.run.broken[f.folder] = err
	return nil
}

// commit completes a folder and returns its files. One that is broken is removed, and the error is a *train.NoRoom.
func (k *keptRun) commit(folder string) (js.Value, error) {
	err, size := k.broken[folder], k.sizes[folder]
	k.forget(folder)
	if err == nil {
		var files js.Value
		if files, err = k.do("commit", k.path(folder)); err == nil {
			return files, nil
		}
	}
	k.do("remove", k.path(folder))
	return js.Value{}, &report.NoRoom{Bytes: size, Err: err}
}

// forget lets go of what was noted of a folder that is being written.
func (k *keptRun) forget(folder string) {
	delete(k.broken, folder)
	delete(k.began, folder)
	delete(k.sizes, folder)
}

// remove deletes a file or folder, whether it was completed or not.
func (k *keptRun) remove(path string) error {
	folder, _, _ := strings.Cut(path, "/")
	k.forget(folder)
	_, err := k.do("remove", k.path(path))
	return err
}

// close waits until all is on disk and lets the run go.
func (k *keptRun) close() {
	close(k.put)
	<-k.ended
	for _, file := range k.lines {
		file.Call("close")
	}
	k.lock.Call("release")
}
