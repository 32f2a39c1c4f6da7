package report

import (
	"errors"

	"llamatab/engine/config"
	"llamatab/engine/data"
	"llamatab/engine/device"
	"llamatab/engine/message"
)

// Error is a failure together with advice for the person.
type Error struct {
	Code string // names the kind of failure; it never changes between versions
	Next string // what the person can do
	Exit int    // exit code of the program
	Err  error

	Choices []message.Choice // changes that would make a run fit, for the code "does_not_fit"
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Exit codes of the program.
const (
	ExitFailed  = 1 // the job failed
	ExitConfig  = 2 // a setting, a file or an argument is wrong
	ExitBrowser = 3 // there is no usable browser or GPU
)

// Fail returns err as an *Error. It returns nil for nil, and an err that is an *Error already stays as it is.
func Fail(code string, exit int, next string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{Code: code, Next: next, Exit: exit, Err: err}
}

// Failure returns the message that ends a job with err.
func Failure(err error) *message.Failed {
	var e *Error
	switch {
	case errors.As(err, &e):
		failed := &message.Failed{Code: e.Code, Message: err.Error(), Next: e.Next, Exit: e.Exit, Choices: e.Choices}
		if setting, ok := errors.AsType[*config.Error](err); ok {
			failed.Path, failed.Kind, failed.About = setting.Path, setting.Kind, setting.About
		} else if row, ok := errors.AsType[*data.BadRow](err); ok {
			failed.Kind, failed.About = "row", map[string]any{"line": row.Line, "cause": row.Why()}
		} else if fault, ok := errors.AsType[*message.Fault](err); ok {
			failed.Kind, failed.About = "fault", map[string]any{"cause": fault.Remark}
		}
		return failed
	case errors.Is(err, device.ErrLost):
		return &message.Failed{Code: "device_lost", Message: err.Error(), Exit: ExitFailed,
			Next: "Start again from the last checkpoint; close other programs that use the GPU."}
	case errors.Is(err, device.ErrOutOfMemory):
		return &message.Failed{Code: "out_of_memory", Message: err.Error(), Exit: ExitFailed,
			Next: "Use a smaller per_device_train_batch_size or dataset.max_length, train LoRA instead of all weights, or choose a smaller model."}
	}
	return &message.Failed{Code: "failed", Message: err.Error(), Exit: ExitFailed, Next: "See the message for its cause."}
}
