package classroom

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"llamatab/server/library"
	"llamatab/server/web"
)

// lanClassroom is a classroom whose models and data lie in folders.
func lanClassroom(t *testing.T) classroom {
	t.Helper()
	before := web.Packed
	t.Cleanup(func() { web.Packed = before })
	web.Packed = os.DirFS("../../testdata")
	dir := t.TempDir()
	for _, name := range []string{"models/tales", "models/other"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS("../../testdata/builtin/models/tales")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS("../../testdata/builtin/data")); err != nil {
		t.Fatal(err)
	}
	models, err := library.OpenFolder(filepath.Join(dir, "models"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := library.OpenFolder(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	offers := library.Library{Builtin: library.NewBuiltin(), Models: models, Data: data}
	c, err := Open(t.TempDir(), &offers, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	mux := http.NewServeMux()
	mux.Handle("/api/", offers.Handler(c.MayFetch))
	mux.Handle("/api/rooms", c.Handler())
	mux.Handle("/api/rooms/", c.Handler())
	mux.Handle("/api/handed/", c.Handler())
	return classroom{t, mux, offers.Uploads}
}

// TestFilesNeedTheCode: another machine gets the files of a room once it has joined, no other files, and none once the
// room has ended.
func TestFilesNeedTheCode(t *testing.T) {
	c := lanClassroom(t)
	var cookies []*http.Cookie
	pupil := func(r *http.Request) {
		r.RemoteAddr = "192.168.1.7:50000"
		for _, cookie := range cookies {
			r.AddCookie(cookie)
		}
	}
	gets := func(path string, want int) {
		t.Helper()
		if code, body := c.request("GET", path, "", "", pupil); code != want {
			t.Errorf("%s: %d %.200s, want %d", path, code, body, want)
		}
	}
	const model, data = "/api/models/tales/config.json", "/api/data/pirate.jsonl"
	code, body := c.request("POST", "/api/rooms", opening(strings.NewReplacer("builtin:tales", "tales", "builtin:pirate", "pirate.jsonl").Replace(lessonOfClass)), "")
	var o struct{ ID, Code, Owner string }
	if json.Unmarshal([]byte(body), &o); code != http.StatusCreated {
		t.Fatalf("opening a room: %d %s", code, body)
	}
	gets(model, http.StatusForbidden)
	gets(data, http.StatusForbidden)
	gets("/api/models/builtin:tales/config.json", http.StatusOK)

	join := func(body string) seatTaken {
		t.Helper()
		r := httptest.NewRequest("POST", "http://127.0.0.1:8080/api/rooms/join", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = "192.168.1.7:50000"
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, r)
		var s seatTaken
		if json.Unmarshal(w.Body.Bytes(), &s); w.Code != http.StatusOK {
			t.Fatalf("joining: %d %s", w.Code, w.Body)
		}
		cookies = w.Result().Cookies()
		return s
	}
	seat := join(`{"code": "` + o.Code + `"}`)
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || strings.Contains(cookies[0].Value, seat.Token) {
		t.Errorf("the cookies are %v", cookies)
	}
	for _, files := range seat.Sources {
		for _, f := range files {
			gets(f.URL, http.StatusOK)
		}
	}
	gets("/api/models/other/config.json", http.StatusForbidden)
	gets("/api/data/tales.jsonl", http.StatusForbidden)
	gets("/api/data/handed:x", http.StatusForbidden)

	good := cookies[0].Value
	for _, bad := range []string{"", "1", "1.", "0" + good[1:], "2" + good[1:], good + "x", "1." + seat.Token, "99999999999." + good} {
		cookies[0].Value = bad
		gets(model, http.StatusForbidden)
	}
	cookies[0].Value = good
	gets(model, http.StatusOK)
	if code, body := c.request("DELETE", "/api/rooms/"+o.ID, "", o.Owner); code != http.StatusNoContent {
		t.Fatalf("ending the room: %d %s", code, body)
	}
	gets(model, http.StatusForbidden)
}

// TestRosterCountsRefusals: the owner sees how much was refused, and a tab does not.
func TestRosterCountsRefusals(t *testing.T) {
	c := newClassroom(t)
	o := c.open()
	ada := c.join(`{"code": "` + o.Code + `"}`)
	for range 2 {
		if code, _ := c.request("POST", "/api/rooms/join", `{"code": "wrong-code"}`, ""); code != http.StatusForbidden {
			t.Errorf("a wrong code: %d", code)
		}
	}
	if refused := c.look(o.ID, o.Owner, `{}`).Refused; len(refused) != 1 || refused["code"] != 2 {
		t.Errorf("the owner sees %v refused", refused)
	}
	if refused := c.look(o.ID, ada.bearer(), `{}`).Refused; refused != nil {
		t.Errorf("a tab sees %v refused", refused)
	}
}
