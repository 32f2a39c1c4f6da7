//go:build unix

package library

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// TestPipe asks for a named pipe, whose opening waits for somebody who writes into it.
func TestPipe(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "m"), 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"m/config.json", "rows"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	folder, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := Library{Builtin: Builtin{fstest.MapFS{}}, Models: folder, Data: folder}
	answered := make(chan int, 2)
	go func() {
		for _, path := range []string{"/api/models/m/config.json", "/api/data/rows"} {
			code, _ := answer(l, path, here, func(*http.Request, string) bool { return true })
			answered <- code
		}
	}()
	for range 2 {
		select {
		case code := <-answered:
			if code != http.StatusNotFound {
				t.Errorf("a pipe is answered with %d", code)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("the request waits for the pipe")
		}
	}
}
