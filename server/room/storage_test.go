package room

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func openLocal(t *testing.T, dir string) *Local {
	t.Helper()
	l, err := OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLogTorn cuts a log off at every byte of its last entry, and changes every byte of it. What may be more than a torn write
// is kept beside the log.
func TestLogTorn(t *testing.T) {
	dir := t.TempDir()
	l := openLocal(t, dir)
	if _, _, err := l.Read("r"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := l.Append("r", i, []byte(fmt.Sprintf("entry %d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Append("r", 2, nil); !errors.Is(err, ErrConflict) {
		t.Errorf("an entry twice: %v", err)
	}
	place := filepath.Join(dir, "r", "log")
	whole, err := os.ReadFile(place)
	if err != nil {
		t.Fatal(err)
	}
	two := len(appendEntry(appendEntry(nil, []byte("entry 0")), []byte("entry 1")))
	check := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(place, content, 0o600); err != nil {
			t.Fatal(err)
		}
		entries, tail, err := l.Read("r")
		if err != nil || len(entries) != 2 || string(entries[1]) != "entry 1" || string(tail.Bytes) != string(content[two:]) || tail.Middle {
			t.Fatalf("%s: %q, %+v, %v", what, entries, tail, err)
		}
		if now, _ := os.ReadFile(place); string(now) != string(content) {
			t.Fatalf("%s: reading the log has changed it", what)
		}
		if err := l.Append("r", 2, []byte("again")); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		kept, err := os.ReadFile(filepath.Join(dir, "r", fmt.Sprintf("log.cut.%d", two)))
		if tail.Torn() != errors.Is(err, os.ErrNotExist) || !tail.Torn() && string(kept) != string(content[two:]) {
			t.Fatalf("%s: %+v, and %q was kept, %v", what, tail, kept, err)
		}
		os.Remove(filepath.Join(dir, "r", fmt.Sprintf("log.cut.%d", two)))
		if entries, _, err = l.Read("r"); err != nil || len(entries) != 3 || string(entries[2]) != "again" {
			t.Fatalf("%s, and one more entry: %q, %v", what, entries, err)
		}
	}
	for n := two; n < len(whole); n++ {
		check(fmt.Sprintf("cut at %d", n), whole[:n])
		check(fmt.Sprintf("zeros after %d", n), append(append([]byte(nil), whole[:n]...), make([]byte, 30)...))
		changed := append([]byte(nil), whole...)
		changed[n] ^= 0x40
		check(fmt.Sprintf("byte %d changed", n), changed)
	}
}

// TestLogMiddle changes every byte of each entry but the last: that is told apart from a torn write.
func TestLogMiddle(t *testing.T) {
	var whole []byte
	for i := range 4 {
		whole = appendEntry(whole, []byte(fmt.Sprintf(`{"entry": %d}`, i)))
	}
	last := len(whole) - len(whole)/4
	for i := range last {
		for bit := range 8 {
			changed := append([]byte(nil), whole...)
			changed[i] ^= 1 << bit
			if entries, tail := parseEntries(changed); !tail.Middle || len(entries) != i/(len(whole)/4) {
				t.Fatalf("bit %d of byte %d changed: %d entries, then %+v", bit, i, len(entries), tail)
			}
		}
	}
}

func TestBlobs(t *testing.T) {
	l := openLocal(t, t.TempDir())
	if _, _, err := l.Read("r"); err != nil {
		t.Fatal(err)
	}
	a, err := l.Put("r", []byte("some bytes"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := l.Put("r", []byte("some bytes")); err != nil || again != a {
		t.Errorf("the same bytes twice: %s and %s, %v", a, again, err)
	}
	b, _ := l.Put("r", nil)
	if got, err := l.Get("r", a, 5, 3); err != nil || string(got) != "byt" {
		t.Errorf("a part: %q, %v", got, err)
	}
	if _, err := l.Get("r", a, 5, 30); err == nil {
		t.Error("more than there is was read")
	}
	if names, err := l.List("r"); err != nil || len(names) != 2 {
		t.Errorf("list %v, %v", names, err)
	}
	if err := l.Delete("r", a, b, "0000"); err != nil {
		t.Error(err)
	}
	if names, _ := l.List("r"); len(names) != 0 {
		t.Errorf("after deleting: %v", names)
	}
}

func TestLease(t *testing.T) {
	dir := t.TempDir()
	l, other := openLocal(t, dir), openLocal(t, dir)
	lease, err := l.Acquire("r")
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		if _, err := other.Acquire("r"); !errors.Is(err, ErrHeld) {
			t.Errorf("a lease that is held was given again: %v", err)
		}
	}
	if err := lease.Release(); err != nil {
		t.Fatal(err)
	}
	next, err := other.Acquire("r")
	if err != nil || next.Fence() <= lease.Fence() {
		t.Fatalf("fence %d after %d, %v", next.Fence(), lease.Fence(), err)
	}
	next.Release()
	for _, bad := range []string{"", "..", "a/b", "A", "a.b", strings.Repeat("a", 65)} {
		if _, err := l.Acquire(bad); err == nil {
			t.Errorf("%q names a room", bad)
		}
	}
}

// TestRecords: a log in which a record was changed, left out or put elsewhere does not verify.
func TestRecords(t *testing.T) {
	var entries [][]byte
	prev := ""
	for i := range 4 {
		rec := Record{Kind: Committed, Step: uint64(i)}
		entries = append(entries, Chain(&rec, prev, 7))
		prev = rec.Hash
	}
	if records, err := ParseRecords(entries); err != nil || len(records) != 4 || records[3].Hash != prev {
		t.Fatalf("%v, %v", records, err)
	}
	for name, bad := range map[string][][]byte{
		"changed":  {entries[0], []byte(strings.Replace(string(entries[1]), `"step":1`, `"step":2`, 1)), entries[2]},
		"left out": {entries[0], entries[2]},
		"swapped":  {entries[1], entries[0]},
		"no JSON":  {entries[0], []byte("{")},
		"unknown":  {[]byte(`{"kind":"x","prev":"","more":1}`)},
	} {
		if _, err := ParseRecords(bad); err == nil {
			t.Errorf("%s: it verifies", name)
		}
	}
	old := Record{Kind: Committed}
	if _, err := ParseRecords([][]byte{entries[0], Chain(&old, hashOf(entries[0]), 6)}); err == nil {
		t.Error("a record of an older lease after one of a newer verifies")
	}
}

func TestBus(t *testing.T) {
	b := NewLocalBus()
	if err := b.Send("x", Parcel{}); !errors.Is(err, ErrNobody) {
		t.Errorf("to nobody: %v", err)
	}
	in, err := b.Listen("x", 4*parcelCost)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Listen("x", 1); err == nil {
		t.Error("two listen at one address")
	}
	sent := 0
	for ; b.Send("x", Parcel{Tab: uint32(sent), Frame: make([]byte, 100)}) == nil; sent++ {
	}
	if sent != 2 {
		t.Errorf("%d parcels fit, want 2", sent)
	}
	for i := range sent {
		<-in.Ready()
		if p, ok := in.Take(); !ok || p.Tab != uint32(i) {
			t.Errorf("parcel %d: %v %v", i, p, ok)
		}
	}
	if _, ok := in.Take(); ok {
		t.Error("an empty inbox gives something")
	}
	if err := b.Send("x", Parcel{Frame: make([]byte, 1<<20)}); err != nil {
		t.Errorf("one that is larger than the limit, into an empty inbox: %v", err)
	}
	in.Close()
	if err := b.Send("x", Parcel{}); !errors.Is(err, ErrNobody) {
		t.Errorf("after closing: %v", err)
	}
}

// FuzzEntries: whatever a log file holds, entries are found up to some byte and spelled again they are those bytes.
func FuzzEntries(f *testing.F) {
	f.Add(appendEntry(appendEntry(nil, []byte("a")), []byte("bc")))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, tail := parseEntries(b)
		var again []byte
		for _, e := range entries {
			again = appendEntry(again, e)
		}
		if string(again)+string(tail.Bytes) != string(b) || tail.Offset != int64(len(again)) {
			t.Errorf("%x: spelled again %x, and then %x", b, again, tail.Bytes)
		}
		ParseLog(entries, tail)
	})
}
