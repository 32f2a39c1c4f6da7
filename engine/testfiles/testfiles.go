// Package testfiles finds the files that tests read: those of the repository, and those of the folder shared beside it,
// which holds what torch, transformers and PEFT computed and the models that they computed it for.
package testfiles

import (
	"os"
	"path/filepath"
	"testing"
)

// Repository is the folder with the go.mod that the test runs below.
func Repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test does not run below a go.mod")
		}
	}
}

// Shared is the path of a file or folder in ../shared; name has slashes. Where that folder is not beside the repository,
// the test is skipped. Where it is there and lacks the file, the test fails.
func Shared(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(Repository(t), "..", "shared")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("needs the folder ../shared, which is not beside the repository")
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// BrowserBuild is the environment of a go command that builds for the browser. make test sets WASM_GOFLAGS to the flags with
// which it has built the engine: packages that were compiled with them need not be compiled again.
func BrowserBuild() []string {
	env := append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	if flags := os.Getenv("WASM_GOFLAGS"); flags != "" {
		env = append(env, "GOFLAGS="+flags)
	}
	return env
}
