//go:build js

package main

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"syscall/js"

	"llamatab/engine/message"
	"llamatab/engine/report"
)

// keptRun is a run whose record and results are kept in the browser, by store.js. Its folder has the files that a
// headless run writes too.
type keptRun struct {
	id      string
	store   store
	lock    runLock
	lines   map[string]lineFile // the files that grow, by name
	folders map[string]*pending // folders that are being written, by name
	lost    int64               // bytes of the record that found no room
	warned  bool                // the person was told of them
	last    int                 // the last step in the record
	resumed int                 // the step of the checkpoint that the run resumes from, 0 for none
	writes  chan func()         // writes of small files, which happen one after the other
	ended   chan struct{}       // closed when all of them are done
}

// pending is a folder that is being written.
type pending struct {
	began  bool  // something was written to it
	broken error // why it cannot be completed
	size   int64 // bytes, whether they found room or not
}

// keep begins or resumes a run. files are the job's inputs by mount. The record of a resumed run is cut back to the step
// of its checkpoint.
func keep(run pageRun, files map[string]js.Value) (*keptRun, error) {
	k := &keptRun{
		id: run.id, store: browserStore(), last: max(run.step, 0), resumed: max(run.step, 0),
		lines: map[string]lineFile{}, folders: map[string]*pending{},
		writes: make(chan func(), 64), ended: make(chan struct{}),
	}
	go func() {
		defer close(k.ended)
		for write := range k.writes {
			write()
		}
	}()
	var err error
	if k.lock, err = k.store.lock(k.id); err != nil {
		return nil, err
	}
	if run.step == 0 { // run.json is of an earlier run with this id
		k.removeLater("run.json")
	}
	k.removeLater("state.json")
	k.putLater("meta.json", []byte(run.meta))
	for _, name := range []string{"metrics.jsonl", "events.jsonl", "samples.jsonl"} {
		if file, err := k.store.lines(k.path(name), run.step); err == nil { // an error is reported with the first line that is lost
			k.lines[name] = file
		}
	}
	// Files that the person chose are copied, so that the run can be resumed without choosing them again. Where there is no
	// room for copies the page asks for the files again.
	for mount, key := range run.keys {
		go k.store.keepInputs(key, files[mount])
	}
	go k.store.prune()
	return k, nil
}

func (k *keptRun) path(name string) string { return "runs/" + k.id + "/" + name }

// putLater writes a small file after those before it.
func (k *keptRun) putLater(name string, content []byte) {
	k.writes <- func() {
		if k.store.put(k.path(name), content) != nil {
			k.lost += int64(len(content))
		}
	}
}

// removeLater removes a small file after the writes before it.
func (k *keptRun) removeLater(name string) {
	k.writes <- func() { k.store.remove(k.path(name)) }
}

// record writes an envelope into the record of the run. It returns a warning the first time that there is no room.
func (k *keptRun) record(e message.Envelope) *message.Event {
	switch {
	case e.Step != nil:
		if e.Step.Step <= k.last { // a run that went back repeats some steps: the new line replaces the old ones
			k.cut("metrics.jsonl", e.Step.Step-1)
			k.cut("samples.jsonl", e.Step.Step-1)
		}
		k.last = e.Step.Step
		k.line("metrics.jsonl", e.Step)
	case e.Event != nil:
		if e.Event.Code == "resumed" { // the checkpoint is sound: no other one is of use any more
			k.store.keepCheckpoint(k.id, e.Event.Step)
		}
		k.line("events.jsonl", e.Event)
	case e.Sample != nil:
		k.line("samples.jsonl", e.Sample)
	case e.Config != nil:
		k.putLater("run.json", e.Config)
	case e.Summary != nil:
		k.putLater("summary.json", e.Summary)
	case e.Done != nil:
		k.end(map[string]any{"stage": map[bool]string{false: "done", true: "stopped"}[e.Done.Stopped], "files": e.Done.Files})
	case e.Failed != nil:
		k.end(map[string]any{"stage": "failed", "code": e.Failed.Code, "message": e.Failed.Message, "next": e.Failed.Next})
	}
	if k.lost == 0 || k.warned {
		return nil
	}
	k.warned = true
	return storageFull("the record of the run has gaps", map[string]any{"bytes": k.lost})
}

