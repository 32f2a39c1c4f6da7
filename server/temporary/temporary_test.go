package temporary

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

func there(path string) bool {
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
	kept := []string{own, folder(fmt.Sprintf("llamatab-other-%d-1", id)), folder("llamatab-kind-x-1"), folder("llamatab-kind--5-1"), folder("llamatab-kind-"), folder("precious")}
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
	if there(left) {
		t.Error("the folder of a dead process is still there")
	}
	for _, path := range kept {
		if !there(path) {
			t.Errorf("%s is gone", filepath.Base(path))
		}
	}
}
