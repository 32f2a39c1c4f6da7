package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"llamatab/engine/message"
)

// faults makes the calls of all disks of a test fail.
type faults struct {
	calls int
	fail  func(call int) error // nil: the call succeeds
	short bool                 // a write that fails has written half before
}

// errKilled is the error of every call after the one at which the program is killed: nothing that it does has an effect any more.
var errKilled = errors.New("the program is dead")

func (f *faults) call() error {
	f.calls++
	if f.fail == nil {
		return nil
	}
	return f.fail(f.calls)
}

// install puts the faults below all disks until the test ends.
func (f *faults) install(t *testing.T) {
	sound := openDisk
	openDisk = func(folder string) (disk, error) {
		if err := f.call(); err != nil {
			return nil, err
		}
		d, err := sound(folder)
		return faultyDisk{d, f}, err
	}
	t.Cleanup(func() { openDisk = sound })
}

type faultyDisk struct {
	disk
	*faults
}

func (d faultyDisk) Mkdir(name string, perm fs.FileMode) error {
	if err := d.call(); err != nil {
		return err
	}
	return d.disk.Mkdir(name, perm)
}

func (d faultyDisk) MkdirAll(name string, perm fs.FileMode) error {
	if err := d.call(); err != nil {
		return err
	}
	return d.disk.MkdirAll(name, perm)
}

func (d faultyDisk) Open(name string, flag int) (diskFile, error) {
	if err := d.call(); err != nil {
		return nil, err
	}
	file, err := d.disk.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return faultyFile{file, d.faults}, nil
}

func (d faultyDisk) ReadFile(name string) ([]byte, error) {
	if err := d.call(); err != nil {
		return nil, err
	}
	return d.disk.ReadFile(name)
}

func (d faultyDisk) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := d.call(); err != nil {
		return nil, err
	}
	return d.disk.ReadDir(name)
}

func (d faultyDisk) Lstat(name string) (fs.FileInfo, error) {
	if err := d.call(); err != nil {
		return nil, err
	}
	return d.disk.Lstat(name)
}

func (d faultyDisk) Rename(from, to string) error {
	if err := d.call(); err != nil {
		return err
	}
	return d.disk.Rename(from, to)
}

func (d faultyDisk) Remove(name string) error {
	if err := d.call(); err != nil {
		return err
	}
	return d.disk.Remove(name)
}

func (d faultyDisk) RemoveAll(name string) error {
	if err := d.call(); err != nil {
		return err
	}
	return d.disk.RemoveAll(name)
}

func (d faultyDisk) SyncFolder(string) {}

type faultyFile struct {
	diskFile
	*faults
}

func (f faultyFile) Write(p []byte) (int, error) {
	if err := f.call(); err != nil {
		n := 0
		if f.short {
			n, _ = f.diskFile.Write(p[:len(p)/2])
		}
		return n, err
	}
	return f.diskFile.Write(p)
}

func (f faultyFile) Truncate(size int64) error {
	if err := f.call(); err != nil {
		return err
	}
	return f.diskFile.Truncate(size)
}

func (f faultyFile) Sync() error {
	return f.call() // a real one takes long, and no power is lost here
}

// version is the content of the files of a folder that a run commits. Both files have it, so that a mixture shows.
func version(folder string, n int) string {
	return strings.Repeat(fmt.Sprintf("%s, version %d\n", folder, n), 3)
}

// put writes a folder of two files and commits it.
func put(d *Dir, folder string, n int) error {
	for _, name := range []string{"a", "b"} {
		text := version(folder, n)
		for at := 0; at < len(text); at += 20 {
			if err := d.Append(folder+"/"+name, int64(at), strings.NewReader(text[at:min(at+20, len(text))])); err != nil {
				return err
			}
		}
	}
	return d.Commit(folder)
}

