package room

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"llamatab/engine/fsdp"
)

// TestPass: a file pass is that of one tab of one room, and ends when the owner removes the tab.
func TestPass(t *testing.T) {
	s := newSite(t)
	s.open("one", toyConfig(fsdp.NoShard, 9))
	s.open("two", toyConfig(fsdp.NoShard, 9))
	one, two := s.rooms.Find("one"), s.rooms.Find("two")
	jobs := func(h *Host, tab uint32, name string) int {
		w := httptest.NewRecorder()
		h.givePass(w, httptest.NewRequest("POST", "/api/rooms/join", nil), tab)
		cookie := w.Result().Cookies()[0]
		if name != "" {
			cookie.Name = name
		}
		r := httptest.NewRequest("GET", "/api/data/x", nil)
		r.AddCookie(cookie)
		return len(s.rooms.JobsOf(r))
	}
	if jobs(one, 3, "") != 1 || jobs(two, 3, "") != 1 {
		t.Error("a tab with a pass gets nothing")
	}
	if jobs(one, 3, passPrefix+"two") != 0 || jobs(one, 3, passPrefix+"none") != 0 || jobs(one, 3, "other") != 0 {
		t.Error("the pass of one room opens another")
	}
	if jobs(one, 0, "") != 0 {
		t.Error("there is no tab 0")
	}
	if one.pass(3) == one.token(3) || one.pass(3) == one.pass(4) {
		t.Error("a pass is no secret of its own")
	}
	one.mu.Lock()
	one.room.removed[3] = true
	one.mu.Unlock()
	if jobs(one, 3, "") != 0 || jobs(one, 4, "") != 1 {
		t.Error("the pass of a removed tab is still good, or another's is not")
	}
	if r := httptest.NewRequest(http.MethodGet, "/", nil); len(s.rooms.JobsOf(r)) != 0 {
		t.Error("a request without a pass is let in")
	}
}
