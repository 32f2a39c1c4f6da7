package headless

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestBrowserThatExits: a program that ends at once is reported with what it said and how it ended.
func TestBrowserThatExits(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in is a shell script")
	}
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no sh")
	}
	t.Setenv("TMPDIR", t.TempDir())
	script := filepath.Join(t.TempDir(), "chrome")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho 'libnss3.so: cannot open shared object file' >&2\nexit 127\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Chrome: script})
	if err == nil {
		t.Fatal("a program that exits is a browser")
	}
	for _, want := range []string{script, "ended at once with exit status 127", "libnss3.so: cannot open", "what to do: start it by hand", "--chrome PATH"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
