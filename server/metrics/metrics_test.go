package metrics

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"llamatab/server/room"
	"llamatab/server/web"
)

// TestMetrics reads the metrics of a server that has refused a join.
func TestMetrics(t *testing.T) {
	local, err := room.OpenLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rooms, err := room.OpenRooms(local, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer rooms.Close()
	gate := web.NewGate(web.OfPeople)
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, Handler(gate, rooms))
	mux.Handle("/api/rooms/", rooms.Handler())
	handler := gate.Server(mux).Handler
	request := func(method, path, body, from string) (int, string) {
		r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(body))
		r.RemoteAddr = from
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if code, body := request("POST", "/api/rooms/join", `{"code": "000000"}`, "192.168.1.7:5000"); code != http.StatusForbidden {
		t.Fatalf("a wrong code: %d %s", code, body)
	}
	code, body := request("GET", Path, "", "127.0.0.1:5000")
	for _, line := range []string{
		"llamatab_connections 0\n", "llamatab_requests 1\n", "llamatab_refused_total{bound=\"connections\"} 0\n", "llamatab_refused_total{bound=\"memory\"} 0\n",
		"llamatab_room_dropped_total{reason=\"code\"} 1\n", "llamatab_rooms 0\n", "llamatab_room_tabs 0\n", "\ngo_goroutines ",
	} {
		if !strings.Contains(body, line) {
			t.Errorf("the metrics (%d) have no %q", code, line)
		}
	}
	if code, body := request("GET", Path, "", "192.168.1.7:5000"); code != http.StatusForbidden || strings.Contains(body, "llamatab_") {
		t.Errorf("elsewhere: %d %.100s", code, body)
	}
}
