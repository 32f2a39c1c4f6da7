package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"llamatab/server/exit"
)

func TestTabCrash(t *testing.T) {
	c, temp, out, stderr := startTraining(t)
	// A tab is a process of the group of its browser, which alone has the name of its profile in its command line.
	var tabs []int
	groups := map[int]bool{}
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		switch line, err := os.ReadFile(name); {
		case err != nil: // it has ended
		case bytes.Contains(line, []byte("--type=renderer")):
			tabs = append(tabs, pid)
		case bytes.Contains(line, []byte("--user-data-dir="+temp)):
			groups[pid] = true
		}
	}
	for _, pid := range tabs {
		if group, err := syscall.Getpgid(pid); err == nil && groups[group] {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	c.Wait()
	events, _ := os.ReadFile(filepath.Join(out, "events.jsonl"))
	if code := c.ProcessState.ExitCode(); code != exit.Failed || !strings.Contains(stderr.String(), "tab_crashed") || !strings.Contains(string(events), "tab_crashed") {
		t.Errorf("exit code %d: %s\nevents: %s", code, stderr, events)
	}
	nothingLeft(t, temp)
}