// shortRun does what a run of six steps does to its folder: it records, saves checkpoints, replaces the best weights, goes back
// once, and writes its result. It ends at the first error of what it must have: a commit. The others are those of the record.
func shortRun(out string) (errs []error) {
	d, err := OpenDir(out)
	if err != nil {
		return []error{err}
	}
	l := NewLog(out, false)
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	must := func(err error) bool { note(err); return err == nil }
	defer func() { note(l.Close()); note(d.Close()) }()
	note(l.Record(message.Envelope{Type: "config", Config: json.RawMessage(`{"model": "m"}`)}))
	for n := 1; n <= 6; n++ {
		note(l.Record(step(n)))
		if n == 4 {
			note(l.Record(event("rolled_back", 4)))
			note(l.Record(step(3))) // the run repeats it
			note(l.Record(step(4)))
		}
		if n%2 == 0 {
			if !must(put(d, fmt.Sprintf("checkpoint-%d", n), 1)) || !must(put(d, "best", n)) {
				return errs
			}
			if n == 6 && !must(d.Remove("checkpoint-2")) {
				return errs
			}
		}
	}
	note(l.Record(message.Envelope{Type: "summary", Summary: json.RawMessage(`{"steps": 6}`)}))
	must(put(d, "adapter", 1))
	return errs
}

