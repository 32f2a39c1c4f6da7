//go:build unix

package filelock

import (
	"errors"
	"os"
	"syscall"
)

// TryLock locks a file until it is closed, or fails with ErrTaken.
func TryLock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrTaken
	}
	return err
}
