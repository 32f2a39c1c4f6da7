//go:build unix

package job

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks a file until it is closed, or fails with errTaken.
func tryLock(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errTaken
	}
	return err
}
