package room

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"llamatab/engine/fsdp"
)

// TestDiskFaults runs a room with a fault of the disk at every call, one after another: an error, a server that is killed, a loss
// of power, and a disk that has not kept what it was told to sync. The run ends with the bits of a run without faults, or the
// room says what is lost.
func TestDiskFaults(t *testing.T) {
	calls := faultRun(0, "none").disk.calls
	gaveUp := map[string]int{}
	for _, mode := range []string{"error", "kill", "power", "deaf"} {
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
	if calls < 50 || gaveUp["error"]+gaveUp["kill"]+gaveUp["power"] > 0 {
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

// TestLogRot changes every byte of the log of a room in the middle of its run, and cuts the log off at every length. The room is
// not opened and its log stays as it is, or the run ends with the right bits, or the room says what is lost.
func TestLogRot(t *testing.T) {
	half := smallRun()
	half.leave = func() bool { return half.committed == 3 }
	half.simulate()
	if half.failure != "" || half.committed != 3 {
		t.Fatalf("%s, %d commits", half.failure, half.committed)
	}
	const path = "disk/room/log"
	size := len(half.disk.names[path].data)
	shut, opened, gaveUp := 0, 0, 0
	try := func(what string, f func(b []byte) []byte) {
		t.Helper()
		s := smallRun()
		s.disk, s.struck = half.disk.clone(), true
		s.disk.change(path, f)
		before := bytes.Clone(s.disk.names[path].data)
		_, err := s.open()
		if errors.Is(err, ErrDamaged) {
			if shut++; !bytes.Equal(s.disk.names[path].data, before) {
				t.Fatalf("%s: the log was changed", what)
			}
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		opened++
		s.disk.die()
		s.simulate()
		if s.failure != "" {
			t.Fatalf("%s: %s", what, s.failure)
		}
		if s.gaveUp {
			gaveUp++
		}
	}
	for i := range size {
		try(fmt.Sprintf("byte %d of %d changed", i, size), func(b []byte) []byte { b[i] ^= 1 << (i % 8); return b })
	}
	for i := 0; i < size; i += 3 {
		try(fmt.Sprintf("cut at %d of %d", i, size), func(b []byte) []byte { return b[:i] })
	}
	t.Logf("%d bytes: %d logs were refused, %d opened, of which the room gave up %d", size, shut, opened, gaveUp)
	if shut == 0 || opened == 0 {
		t.Errorf("%d logs were refused and %d opened", shut, opened)
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
		case mode == "error":
			return nil
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
