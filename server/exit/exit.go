// Package exit holds the exit codes of the program, and the errors that choose one.
package exit

import (
	"errors"
	"flag"
	"fmt"

	"llamatab/engine/config"
	"llamatab/engine/message"
	"llamatab/engine/report"
	"llamatab/server/headless"
)

// Exit codes of the program; 0 is success.
const (
	Failed      = report.ExitFailed
	BadUsage    = report.ExitConfig
	NoBrowser   = report.ExitBrowser
	Interrupted = 130 // a signal ended the program
)

// Error ends the program with a code of its own. Without an error inside, nothing is printed.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Usagef makes the error for a mistake on the command line.
func Usagef(format string, args ...any) error {
	return &Error{BadUsage, fmt.Errorf(format, args...)}
}

// Silent reports whether the program ends with err and prints nothing.
func Silent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Err == nil
}

// Code is the exit code of a program that ends with err.
func Code(err error) int {
	var own *Error
	var bad *config.Error
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &own):
		return own.Code
	case errors.As(err, &bad):
		return BadUsage
	case errors.Is(err, headless.ErrNoBrowser):
		return NoBrowser
	default:
		return Failed
	}
}

// Outcome turns the message that ended a job into the error that ends the program, nil after success.
func Outcome(e message.Envelope) error {
	f := e.Failed
	if f == nil {
		return nil
	}
	text := f.Code + ": " + f.Message
	if f.Next != "" {
		text += "\n  what to do: " + f.Next
	}
	code := f.Exit
	if code == 0 {
		code = Failed
	}
	return &Error{code, errors.New(text)}
}
