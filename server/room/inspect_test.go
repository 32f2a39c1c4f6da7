package room

import (
	"errors"
	"strings"
	"testing"
)

// TestInspect verifies, repairs and replays the room of a run that was ended in the middle.
func TestInspect(t *testing.T) {
	half := smallRun()
	half.leave = func() bool { return half.committed == 3 }
	half.simulate()
	if half.failure != "" {
		t.Fatal(half.failure)
	}
	if _, err := half.store.Inspect(simRoom); !errors.Is(err, ErrHeld) {
		t.Errorf("a room that a server has open is inspected: %v", err)
	}
	open := func() (*memDisk, *Local) {
		disk := half.disk.clone()
		store, err := newLocal("disk", disk)
		if err != nil {
			t.Fatal(err)
		}
		return disk, store
	}
	disk, store := open()
	whole, err := store.Inspect(simRoom)
	if err != nil || !whole.Whole() || whole.Step != 3 || whole.Blobs == 0 {
		t.Fatalf("%+v, %v", whole, err)
	}
	if _, err := store.Repair(simRoom); !errors.Is(err, ErrNothing) {
		t.Errorf("a whole log is repaired: %v", err)
	}
	if steps, err := store.Replay(simRoom); err != nil || len(steps) == 0 || steps[len(steps)-1] != 2 {
		t.Errorf("replayed steps %v, %v", steps, err)
	}
	// A blob rots.
	blob := disk.paths("/blobs/")[0]
	disk.change(blob, func(b []byte) []byte { b[0] ^= 1; return b })
	_, again := open()
	again.files = disk
	if i, err := again.Inspect(simRoom); err != nil || i.Err != nil || len(i.Damaged) != 1 || !strings.Contains(i.Damaged[0], blob[len(blob)-64:]) {
		t.Errorf("one changed blob: %+v, %v", i, err)
	}
	// A record in the middle rots: no server opens the room, until it is repaired.
	disk, store = open()
	at := int(whole.Bytes) / 2
	disk.change("disk/room/log", func(b []byte) []byte { b[at] ^= 1; return b })
	bad, err := store.Inspect(simRoom)
	if err != nil || !errors.Is(bad.Err, ErrDamaged) || bad.Records == 0 || bad.Bytes > int64(at) || bad.Bytes+bad.Rest != whole.Bytes {
		t.Fatalf("%+v, %v", bad, err)
	}
	s := smallRun()
	s.disk, s.struck = disk, true
	if _, err := s.open(); !errors.Is(err, ErrDamaged) {
		t.Errorf("the damaged room opens: %v", err)
	}
	disk.die()
	if i, err := store.Repair(simRoom); err != nil || i.Records != bad.Records {
		t.Fatalf("%+v, %v", i, err)
	}
	if kept := disk.paths("log.cut."); len(kept) != 1 || int64(len(disk.names[kept[0]].data)) != bad.Rest {
		t.Errorf("what was cut off is kept as %v", kept)
	}
	s.simulate()
	if s.failure != "" || s.gaveUp {
		t.Errorf("the repaired room does not end: %s, gave up: %v", s.failure, s.gaveUp)
	}
	// A log that says another norm than the gradient has is found.
	disk, store = open()
	i, err := store.Inspect(simRoom)
	if err != nil {
		t.Fatal(err)
	}
	var entries [][]byte
	prev := ""
	text := disk.names["disk/room/log"].data
	list, _ := parseEntries(text)
	records, _ := ParseRecords(list)
	for _, rec := range records {
		if rec.Kind == Committed && rec.Step == 2 {
			rec.Norm *= 2
		}
		entries = append(entries, Chain(&rec, prev, rec.Fence))
		prev = rec.Hash
	}
	disk.change("disk/room/log", func([]byte) []byte { return logOf(entries...) })
	if _, err := store.Replay(simRoom); err == nil || !strings.Contains(err.Error(), "step 2") {
		t.Errorf("a false norm in a log of %d records: %v", i.Records, err)
	}
}
