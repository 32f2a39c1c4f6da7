package room

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/engine/fsdp"
)

// smallLog is the log of a room that has skipped a step, entry by entry.
func smallLog() (entries [][]byte) {
	prev := ""
	for _, rec := range []Record{
		OpenedRecord(toyConfig(fsdp.NoShard, 9), "123456", []byte("secret")), {Kind: Started}, {Kind: Committed, Slots: [][]uint32{{1}}}, {Kind: Removed, Tab: 3},
	} {
		entries = append(entries, Chain(&rec, prev, 1))
		prev = rec.Hash
	}
	return entries
}

func logOf(entries ...[]byte) (b []byte) {
	for _, text := range entries {
		b = appendEntry(b, text)
	}
	return b
}

// damagedLogs are logs that cannot be followed to their end.
func damagedLogs() map[string][]byte {
	e := smallLog()
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 4
		return b
	}
	strange := Record{Kind: "strange"}
	text := Chain(&strange, hashOf(e[3]), 1)
	return map[string][]byte{
		"middle":       flip(logOf(e...), len(logOf(e[0]))+entryHeader+3),
		"first":        flip(logOf(e...), entryHeader+3),
		"only first":   flip(logOf(e[0]), entryHeader+3),
		"chain":        logOf(e[0], e[1], e[3]),
		"unknown kind": logOf(e[0], e[1], e[2], e[3], text),
		"no config":    logOf(e[1], e[2]),
		"out of order": logOf(e[0], e[1], e[2], e[2]),
		"no JSON":      logOf(e[0], e[1], []byte("{")),
	}
}

// TestDamagedLog: a room whose log is damaged is reported and left as it is, and all others are served.
func TestDamagedLog(t *testing.T) {
	dir := t.TempDir()
	put := func(id string, log []byte) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, id), 0o700), os.WriteFile(filepath.Join(dir, id, "log"), log, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	id := func(name string) string { return "bad-" + strings.ReplaceAll(strings.ToLower(name), " ", "-") }
	for name, log := range damagedLogs() {
		put(id(name), log)
	}
	put("good", logOf(smallLog()...))
	put("torn", logOf(smallLog()...)[:len(logOf(smallLog()...))-5])
	put("unborn", nil)
	put("unborn-too", logOf(smallLog()[0])[:40])
	for range 2 { // the second start finds what the first has left
		rooms, err := OpenRooms(openLocal(t, dir), quiet)
		if err != nil {
			t.Fatal(err)
		}
		for name, log := range damagedLogs() {
			if err := rooms.Shut(id(name)); !errors.Is(err, ErrDamaged) || rooms.Find(id(name)) != nil {
				t.Errorf("%s: the room is open, or not called damaged: %v", name, err)
			}
			if now, _ := os.ReadFile(filepath.Join(dir, id(name), "log")); !bytes.Equal(now, log) {
				t.Errorf("%s: the log was changed", name)
			}
		}
		for _, id := range []string{"good", "torn"} {
			if h := rooms.Find(id); h == nil || h.View(true).Step != 1 {
				t.Errorf("the room %s is not served: %v", id, rooms.Shut(id))
			}
		}
		if rooms.Find("unborn") != nil || rooms.Shut("unborn") != nil || rooms.Find("unborn-too") != nil {
			t.Error("a room without a record is open, or called damaged")
		}
		w := httptest.NewRecorder()
		rooms.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/rooms", nil))
		var views []View
		if err := json.NewDecoder(w.Body).Decode(&views); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d, %v", w.Code, err)
		}
		failed := 0
		for _, v := range views {
			if v.Phase == Failed && strings.Contains(v.Reason, ErrDamaged.Error()) {
				failed++
			}
		}
		if failed != len(damagedLogs()) || len(views) != failed+2 {
			t.Errorf("%d rooms are listed, %d of them as failed; %d are damaged", len(views), failed, len(damagedLogs()))
		}
		if err := rooms.Close(); err != nil {
			t.Fatal(err)
		}
	}
	rooms, err := OpenRooms(openLocal(t, dir), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer rooms.Close()
	if _, err := rooms.Open("unborn", toyConfig(fsdp.NoShard, 9), ""); err != nil {
		t.Errorf("a room that was never opened cannot be: %v", err)
	}
	if _, err := rooms.Open("bad-middle", toyConfig(fsdp.NoShard, 9), ""); err == nil {
		t.Error("a new room took the place of a damaged one")
	}
}

// TestBlobRot changes every byte of a blob and cuts it off everywhere, before it was read and after: no read gives other bytes
// than were written.
func TestBlobRot(t *testing.T) {
	for _, size := range []int{1, 300, 2*sumBlock + 100} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(mix(uint64(i)))
		}
		disk := newMemDisk()
		store, err := newLocal("disk", disk)
		if err != nil {
			t.Fatal(err)
		}
		hash, err := store.Put("r", data)
		if err != nil {
			t.Fatal(err)
		}
		path := disk.paths(hash)[0]
		// damage holds a damaged blob against reads of all of it and of single bytes; of those, one that is not touched may be right.
		damage := func(what string, f func(b []byte) []byte) {
			t.Helper()
			disk.change(path, f)
			for _, fresh := range []bool{false, true} {
				if fresh {
					store, _ = newLocal("disk", disk)
				}
				var blob *BlobError
				if got, err := store.Get("r", hash, 0, int64(size)); !errors.As(err, &blob) || blob.Hash != hash {
					t.Fatalf("%d bytes, %s, read before %v: %d bytes, %v", size, what, !fresh, len(got), err)
				}
				for at := 0; at < size; at += 1 + size/50 {
					if got, err := store.Get("r", hash, int64(at), 1); err == nil && got[0] != data[at] {
						t.Fatalf("%d bytes, %s: byte %d is %d, not %d", size, what, at, got[0], data[at])
					}
				}
			}
			disk.change(path, func([]byte) []byte { return bytes.Clone(data) })
			if got, err := store.Get("r", hash, 0, int64(size)); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes, whole again: %v", size, err)
			}
		}
		for i := 0; i < size; i += 1 + size/400*10 {
			damage(fmt.Sprintf("byte %d changed", i), func(b []byte) []byte { b[i] ^= 1 << (i % 8); return b })
			damage(fmt.Sprintf("cut at %d", i), func(b []byte) []byte { return b[:i] })
		}
		disk.lose(path)
		if _, err := store.Get("r", hash, 0, 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a blob that is gone: %v", err)
		}
	}
}