// giveUp makes a damaged checkpoint incomplete, so that the run is not resumed from it again but from an earlier one. It returns
// the name of its folder, "" if the run did not resume from any.
func (k *keptRun) giveUp() string {
	if k.resumed == 0 {
		return ""
	}
	name := message.CheckpointPrefix + strconv.Itoa(k.resumed)
	k.store.call("giveUp", k.path(name))
	return name
}

// end writes state.json, which says how the run ended.
func (k *keptRun) end(state map[string]any) {
	if text, err := json.Marshal(state); err == nil {
		k.putLater("state.json", text)
	}
}

// cut drops the lines of a file after those of a step.
func (k *keptRun) cut(name string, last int) {
	if file, ok := k.lines[name]; ok {
		file.cut(last)
	}
}

// line appends to a file of lines. After the first line that finds no room nothing more is written to the file, so that
// it has no gap in its middle.
func (k *keptRun) line(name string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		return
	}
	file, ok := k.lines[name]
	if ok {
		err = file.add(append(text, '\n'))
	}
	if !ok || err != nil {
		k.lost += int64(len(text) + 1)
		delete(k.lines, name)
	}
}

// folder is the state of the folder that a path lies in.
func (k *keptRun) folder(path string) *pending {
	name, _, _ := strings.Cut(path, "/")
	if k.folders[name] == nil {
		k.folders[name] = &pending{}
	}
	return k.folders[name]
}

// create opens a file below the run. A file that finds no room is dropped, and the commit of its folder returns the error.
func (k *keptRun) create(path string) io.WriteCloser {
	f := k.folder(path)
	if f.broken == nil && !f.began { // files that are there are from before
		f.began = true
		name, _, _ := strings.Cut(path, "/")
		f.broken = k.store.remove(k.path(name))
	}
	file := &keptFile{folder: f}
	if f.broken == nil {
		var w fileWriter
		if w, f.broken = k.store.writer(k.path(path)); f.broken == nil {
			file.writer = &w
		}
	}
	file.upload.flush = func(b []byte, _ int64) error { return file.writer.write(b) }
	return file
}

// keptFile is a file that is being written. It keeps errors for the folder's commit: a checkpoint that finds no room must
// not end the run.
type keptFile struct {
	upload upload
	folder *pending
	writer *fileWriter // nil where the file could not be opened
}

func (f *keptFile) Write(p []byte) (int, error) {
	f.folder.size += int64(len(p))
	if f.folder.broken == nil {
		_, f.folder.broken = f.upload.Write(p)
	}
	return len(p), nil
}

func (f *keptFile) Close() error {
	if f.folder.broken == nil {
		if f.folder.broken = f.upload.Close(); f.folder.broken == nil {
			f.folder.broken = f.writer.close()
		}
	}
	if f.folder.broken != nil && f.writer != nil {
		f.writer.abort() // what was written takes room
	}
	return nil
}

// commit completes a folder and returns its files. A folder that cannot be completed is removed, and the error is a
// *report.NoRoom.
func (k *keptRun) commit(name string) ([]storedFile, error) {
	f := k.folder(name)
	delete(k.folders, name)
	err := f.broken
	if err == nil {
		var files []storedFile
		if files, err = k.store.commit(k.path(name)); err == nil {
			return files, nil
		}
	}
	k.store.remove(k.path(name))
	return nil, &report.NoRoom{Bytes: f.size, Err: err}
}

// remove deletes a file or folder, whether it was completed or not.
func (k *keptRun) remove(path string) error {
	name, _, _ := strings.Cut(path, "/")
	delete(k.folders, name)
	return k.store.remove(k.path(path))
}

// close waits until all is on disk and lets the run go.
func (k *keptRun) close() {
	close(k.writes)
	<-k.ended
	for _, file := range k.lines {
		file.close()
	}
	k.lock.release()
}
