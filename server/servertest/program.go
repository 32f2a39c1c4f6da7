package servertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/engine/testfiles"
)

// Binary is the path of bin/llamatab, which make build makes.
func Binary(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(testfiles.Repository(t), "bin", "llamatab")
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return bin
}

// Run runs the program on the software adapter and returns its standard output.
func Run(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, errs, code := Try(t, stdin, args...)
	if code != 0 {
		t.Fatalf("llamatab %s: exit %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

// Try runs the program on the software adapter, and returns what it printed and its exit code.
func Try(t *testing.T, stdin string, args ...string) (out, errs string, code int) {
	t.Helper()
	cmd := exec.Command(Binary(t), args...)
	cmd.Env = append(os.Environ(), "LLAMATAB_ADAPTER_BACKEND=swiftshader")
	cmd.Stdin = strings.NewReader(stdin)
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}
