//go:build js

package main

import (
	"errors"
	"syscall/js"
)

// store is store.js: the runs and input files that are kept in the browser's own file system. Each method is the function of
// the same name there, awaited. Paths are relative to the store's root, such as "runs/ID/meta.json".
type store struct{ object js.Value }

// browserStore is the store that worker.js has loaded.
func browserStore() store { return store{js.Global().Get("llamatabStore")} }

// storedFile is a file of a folder in the store.
type storedFile struct {
	path string // relative to the folder
	size int64
	blob js.Value // its content as a File; undefined in the answer of commit
}

func storedFiles(list js.Value) []storedFile {
	files := make([]storedFile, list.Length())
	for i := range files {
		f := list.Index(i)
		files[i] = storedFile{path: f.Get("path").String(), blob: f.Get("file")}
		if size := f.Get("size"); size.Type() == js.TypeNumber {
			files[i].size = int64(size.Float())
		}
	}
	return files
}

func (s store) call(name string, args ...any) (js.Value, error) {
	return await(s.object.Call(name, args...))
}

// put writes a whole file.
func (s store) put(path string, content []byte) error {
	_, err := s.call("put", path, uint8Array(content))
	return err
}

// remove deletes a file or a folder; one that is not there is no error.
func (s store) remove(path string) error {
	_, err := s.call("remove", path)
	return err
}

// commit completes a folder and returns its files.
func (s store) commit(folder string) ([]storedFile, error) {
	list, err := s.call("commit", folder)
	if err != nil {
		return nil, err
	}
	return storedFiles(list), nil
}

// files are the files of a completed folder of a run, none where there is no such folder.
func (s store) files(run, folder string) ([]storedFile, error) {
	list, err := s.call("files", run, folder)
	if err != nil {
		return nil, err
	}
	return storedFiles(list), nil
}

// keepCheckpoint removes all checkpoints of a run but that of a step.
func (s store) keepCheckpoint(run string, step int) error {
	_, err := s.call("keepCheckpoint", run, step)
	return err
}

// keepInputs copies files that the person chose, as fromFiles takes them, under a key. Where there is no room it copies none.
func (s store) keepInputs(key string, files js.Value) error {
	_, err := s.call("keepInputs", key, files)
	return err
}

// prune removes the oldest runs beyond the number that is kept.
func (s store) prune() error {
	_, err := s.call("prune")
	return err
}

// runLock says that a run belongs to this tab.
type runLock struct{ object js.Value }

// errElsewhere is the error of lock when another tab runs the run.
var errElsewhere = errors.New("this run is going on in another tab: close that tab first, or look on there")

// lock takes a run for this tab.
func (s store) lock(run string) (runLock, error) {
	lock, err := s.call("lock", run)
	if err == nil && lock.IsNull() {
		err = errElsewhere
	}
	return runLock{lock}, err
}

func (l runLock) release() { l.object.Call("release") }

// lineFile is a file of JSON lines that grows in place.
type lineFile struct{ object js.Value }

// lines opens a file of lines and keeps those up to a step, see stepsTo.
func (s store) lines(path string, step int) (lineFile, error) {
	keep := stepsTo(step)
	defer keep.Release()
	file, err := s.call("lines", path, keep)
	return lineFile{file}, err
}

// stepsTo is the function (line) → boolean that is true for the lines up to those of a step. A line without a step belongs
// to the beginning of the run, which step 0 does not keep.
func stepsTo(last int) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any {
		step := args[0].Get("step")
		return step.IsUndefined() && last > 0 || !step.IsUndefined() && step.Int() <= last
	})
}

// cut drops the lines after those of a step.
func (f lineFile) cut(step int) {
	keep := stepsTo(step)
	defer keep.Release()
	f.object.Call("cut", keep)
}

// add appends a line, which ends with a newline. The error says that the disk is full.
func (f lineFile) add(line []byte) (err error) {
	defer func() {
		if thrown := recover(); thrown != nil { // add in store.js throws, as it answers at once
			exception, ok := thrown.(js.Error)
			if !ok {
				panic(thrown)
			}
			err = exception
		}
	}()
	f.object.Call("add", uint8Array(line))
	return nil
}

func (f lineFile) close() { f.object.Call("close") }

// fileWriter fills a file from its start.
type fileWriter struct{ object js.Value }

// writer opens a file to be filled.
func (s store) writer(path string) (fileWriter, error) {
	file, err := s.call("writer", path)
	return fileWriter{file}, err
}

func (w fileWriter) write(p []byte) error {
	_, err := await(w.object.Call("write", uint8Array(p)))
	return err
}

func (w fileWriter) close() error {
	_, err := await(w.object.Call("close"))
	return err
}

// abort frees the room of what was written.
func (w fileWriter) abort() { await(w.object.Call("abort")) }
