// Package check finds mistakes in the config, the model and the data of a job before a browser starts. It runs the engine's
// own code up to the place where that opens a device, so a job that fails here would fail in the browser with the same words.
package check

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"llamatab/engine/device"
	"llamatab/engine/job"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/server/exit"
)

// errPassed ends a job that has come as far as opening a device.
var errPassed = errors.New("all that is done before a device is opened has succeeded")

// Job returns the error of a job that would fail before it opens a device: its run file, config.json, tokenizer, safetensors
// headers and data rows are read.
//
// observe is shown how much of a large data file has been read.
func Job(ctx context.Context, spec message.Job, files report.Files, observe func(message.Envelope)) error {
	files.DataRead = report.DataReading(watched{observe: observe})
	err := job.Run(ctx, &job.Job{
		Job: spec, Files: files, Host: nowhere{}, Budget: spec.MemoryBudget,
		Open: func(device.Limits) (device.Device, error) { return nil, errPassed },
	})
	if err == nil || errors.Is(err, errPassed) {
		return nil
	}
	return exit.Outcome(message.Envelope{Failed: report.Failure(err)})
}

// nowhere is a host that shows and keeps nothing.
type nowhere struct{}

// watched is such a host whose messages are shown.
type watched struct {
	nowhere
	observe func(message.Envelope)
}

func (w watched) Emit(all ...message.Envelope) {
	for _, e := range all {
		w.observe(e)
	}
}

func (nowhere) Emit(...message.Envelope)              {}
func (nowhere) Create(string) (io.WriteCloser, error) { return nil, errPassed }
func (nowhere) Commit(string) error                   { return errPassed }
func (nowhere) Remove(string) error                   { return nil }
func (nowhere) Open(string) (fs.FS, error)            { return nil, fs.ErrNotExist }
func (nowhere) Ask() (message.Ask, error)             { return message.Ask{}, errPassed }
func (nowhere) Control() message.Control              { return "" }
