package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/engine/testfiles"
)

// program runs in the browser. LLAMATAB_TEST_CASE selects how it behaves.
const program = `package tiny

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall/js"
	"testing"
)

func TestFiles(t *testing.T) {
	for _, name := range []string{"tiny_test.go", "../go.mod", "../../shared/data.txt"} {
		if data, err := os.ReadFile(name); err != nil || len(data) == 0 {
			t.Error(name, len(data), err)
		}
	}
	for name, want := range map[string]error{"/etc/passwd": fs.ErrPermission, "../../secret": fs.ErrPermission, "none": fs.ErrNotExist} {
		if _, err := os.ReadFile(name); !errors.Is(err, want) {
			t.Error(name, err)
		}
	}
	if err := os.WriteFile("new", nil, 0o666); !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
	name := filepath.Join(t.TempDir(), "a", "b")
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("one"), 0o666); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(file, " two")
	tail := make([]byte, 3)
	if n, err := file.ReadAt(tail, 4); n != 3 || err != nil || string(tail) != "two" {
		t.Error(n, err, string(tail))
	}
	if info, err := file.Stat(); err != nil || info.Size() != 7 {
		t.Error(info, err)
	}
	file.Close()
	if entries, err := os.ReadDir(filepath.Dir(name)); err != nil || len(entries) != 1 || entries[0].Name() != "b" {
		t.Error(entries, err)
	}
}

func TestBehaviour(t *testing.T) {
	switch os.Getenv("LLAMATAB_TEST_CASE") {
	case "fail":
		t.Error("on purpose")
	case "panic":
		panic("on purpose")
	case "exit":
		os.Exit(7)
	case "throw":
		js.Global().Call("setTimeout", js.Global().Get("Symbol").Get("prototype").Get("toString"))
		select {}
	case "hang":
		select {}
	case "gpu":
		if !js.Global().Get("navigator").Get("gpu").Truthy() || !js.Global().Get("wasm").Get("instance").Truthy() {
			t.Error("no WebGPU, or no global wasm")
		}
	}
}
`

func TestRunner(t *testing.T) {
	top := t.TempDir()
	for name, text := range map[string]string{
		"module/go.mod": "module tiny\n\ngo 1.26\n", "module/tiny/tiny_test.go": program, "shared/data.txt": "shared", "secret": "secret",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(top, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	runner := filepath.Join(top, "wasmexec")
	if out, err := exec.Command("go", "build", "-o", runner, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	temp := t.TempDir()
	for _, c := range []struct {
		behaviour string
		code      int
		says      string
		args      []string
	}{
		{"", 0, "ok  \ttiny/tiny", nil},
		{"gpu", 0, "ok  \ttiny/tiny", nil},
		{"fail", 1, "on purpose", nil},
		{"panic", 1, "panic: on purpose", nil},
		{"exit", 1, "exit status 7", nil},
		{"throw", 1, "TypeError", nil},
		{"hang", 1, "test timed out after 2s", []string{"-timeout", "2s"}},
	} {
		t.Run(c.behaviour, func(t *testing.T) {
			test := exec.Command("go", append([]string{"test", "-count=1", "-exec", runner}, append(c.args, "./tiny")...)...)
			test.Dir = filepath.Join(top, "module")
			test.Env = append(testfiles.BrowserBuild(), "TMPDIR="+temp, "LLAMATAB_TEST_CASE="+c.behaviour)
			out, err := test.CombinedOutput()
			if code := test.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
				t.Errorf("exit code %d, want %d and %q: %v\n%s", code, c.code, c.says, err, out)
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	none := exec.Command(runner, "program.wasm")
	none.Env = append(os.Environ(), "LLAMATAB_CHROME="+filepath.Join(top, "none"))
	if out, err := none.CombinedOutput(); err == nil || !strings.Contains(string(out), "no usable browser") {
		t.Errorf("without a browser: %v\n%s", err, out)
	}
}
