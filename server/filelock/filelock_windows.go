package filelock

import (
	"os"
	"syscall"
	"unsafe"
)

var lockFileEx = syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")

// TryLock locks a file until it is closed, or fails with ErrTaken. Locked is a byte far behind the text, so that others
// can read that.
func TryLock(file *os.File) error {
	const (
		failImmediately = 1
		exclusive       = 2
		lockViolation   = syscall.Errno(33)
	)
	at := syscall.Overlapped{OffsetHigh: 1}
	if ok, _, err := lockFileEx.Call(file.Fd(), failImmediately|exclusive, 0, 1, 0, uintptr(unsafe.Pointer(&at))); ok == 0 {
		if err == lockViolation {
			return ErrTaken
		}
		return err
	}
	return nil
}
