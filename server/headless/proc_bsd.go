//go:build unix && !linux

package headless

import "syscall"

// processGroup starts the browser in a group of its own, so that a terminal's Ctrl-C does not reach it and that
// the whole group can be killed. The browser also ends by itself when its control pipe closes.
func processGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
