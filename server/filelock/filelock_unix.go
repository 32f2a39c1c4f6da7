//go:build unix

package filelock

import (
	"errors"
	"os"
	"syscall"
)

// TryLock locks a file until it is closed, or fails with ErrTaken.
func TryLock(file *os.File) error { return try(file, syscall.LOCK_EX) }

// TryShare locks a file until it is closed against TryLock, not against others that share it.
func TryShare(file *os.File) error { return try(file, syscall.LOCK_SH) }

func try(file *os.File, how int) error {
	err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrTaken
	}
	return err
}
