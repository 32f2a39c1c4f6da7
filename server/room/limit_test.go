package room

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// TestFlood: 30 pages join a room while others try wrong tokens and wrong codes without a pause.
func TestFlood(t *testing.T) {
	site := newSite(t)
	site.rooms.Sources = func(json.RawMessage) (map[string][]message.ServerFile, error) { return nil, nil }
	cfg := toyConfig(fsdp.NoShard, 9)
	cfg.Run.Job = json.RawMessage("{}")
	cfg.MinTabs = 0
	code, _ := site.open("lesson", cfg)
	handler := site.rooms.Handler()
	post := func(from, body string) int {
		r := httptest.NewRequest("POST", "http://"+site.addr+"/api/rooms/join", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	flood := func(round int) {
		for i := range 200 {
			if got := post("10.0.0.66:1", `{"id":"lesson","tab":1,"token":"wrong"}`); got != http.StatusForbidden {
				t.Fatalf("a wrong token: %d", got)
			}
			if got := post("10.0.0.66:1", `{"code":"wrong"}`); got != http.StatusForbidden && got != http.StatusTooManyRequests {
				t.Fatalf("a wrong code: %d", got)
			}
			// A machine that changes its IPv6 address with each try is one source.
			if got := post(fmt.Sprintf("[2001:db8::%x:%x]:1", round, i), `{"code":"wrong"}`); got != http.StatusForbidden && got != http.StatusTooManyRequests {
				t.Fatalf("a wrong code: %d", got)
			}
		}
	}
	for i := range 30 {
		flood(i)
		if got := post(fmt.Sprintf("10.0.1.%d:1", i), fmt.Sprintf(`{"code":%q,"name":"pupil %d"}`, code, i)); got != http.StatusOK {
			t.Fatalf("pupil %d of 30 is answered with %d", i+1, got)
		}
	}
	if got := post("10.0.0.66:1", fmt.Sprintf(`{"code":%q}`, code)); got != http.StatusTooManyRequests {
		t.Errorf("the right code of a source that tried thousands is answered with %d", got)
	}
	d := site.rooms.Dropped()
	if d["token"] != 30*200 || d["code"] < 10 || d["guessing"] < 30*300 {
		t.Errorf("the refusals are counted as %v", d)
	}
}

// TestSocketShares: a source has its share of the sockets, and no other source loses by it.
func TestSocketShares(t *testing.T) {
	l := newLimiter()
	held := 0
	for i := range 10 * maxPerSource { // each from the same machine, slowly
		l.opening = map[string]*bucket{}
		if l.enter("a", Socket(i%2)) {
			held++
			l.known("a")
		}
	}
	if held != maxPerSource {
		t.Errorf("a source holds %d sockets, want %d", held, maxPerSource)
	}
	silent := 0
	for range 10 * maxUnknown {
		l.opening = map[string]*bucket{}
		if l.enter("b", Control) {
			silent++
		}
	}
	if silent != maxUnknown {
		t.Errorf("a source holds %d sockets on which it says nothing, want %d", silent, maxUnknown)
	}
	if !l.enter("c", Control) {
		t.Error("another source gets no socket")
	}
	l.leave("c", false)
	for range held {
		l.leave("a", true)
	}
	for range silent {
		l.leave("b", false)
	}
	if l.open != 0 || len(l.sockets) != 0 {
		t.Errorf("%d sockets of %d sources are counted after all are closed", l.open, len(l.sockets))
	}
}

func TestSource(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.1:5": "10.0.0.1", "[::ffff:10.0.0.1]:5": "10.0.0.1", "[2001:db8::1:2]:5": "2001:db8::/64", "[::1]:5": "::/64", "unix": "unix",
	} {
		if got := sourceOf(&http.Request{RemoteAddr: address}); got != want {
			t.Errorf("%s is of the source %s, want %s", address, got, want)
		}
	}
}
