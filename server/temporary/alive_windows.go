package temporary

import (
	"io/fs"
	"syscall"
)

// Alive reports whether a process with this id exists.
func Alive(pid int) bool {
	h, err := syscall.OpenProcess(syscall.PROCESS_QUERY_INFORMATION, false, uint32(pid))
	if err != nil {
		return false
	}
	defer syscall.CloseHandle(h)
	var code uint32
	const stillActive = 259
	return syscall.GetExitCodeProcess(h, &code) == nil && code == stillActive
}

// ownedByUs is true, as each user of Windows has a temporary folder of their own.
func ownedByUs(fs.FileInfo) bool { return true }
