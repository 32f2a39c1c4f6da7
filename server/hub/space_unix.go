//go:build unix && !netbsd && !solaris && !illumos && !aix && !openbsd

package hub

import "syscall"

// freeSpace is the number of bytes that may be written below a folder, or -1 where the system does not say.
func freeSpace(folder string) int64 {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(folder, &stat); err != nil {
		return -1
	}
	return int64(stat.Bavail) * int64(stat.Bsize)
}
