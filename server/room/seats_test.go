package room

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"llamatab/engine/fsdp"
	"llamatab/engine/message"
)

// TestRemoveLoadingTab: the owner removes a tab that has a seat and has not joined yet. It is told so, it is not let in, and its
// place is free. A tab that nobody has seen is not removed in advance.
func TestRemoveLoadingTab(t *testing.T) {
	rooms, err := OpenRooms(openLocal(t, t.TempDir()), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer rooms.Close()
	cfg := toyConfig(fsdp.NoShard, 3)
	cfg.MaxTabs, cfg.Run.Job = 1, json.RawMessage(`{}`)
	rooms.Sources = func(json.RawMessage) (map[string][]message.ServerFile, error) { return nil, nil }
	h, err := rooms.Open("a", cfg, "123456")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, token, body string) (int, string) {
		r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = "127.0.0.1:5000"
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		rooms.Handler().ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	sit := func() (tab uint32, code int, text string) {
		code, text = ask("POST", "/api/rooms/join", "", `{"code": "123456", "name": "Ada"}`)
		var seat struct {
			Tab uint32 `json:"tab"`
		}
		json.Unmarshal([]byte(text), &seat)
		return seat.Tab, code, text
	}
	ask("POST", "/api/rooms/a/remove?tab=2", h.OwnerToken(), "")
	tab, code, text := sit()
	if tab == 0 {
		t.Fatalf("no seat: %d, %s", code, text)
	}
	if second, code, text := sit(); second != 0 || !strings.Contains(text, "full") {
		t.Fatalf("a second seat in a room of one: %d, %s", code, text)
	}
	if code, text := ask("POST", fmt.Sprintf("/api/rooms/a/remove?tab=%d", tab), h.OwnerToken(), ""); code != 204 {
		t.Fatalf("removing: %d, %s", code, text)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, text := ask("POST", "/api/rooms/a/look", fmt.Sprintf("%d.%s", tab, h.token(tab)), `{"phase": "load"}`); strings.Contains(text, `"removed"`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the loading tab never hears that it was removed")
		}
	}
	if next, code, text := sit(); next != 2 {
		t.Errorf("the place of the removed tab is not free, or tab 2 was removed before it came: %d, %d, %s", next, code, text)
	}
	for _, v := range h.View(true).Tabs {
		if v.Tab == tab {
			t.Errorf("the removed tab is still listed: %+v", v)
		}
	}
}
