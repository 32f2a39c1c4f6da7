//go:build unix

package room

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks an open file for this program; the lock goes with the file.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrHeld
	}
	return err
}
