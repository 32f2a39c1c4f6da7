package filelock

import (
	"os"
	"syscall"
	"unsafe"
)

var lockFileEx = syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")

const (
	failImmediately = 1
	exclusive       = 2
	lockViolation   = syscall.Errno(33)
)

// TryLock locks a file until it is closed, or fails with ErrTaken. Locked is a byte far behind the text, so that others
// can read that.
func TryLock(file *os.File) error { return try(file, failImmediately|exclusive) }

// TryShare locks a file until it is closed against TryLock, not against others that share it.
func TryShare(file *os.File) error { return try(file, failImmediately) }

func try(file *os.File, flags uintptr) error {
	at := syscall.Overlapped{OffsetHigh: 1}
	if ok, _, err := lockFileEx.Call(file.Fd(), flags, 0, 1, 0, uintptr(unsafe.Pointer(&at))); ok == 0 {
		if err == lockViolation {
			return ErrTaken
		}
		return err
	}
	return nil
}
