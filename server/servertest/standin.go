package servertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"llamatab/engine/testfiles"
)

// StandIn packs the page's files with a small program, server/testdata/engine, in place of the engine. It does so once in a
// test program, and returns the folder.
func StandIn(t *testing.T) string {
	t.Helper()
	root := testfiles.Repository(t)
	once.Do(func() { standInFolder, standInErr = makeStandIn(root) })
	folder, err := standInFolder, standInErr
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// RemoveStandIn removes what StandIn made. Tests call it at their end, in TestMain.
func RemoveStandIn() {
	if made != "" {
		os.RemoveAll(made)
	}
}

var made string // the folder that holds the stand-in

var (
	once          sync.Once
	standInFolder string
	standInErr    error
)

// makeStandIn makes the folder of StandIn.
func makeStandIn(root string) (string, error) {
	var err error
	if made, err = os.MkdirTemp("", "llamatab-test-assets-"); err != nil {
		return "", err
	}
	run := func(env []string, args ...string) error {
		c := exec.Command("go", args...)
		c.Dir, c.Env = root, env
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	engine := filepath.Join(made, "engine.wasm")
	if err := run(testfiles.BrowserBuild(), "build", "-o", engine, "./server/testdata/engine"); err != nil {
		return "", err
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	page := filepath.Join(made, "index.html")
	if err := os.WriteFile(page, []byte("<!doctype html><script src=/vugu.js></script>"), 0o666); err != nil {
		return "", err
	}
	folder := filepath.Join(made, "assets")
	return folder, run(nil, "run", "./tools/pack", "--out", folder, "--server", "./server", "--wasm", "./server/testdata/engine", "engine.wasm="+engine,
		filepath.Join(strings.TrimSpace(string(goroot)), "lib", "wasm", "wasm_exec.js"), page, "wasm/engine/engine.js", "wasm/engine/job.js", "wasm/engine/worker.js", "wasm/engine/replay.js", "wasm/engine/store.js")
}
