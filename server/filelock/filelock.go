// Package filelock locks a file for a process. The operating system holds the lock, so it ends with the process, however the
// process ends.
package filelock

import "errors"

// ErrTaken is the error of a file that another process, or another open file of this one, has locked.
var ErrTaken = errors.New("locked")
