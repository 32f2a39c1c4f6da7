package classroom

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"llamatab/server/library"
)

// TestRoomsOfKilledServer: a server without --state removes the rooms of one that was killed, and its own when it ends.
func TestRoomsOfKilledServer(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	killed := exec.Command(os.Args[0], "-test.run=^$")
	if err := killed.Run(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{killed.Process.Pid, os.Getpid()} {
		if err := os.MkdirAll(filepath.Join(temp, fmt.Sprintf("llamatab-rooms-%d-1", pid), "rooms", "room-1"), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (names []string) {
		found, err := filepath.Glob(filepath.Join(temp, "llamatab-rooms-*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	c, err := Open("", &library.Library{Builtin: library.NewBuiltin()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if n := left(); len(n) != 2 {
		t.Errorf("beside the rooms of this server and of one that lives: %v", n)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if n := left(); len(n) != 1 || filepath.Base(n[0]) != fmt.Sprintf("llamatab-rooms-%d-1", os.Getpid()) {
		t.Errorf("after the end: %v", n)
	}
}