// contents are the files below a folder, by path, without the lock and what is not committed.
func contents(t *testing.T, out string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(out, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(out, path)
		if err != nil {
			return err
		}
		if name == partial {
			return fs.SkipDir
		}
		if !entry.IsDir() && name != lockName && !strings.HasSuffix(name, partial) {
			text, err := os.ReadFile(path)
			all[filepath.ToSlash(name)] = string(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wholeFolders reports each folder that is neither whole nor absent, and each line of the record that is not one.
func wholeFolders(all map[string]string) (wrong []string) {
	for name, text := range all {
		folder, file, in := strings.Cut(name, "/")
		switch {
		case in && file == "a":
			if n := 0; text != all[folder+"/b"] || len(text) == 0 {
				wrong = append(wrong, folder+" is not whole")
			} else if _, err := fmt.Sscanf(text, folder+", version %d", &n); err != nil || text != version(folder, n) {
				wrong = append(wrong, folder+" has other content: "+text)
			}
		case in && file == "b":
			if _, there := all[folder+"/a"]; !there {
				wrong = append(wrong, folder+" is not whole")
			}
		case strings.HasSuffix(name, ".json") && !json.Valid([]byte(text)):
			wrong = append(wrong, name+" is no JSON: "+text)
		}
	}
	return wrong
}

// TestFaultsAtEachCall makes each call of the file system fail in turn, for one call and for good, with an error of the hardware
// and with a full disk, with nothing and with half of what was to be written. Where nothing was reported the folder has all that
// an undisturbed run leaves. No folder is ever half there, and what was saved before stays.
func TestFaultsAtEachCall(t *testing.T) {
	counting := &faults{}
	counting.install(t)
	clean := t.TempDir()
	if errs := shortRun(clean); errs != nil {
		t.Fatal(errs)
	}
	want, calls := contents(t, clean), counting.calls
	for _, c := range []struct {
		name  string
		err   error
		short bool
		more  int // calls after it that fail as well
		every int // how many calls further the next run begins to fail
	}{
		{"one error", syscall.EIO, false, 0, 1}, {"one half write", syscall.EIO, true, 0, 1}, {"full for a while", syscall.ENOSPC, true, 5, 3},
		{"full for good", syscall.ENOSPC, true, calls, 3}, {"broken for good", syscall.EIO, false, calls, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := 1; n <= calls; n += c.every {
				out := t.TempDir()
				f := &faults{short: c.short, fail: func(call int) error {
					if call >= n && call <= n+c.more {
						return c.err
					}
					return nil
				}}
				openDisk := openDisk
				f.install(t)
				errs := shortRun(out)
				restore(openDisk)
				all := contents(t, out)
				if wrong := wholeFolders(all); wrong != nil {
					t.Errorf("call %d: %v; reported %v", n, wrong, errs)
				}
				if len(errs) == 0 && !maps.Equal(all, want) {
					t.Errorf("call %d: nothing was reported, and the folder has %v", n, slices.Sorted(maps.Keys(all)))
				}
				if d, err := OpenDir(out); err != nil { // the next run is not kept from its folder
					t.Errorf("call %d: %v", n, err)
				} else if err := d.Close(); err != nil {
					t.Errorf("call %d: %v", n, err)
				}
			}
		})
	}
}

// TestKilledAtEachCall ends the program at each call of the file system. After the next start each folder is whole, one that was
// there is not lost, and the record is that of the steps so far.
func TestKilledAtEachCall(t *testing.T) {
	sound := openDisk
	for _, short := range []bool{false, true} {
		for n, had := 1, map[string]bool{}; ; n++ {
			out := t.TempDir()
			f := &faults{short: short}
			dead := false
			f.fail = func(call int) error {
				if call < n {
					return nil
				}
				if dead {
					f.short = false
				}
				dead = true
				return errKilled
			}
			f.install(t)
			shortRun(out)
			restore(sound)
			d, err := OpenDir(out)
			if err != nil {
				t.Fatalf("killed at call %d: %v", n, err)
			}
			l := NewLog(out, true)
			if _, err := l.Last(); err != nil {
				t.Fatalf("killed at call %d: %v", n, err)
			}
			l.Close()
			d.Close()
			all := contents(t, out)
			if wrong := wholeFolders(all); wrong != nil {
				t.Errorf("killed at call %d: %v", n, wrong)
			}
			if had["best"] && all["best/a"] == "" {
				t.Errorf("killed at call %d: the best weights are lost", n)
			}
			had["best"] = all["best/a"] != ""
			last := 0
			for line := range strings.Lines(all["metrics.jsonl"]) {
				var s message.Step
				if err := json.Unmarshal([]byte(line), &s); err != nil || s.Step != last+1 {
					t.Errorf("killed at call %d: line %q after step %d", n, line, last)
				}
				last = s.Step
			}
			if !dead {
				break
			}
		}
	}
}

// TestRecordWaitsForDisk: a disk that is full while a run goes on leaves no gap in its record once there is room again. Without
// room until the end, closing says what is missing.
func TestRecordWaitsForDisk(t *testing.T) {
	for _, again := range []bool{true, false} {
		full := false
		f := &faults{fail: func(int) error {
			if full {
				return syscall.ENOSPC
			}
			return nil
		}}
		sound := openDisk
		f.install(t)
		h := newHost(t, false)
		var told []string
		h.job.Observe = func(e message.Envelope) {
			if e.Event != nil && e.Event.Code == "storage_full" {
				told = append(told, e.Event.Message)
			}
		}
		h.say(step(1))
		full = true
		h.say(step(2), event("loss_spike", 2), step(3), message.Envelope{Type: "summary", Summary: json.RawMessage(`{"a": 1}`)})
		full = !again
		h.say(message.Envelope{Type: "done", Done: &message.Done{}})
		<-h.job.Ended()
		err := h.job.Log.Close()
		restore(sound)
		if len(told) != 1 || !strings.Contains(told[0], "no space left") {
			t.Errorf("room again: %v: told %q", again, told)
		}
		if want := map[bool]string{true: "[1 2 3]", false: "[1]"}[again]; h.steps() != want {
			t.Errorf("room again: %v: steps %s, want %s", again, h.steps(), want)
		}
		if again != (err == nil) || err != nil && (!strings.Contains(err.Error(), "2 lines are missing at the end of metrics.jsonl") || !strings.Contains(err.Error(), "summary.json")) {
			t.Errorf("room again: %v: closing says %v", again, err)
		}
	}
}

// restore takes faults away before the test ends.
func restore(sound func(string) (disk, error)) { openDisk = sound }
