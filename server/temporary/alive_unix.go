//go:build unix

package temporary

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Alive reports whether a process with this id exists.
func Alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
