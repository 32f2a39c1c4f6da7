package servertest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Root is the folder of the project: the nearest one above the test's that holds go.mod.
func Root(t *testing.T) string {
	t.Helper()
	dir, err := projectRoot()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func projectRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the test does not run inside the project")
		}
	}
}

// Binary is the path of bin/llamatab, which make build makes.
func Binary(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(Root(t), "bin", "llamatab")
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return bin
}

// Shared is the folder of goldens and models beside the project. The test is skipped where it is missing.
func Shared(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(Root(t), "..", "shared")
	if _, err := os.Stat(filepath.Join(dir, "golden")); err != nil {
		t.Skip("the folder shared with goldens is not beside the project")
	}
	return dir
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
