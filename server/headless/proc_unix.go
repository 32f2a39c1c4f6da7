//go:build unix

package headless

import "syscall"

// killGroup ends the process and all that it started.
func killGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGKILL) }
