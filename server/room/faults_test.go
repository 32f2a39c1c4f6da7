package room

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"llamatab/engine/fsdp"
)

// TestDiskFaults runs a room with a fault of the disk at every call, one after another: an error, a disk that is full until the
// room has failed, a server that is killed, a loss of power, and a disk that has not kept what it was told to sync. The run ends
// with the bits of a run without faults, or the room says what is lost.
func TestDiskFaults(t *testing.T) {
	calls := faultRun(0, "none").disk.calls
	gaveUp := map[string]int{}
	for _, mode := range []string{"error", "full", "kill", "power", "deaf"} {
		for at := 1; at <= calls; at++ {
			s := faultRun(at, mode)
			if s.failure != "" {
				t.Fatalf("%s at call %d of %d: %s", mode, at, calls, s.failure)
			}
			if s.gaveUp {
				gaveUp[mode]++
			}
		}
	}
	t.Logf("%d calls; the room gave up: %v", calls, gaveUp)
	if calls < 50 || gaveUp["error"]+gaveUp["full"]+gaveUp["kill"]+gaveUp["power"] > 0 {
		t.Errorf("%d calls, and the room gave up after faults of which each leaves one copy: %v", calls, gaveUp)
	}
}

// clone is a copy of what is on the disk.
func (d *memDisk) clone() *memDisk {
	c := newMemDisk()
	for path, f := range d.names {
		c.names[path] = &memFile{data: bytes.Clone(f.data), synced: bytes.Clone(f.data)}
		c.kept[path] = c.names[path]
	}
	return c
}

// halfRun is a run in its middle: three steps are committed, and the log and the blobs are on the disk.
func halfRun(t *testing.T) *sim {
	t.Helper()
	half := smallRun()
	half.leave = func() bool { return half.committed == 3 }
	half.simulate()
	if half.failure != "" || half.committed != 3 {
		t.Fatalf("%s, %d commits", half.failure, half.committed)
	}
	return half
}

// continued opens the room of a half run after f has changed a file, and runs it to its end. It fails where the end differs from
// that of a run without faults. outcome is "shut" where the log is damaged and stays as it is, "lost" where the room says that
// what it needs is lost, else "right".
func (half *sim) continued(t *testing.T, path string, f func(b []byte) []byte) (outcome string) {
	t.Helper()
	s := smallRun()
	s.disk, s.struck = half.disk.clone(), true
	s.disk.change(path, f)
	before := bytes.Clone(s.disk.names[path].data)
	_, err := s.open()
	if errors.Is(err, ErrDamaged) {
		if !bytes.Equal(s.disk.names[path].data, before) {
			t.Fatal("the log was changed")
		}
		return "shut"
	}
	if err != nil {
		t.Fatal(err)
	}
	s.disk.die()
	s.simulate()
	if s.failure != "" {
		t.Fatal(s.failure)
	}
	if s.gaveUp {
		return "lost"
	}
	return "right"
}

// TestRot changes every byte of each file of a room in the middle of its run, and cuts the file off at every length. The room is
// not opened and its log stays as it is, or the run ends with the right bits, or the room says what is lost. The long test flips
// every bit of every file; the short one a bit of every byte of the log, and of each twentieth of other files.
func TestRot(t *testing.T) {
	half := halfRun(t)
	for _, path := range half.disk.paths("disk/room/") {
		size, outcomes := len(half.disk.names[path].data), map[string]int{}
		isLog := path == "disk/room/log"
		step, bits, cuts := 1+size/20, 1, 1+size/20
		if isLog {
			step, cuts = 1, 3
		}
		if exhaustive {
			step, bits, cuts = 1, 8, 1
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			for i := 0; i < size; i += step {
				for bit := range bits {
					outcomes[half.continued(t, path, func(b []byte) []byte { b[i] ^= 1 << ((i + bit) % 8); return b })]++
				}
			}
			for i := 0; i < size; i += cuts {
				outcomes[half.continued(t, path, func(b []byte) []byte { return b[:i] })]++
			}
			t.Logf("%d bytes: %v", size, outcomes)
			if isLog && (outcomes["shut"] == 0 || outcomes["right"] == 0) {
				t.Error("no log was refused, or none was opened")
			}
			if !isLog && outcomes["shut"] > 0 {
				t.Error("the log was called damaged, which is whole")
			}
		})
	}
}

// TestOthersAreServed damages a file of one room everywhere, and opens all rooms of the folder: the other room is served as
// before.
func TestOthersAreServed(t *testing.T) {
	half := halfRun(t)
	for _, path := range half.disk.paths("disk/room/") {
		size := len(half.disk.names[path].data)
		step := 1 + size/15
		if exhaustive {
			step = 1
		}
		for i := range size {
			if i%step != 0 {
				continue
			}
			for _, damage := range []func(b []byte) []byte{func(b []byte) []byte { b[i] ^= 1 << (i % 8); return b }, func(b []byte) []byte { return b[:i] }} {
				disk := half.disk.clone()
				disk.change(path, damage)
				disk.names["disk/other/log"] = &memFile{data: logOf(smallLog()...), synced: logOf(smallLog()...)}
				store, err := newLocal("disk", disk)
				if err != nil {
					t.Fatal(err)
				}
				rooms, err := OpenRooms(store, quiet)
				if err != nil {
					t.Fatalf("%s, byte %d of %d: %v", path, i, size, err)
				}
				if h := rooms.Find("other"); h == nil || h.View(true).Step != 1 {
					t.Fatalf("%s, byte %d of %d: the other room is not served: %v", path, i, size, rooms.Shut("other"))
				}
				if rooms.Find("room") == nil && rooms.Shut("room") == nil && (path != "disk/room/log" || i >= len(logOf(smallLog()[0]))) {
					t.Fatalf("%s, byte %d of %d: the room is neither served nor called damaged", path, i, size)
				}
				if err := rooms.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// smallRun is a run without faults.
func smallRun() *sim {
	s := scenario(7)
	s.plan, s.sound = faults{}, true
	s.cfg = toyConfig(fsdp.FullShard, 4)
	s.cfg.Run.Slots, s.cfg.Run.Shards, s.cfg.Run.Checkpoint = 2, 2, 2
	s.cfg.Run.Params = s.cfg.Run.Params[1:2]
	s.cfg.Run.Eval = &fsdp.Evaluation{Every: 2, First: true, Tokens: []int{3, 4}}
	return s
}

// faultRun simulates a small run whose disk fails at a call.
func faultRun(at int, mode string) *sim {
	s := smallRun()
	s.disk.fault = func(op, path string) error {
		switch n := s.disk.calls; {
		case mode == "none" || n < at:
			return nil
		case mode == "error" && n == at:
			s.struck = true
			return fmt.Errorf("%s %s: %w", op, path, errDisk)
		case mode == "error", mode == "full" && op != "write" && op != "mkdir" && op != "sync":
			return nil
		case mode == "full":
			s.struck = true
			return fmt.Errorf("%s %s: no space left on device: %w", op, path, errDisk)
		case mode == "deaf" && n < at+20: // it takes a while until the power is lost
			s.disk.deaf = true
			return nil
		}
		s.struck, s.doomed = true, true
		if mode == "power" {
			s.disk.deaf = true // it is lost before anything more is kept
		}
		return fmt.Errorf("%s %s: %w", op, path, errDisk)
	}
	s.simulate()
	return s
}
