package temporary

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestSweep: a sweep removes the folders of dead processes, and nothing else that lies in the temporary folder.
func TestSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("TMP", os.Getenv("TMPDIR"))
	dead := exec.Command(os.Args[0], "-test.run=^$")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	id := dead.Process.Pid
	own, err := New("kind")
	if err != nil {
		t.Fatal(err)
	}
	folder := func(name string) string {
		path := filepath.Join(os.TempDir(), name)
		if err := os.Mkdir(path, 0o777); err != nil {
			t.Fatal(err)
		}
		return path
	}
	left := folder(fmt.Sprintf("llamatab-kind-%d-1", id))
	kept := []string{own.Path, folder(fmt.Sprintf("llamatab-other-%d-1", id)), folder("llamatab-kind-x-1"), folder("llamatab-kind--5-1"), folder("llamatab-kind-"), folder("precious")}
	link := filepath.Join(os.TempDir(), fmt.Sprintf("llamatab-kind-%d-2", id))
	if err := os.Symlink(folder("target"), link); err == nil {
		kept = append(kept, link)
	}
	file := filepath.Join(os.TempDir(), fmt.Sprintf("llamatab-kind-%d-3", id))
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	kept = append(kept, file)
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		foreign := folder(fmt.Sprintf("llamatab-kind-%d-4", id))
		if err := os.Chown(foreign, 65534, 65534); err == nil {
			kept = append(kept, foreign)
		}
	}
	Sweep("kind", os.RemoveAll)
	if exists(left) {
		t.Error("the folder of a dead process is still there")
	}
	for _, path := range kept {
		if !exists(path) {
			t.Errorf("%s is gone", filepath.Base(path))
		}
	}
}

// TestLocks: a sweep leaves a folder alone whose process lives, whatever process ids say, and removes it with its lock file once
// that process is killed.
func TestLocks(t *testing.T) {
	if os.Getenv("LLAMATAB_TEMPORARY_CHILD") != "" {
		f, err := New("kind")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(f.Path)
		select {} // until it is killed
	}
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("TMP", os.Getenv("TMPDIR"))
	child := exec.Command(os.Args[0], "-test.run=^TestLocks$")
	child.Env = append(os.Environ(), "LLAMATAB_TEMPORARY_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var path string
	if _, err := fmt.Fscanln(out, &path); err != nil {
		t.Fatal(err)
	}
	Sweep("kind", os.RemoveAll)
	if !exists(path) || !exists(lockOf(path)) {
		t.Error("the folder of a living process is gone")
	}
	child.Process.Kill()
	child.Wait()
	failing := errors.New("it cannot be removed")
	Sweep("kind", func(string) error { return failing })
	if !exists(path) || !exists(lockOf(path)) {
		t.Error("what cannot be removed now is not left to a later sweep")
	}
	orphan := filepath.Join(os.TempDir(), ".llamatab-kind-x7.lock")
	if err := os.WriteFile(orphan, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	Sweep("kind", os.RemoveAll)
	if exists(path) || exists(lockOf(path)) || exists(orphan) {
		t.Error("the folder of a killed process, its lock file, or a lock file without a folder is still there")
	}
	own, err := New("kind")
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Remove(func(string) error { return failing }); !errors.Is(err, failing) || !exists(lockOf(own.Path)) {
		t.Errorf("a folder that cannot be removed has lost its lock: %v", err)
	}
	for range 2 {
		if err := own.Remove(os.RemoveAll); err != nil || exists(own.Path) || exists(lockOf(own.Path)) {
			t.Errorf("removed, something is left: %v", err)
		}
	}
}
