// Package train runs jobs: it prepares a model and its data, plans and takes the memory, records the step, and trains,
// evaluates, generates or exports. It knows nothing of browsers or sockets: files come from a Files, results go to a
// Host, and the device is opened by whoever calls.
package train

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/message"
)

// Files are the roots that a job reads from. What is absent is nil. Files of weights must implement io.ReaderAt.
type Files struct {
	Model     fs.FS            // a Hugging Face folder
	Dataset   fs.FS            // holds one file
	Adapter   fs.FS            // a PEFT folder
	Compare   map[string]fs.FS // PEFT folders to compare, by the names of AdapterMount
	Resume    fs.FS            // a checkpoint folder
	Head      fs.FS            // holds an added head to start from: its file, or a folder with head.safetensors
	Tokenizer fs.FS            // holds tokenizer.json, where the model does not
}

// Host receives what a job produces.
type Host interface {
	// Emit hands over messages in order. It does not wait for them to arrive.
	Emit(...message.Envelope)
	// Create starts a file below the output folder. It becomes visible with Commit only.
	Create(path string) (io.WriteCloser, error)
	// Commit makes a file or a folder of files visible, replacing what was there. It may give a checkpoint up with a *NoRoom:
	// the run goes on without that one.
	Commit(path string) error
	// Remove deletes a file or folder, committed or not; what does not exist is no error.
	Remove(path string) error
	// Open reads a committed folder again: a checkpoint to go back to. What does not exist is fs.ErrNotExist.
	Open(path string) (fs.FS, error)
	// Control returns what the person asked for since the last call, "" for nothing.
	Control() message.Control
}

// Open opens a device whose limits cover want where the adapter can.
type Open func(want device.Limits) (device.Device, error)

// NoRoom says that a checkpoint found no room where results are kept.
type NoRoom struct {
	Bytes int64 // that it takes
	Err   error
}

func (e *NoRoom) Error() string { return fmt.Sprintf("no room for %d bytes: %v", e.Bytes, e.Err) }
func (e *NoRoom) Unwrap() error { return e.Err }

// Error is a failure that a person can do something about.
type Error struct {
	Code string // stable
	Next string // what to do
	Exit int    // the program's exit code
	Err  error

	Choices []message.Choice // of what does not fit
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Exit codes of the program.
const (
	exitFailed  = 1
	exitConfig  = 2
	exitBrowser = 3
)

// fail wraps err unless it is an *Error already.
func fail(code string, exit int, next string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{Code: code, Next: next, Exit: exit, Err: err}
}

// Failure turns any error into the message that ends a job.
func Failure(err error) *message.Failed {
	var e *Error
	switch {
	case errors.As(err, &e):
		failed := &message.Failed{Code: e.Code, Message: err.Error(), Next: e.Next, Exit: e.Exit, Choices: e.Choices}
		if setting, ok := errors.AsType[*config.Error](err); ok {
			failed.Path, failed.Kind, failed.About = setting.Path, setting.Kind, setting.About
		} else if row, ok := errors.AsType[*data.BadRow](err); ok {
			failed.Kind, failed.About = "row", map[string]any{"line": row.Line, "cause": row.Why()}
		}
		return failed
	case errors.Is(err, device.ErrLost):
		return &message.Failed{Code: "device_lost", Message: err.Error(), Exit: exitFailed,
			Next: "Start again from the last checkpoint; close other programs that use the GPU."}
	case errors.Is(err, device.ErrOutOfMemory):
		return &message.Failed{Code: "out_of_memory", Message: err.Error(), Exit: exitFailed, Next: smallerHint}
	}
	return &message.Failed{Code: "failed", Message: err.Error(), Exit: exitFailed, Next: "See the message for its cause."}
}

const smallerHint = "Use a smaller per_device_train_batch_size or dataset.max_length, train LoRA instead of all weights, or choose a smaller model."

func event(h Host, level, code string, step int, data map[string]any, format string, args ...any) {
	h.Emit(message.Envelope{Type: "event", Event: &message.Event{
		Time: time.Now().UTC().Format(time.RFC3339Nano), Level: level, Code: code, Step: step,
		Message: fmt.Sprintf(format, args...), Data: data,
	}})
}

// progress reports a phase to the host, at most a few times a second, with the time left once that can be told.
type progress struct {
	host  Host
	phase string
	unit  string
	total int64
	start time.Time
	last  time.Time
}

func newProgress(h Host, phase, unit string, total int64) *progress {
	p := &progress{host: h, phase: phase, unit: unit, total: total, start: time.Now()}
	p.at(0, "")
	return p
}

// every is the least time between two reports of a phase.
const every = 200 * time.Millisecond

func (p *progress) at(done int64, detail string) {
	now := time.Now()
	if done > 0 && done < p.total && now.Sub(p.last) < every {
		return
	}
	p.last = now
	m := &message.Progress{Phase: p.phase, Detail: detail, Done: done, Total: p.total, Unit: p.unit}
	if done > 0 && done < p.total {
		m.ETASeconds = now.Sub(p.start).Seconds() / float64(done) * float64(p.total-done)
	}
	p.host.Emit(message.Envelope{Type: "progress", Progress: m})
}
