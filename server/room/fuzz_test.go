package room

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"llamatab/engine/fsdp"
)

// FuzzReopen opens a room whose log is whole and says whatever the input says: records as JSON, one a line, which are chained
// here. A room that opens is opened a second time and is in the same state then.
func FuzzReopen(f *testing.F) {
	var lines []string
	for _, text := range smallLog() {
		lines = append(lines, string(text))
	}
	f.Add(strings.Join(lines, "\n"))
	f.Fuzz(func(t *testing.T, text string) {
		store, err := newLocal("rooms", newMemDisk())
		if err != nil {
			t.Fatal(err)
		}
		prev, n := "", 0
		for line := range strings.SplitSeq(text, "\n") {
			var rec Record
			if json.Unmarshal([]byte(line), &rec) != nil {
				continue
			}
			if cfg, err := OpenedConfig([]Record{rec}); err == nil && !small(&cfg.Run) {
				return // a room takes as much memory as the parameters that its own log lists
			}
			if n == 0 {
				if _, _, err := store.Read("r"); err != nil {
					t.Fatal(err)
				}
			}
			if err := store.Append("r", n, Chain(&rec, prev, uint64(n+1))); err != nil {
				t.Fatal(err)
			}
			prev, n = rec.Hash, n+1
		}
		open := func() *opening {
			lease, err := store.Acquire("r")
			if err != nil {
				t.Fatal(err)
			}
			defer lease.Release()
			o, err := openRoom("r", store, lease, nil)
			if err != nil {
				return nil
			}
			return o
		}
		first := open()
		if first == nil {
			return
		}
		if again := open(); again == nil {
			t.Error("the room opens once, and not again")
		} else if a, b := first.room, again.room; a.step != b.step || a.phase != b.phase || len(a.removed) != len(b.removed) {
			t.Errorf("opened again it is at step %d, %s, and not at %d, %s", b.step, b.phase, a.step, a.phase)
		}
	})
}

// small reports whether the parameters of a run have few elements.
func small(run *fsdp.Run) bool {
	for _, p := range run.Params {
		if n, err := p.Shape.CheckedSize(); err == nil && n > 1<<12 {
			return false
		}
	}
	return len(run.Params) < 64
}

// FuzzReadFrame reads a message of a socket: it is refused, or it is a frame no larger than allowed whose message, if it has one,
// can be written again.
func FuzzReadFrame(f *testing.F) {
	f.Add(fsdp.Encode(fsdp.Hello{Code: "123456"}), 1<<10)
	f.Add(fsdp.Encode(fsdp.Attach{Tab: 1, Token: "x"}), 1<<10)
	f.Add(fsdp.Encode(fsdp.Bye{Code: "protocol", Reason: "why"}), 4)
	f.Fuzz(func(t *testing.T, message []byte, most int) {
		if most < 0 || most > 1<<20 {
			return
		}
		b, frame, err := readFrame(bytes.NewReader(message), most)
		if err != nil {
			if !errors.Is(err, fsdp.ErrFrame) {
				t.Errorf("%x: error %v", message, err)
			}
			return
		}
		defer recycle(b)
		if !bytes.Equal(b, message) || len(frame.Body) > most {
			t.Errorf("%x is read as %x, with at most %d bytes of body", message, b, most)
		}
		if m, err := fsdp.Decode(frame); err == nil {
			if _, err := fsdp.Decode(mustParse(t, fsdp.Encode(m))); err != nil {
				t.Errorf("%x: its message cannot be read when it is written again: %v", message, err)
			}
		}
	})
}

func mustParse(t *testing.T, b []byte) fsdp.Frame {
	t.Helper()
	frame, err := fsdp.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// FuzzRequests sends a request to the rooms of a server, from this machine or another, with the token of nobody, a tab or the
// owner. It is answered, and only the owner's token ends the room.
func FuzzRequests(f *testing.F) {
	for _, seed := range []struct{ method, path, body string }{
		{"GET", "/api/rooms", ""}, {"POST", "/api/rooms", `{"id": "b", "config": {"run": {}}}`}, {"POST", "/api/rooms/join", `{"code": "123456", "name": "Ada"}`},
		{"POST", "/api/rooms/join", `{"id": "a", "tab": 1, "token": "x"}`}, {"POST", "/api/rooms/a/look", `{"phase": "load", "done": 3, "since": 1}`},
		{"POST", "/api/rooms/a/plan", `{"tabs": 2}`}, {"POST", "/api/rooms/a/remove?tab=1", ""}, {"DELETE", "/api/rooms/a", ""}, {"GET", "/api/rooms/a/control", ""},
	} {
		for who := range uint8(4) {
			f.Add(seed.method, seed.path, seed.body, who)
		}
	}
	f.Fuzz(func(t *testing.T, method, path, body string, who uint8) {
		store, err := newLocal("rooms", newMemDisk())
		if err != nil {
			t.Fatal(err)
		}
		rooms, err := OpenRooms(store, quiet)
		if err != nil {
			t.Fatal(err)
		}
		defer rooms.Close()
		h, err := rooms.Open("a", toyConfig(fsdp.NoShard, 3), "123456")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path+method, func(c rune) bool { return c <= ' ' || c > '~' }) || method == "" {
			return
		}
		r := httptest.NewRequest("GET", "http://127.0.0.1:8080/", strings.NewReader(body))
		target, err := r.URL.Parse(path)
		if err != nil {
			return
		}
		r.Method, r.URL = method, target
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = [...]string{"127.0.0.1:5000", "192.168.1.7:5000"}[who&1]
		owner := who&6 == 4
		switch who & 6 {
		case 2:
			r.Header.Set("Authorization", "Bearer 1."+h.token(1))
		case 4:
			r.Header.Set("Authorization", "Bearer "+h.OwnerToken())
		}
		w := httptest.NewRecorder()
		rooms.Handler().ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 {
			t.Errorf("answered with %d", w.Code)
		}
		if !owner && rooms.Find("a") == nil {
			t.Errorf("%s %s ended the room without the owner's token", method, path)
		}
		if !owner && strings.Contains(w.Body.String(), h.OwnerToken()) {
			t.Errorf("%s %s tells the owner's token", method, path)
		}
	})
}
