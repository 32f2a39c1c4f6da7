package headless

import "syscall"

// processGroup starts the browser in a group of its own, so that a terminal's Ctrl-C does not reach it and that
// the whole group can be killed; the kernel kills the browser when this program dies, however it dies.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
