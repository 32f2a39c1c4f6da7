package classroom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"llamatab/engine/forecast"
	"llamatab/engine/fsdp"
	"llamatab/engine/message"
	"llamatab/server/library"
	"llamatab/server/room"
	"llamatab/server/web"
)

// classroom is a server with rooms over the built-in models and data. Requests reach it without a network.
type classroom struct {
	*testing.T
	handler http.Handler
	uploads library.Uploads
}

func newClassroom(t *testing.T) classroom {
	t.Helper()
	before := web.Packed
	t.Cleanup(func() { web.Packed = before })
	web.Packed = os.DirFS("../../testdata")
	offers := library.Library{Builtin: library.NewBuiltin()}
	c, err := Open(t.TempDir(), &offers, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.MaxTabs = 3
	mux := http.NewServeMux()
	mux.Handle("/api/", offers.Handler(c.MayFetch))
	mux.Handle("/api/rooms", c.Handler())
	mux.Handle("/api/rooms/", c.Handler())
	mux.Handle("/api/handed/", c.Handler())
	return classroom{t, mux, offers.Uploads}
}

// request sends a request as a page of this machine does. change can make it another.
func (c classroom) request(method, path, body, token string, change ...func(*http.Request)) (int, string) {
	c.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:50000"
	r.Header.Set("Origin", "http://127.0.0.1:8080")
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// opening is the body of a request that opens a room for a run.json.
func opening(config string) string {
	return `{"config": {"name": " Class\n7b ", "run": {"job": ` + config + `}}}`
}

const lessonOfClass = `{"model": "builtin:tales", "dataset": {"path": "builtin:pirate", "max_length": 64}, "peft": {"peft_type": "LORA", "r": 4},
	"training": {"max_steps": 3}, "fsdp": {"sharding_strategy": "NO_SHARD", "slots": 4}}`

func (c classroom) open() (o message.RoomOpening) {
	c.Helper()
	code, body := c.request("POST", "/api/rooms", opening(lessonOfClass), "")
	if code != http.StatusCreated || json.Unmarshal([]byte(body), &o) != nil {
		c.Fatalf("opening a room: %d %s", code, body)
	}
	return o
}

// seatTaken is the answer to a page that joins.
type seatTaken struct{ message.Seat }

func (s seatTaken) bearer() string { return fmt.Sprintf("%d.%s", s.Tab, s.Token) }

func (c classroom) join(body string) (s seatTaken) {
	c.Helper()
	code, answer := c.request("POST", "/api/rooms/join", body, "")
	if code != http.StatusOK || json.Unmarshal([]byte(answer), &s) != nil {
		c.Fatalf("joining: %d %s", code, answer)
	}
	return s
}

func (c classroom) look(id, token, body string) (v room.View) {
	c.Helper()
	code, answer := c.request("POST", "/api/rooms/"+id+"/look", body, token)
	if code != http.StatusOK || json.Unmarshal([]byte(answer), &v) != nil {
		c.Fatalf("looking: %d %s", code, answer)
	}
	return v
}

// TestClassroom opens a room with a run.json. Pages that join get all that a tab needs from the server.
func TestClassroom(t *testing.T) {
	c := newClassroom(t)
	o := c.open()
	if len(o.Code) != 6 || strings.Trim(o.Code, "0123456789") != "" {
		t.Errorf("the code is %q", o.Code)
	}
	ada := c.join(`{"code": "` + o.Code[:3] + "-" + o.Code[3:] + `", "name": " Ada\u0000\tLovelace of the Analytical Engine"}`)
	if ada.ID != o.ID || ada.Name != "Ada Lovelace of the" || ada.Room != "Class 7b" || ada.Steps != 3 {
		t.Errorf("the seat is %+v", ada)
	}
	var job struct {
		FSDP struct{ Slots int }
		Peft struct {
			LoraAlpha int `json:"lora_alpha"`
		}
	}
	if err := json.Unmarshal(ada.Job, &job); err != nil || job.FSDP.Slots != 4 || job.Peft.LoraAlpha == 0 {
		t.Errorf("the job is not the resolved run.json: %s", ada.Job)
	}
	for mount, files := range ada.Sources {
		for _, f := range files {
			r := httptest.NewRequest("GET", "http://127.0.0.1:8080"+f.URL, nil)
			w := httptest.NewRecorder()
			if c.handler.ServeHTTP(w, r); w.Code != 200 || int64(w.Body.Len()) != f.Size {
				t.Errorf("%s: %s: %d, %d bytes of %d", mount, f.URL, w.Code, w.Body.Len(), f.Size)
			}
		}
	}
	if len(ada.Sources["model"]) < 3 || len(ada.Sources["dataset"]) != 1 {
		t.Errorf("the sources are %v", ada.Sources)
	}
}

// TestRosterAndPlan checks what the pages of a room see: the roster, and the forecast of each sharding strategy.
func TestRosterAndPlan(t *testing.T) {
	c := newClassroom(t)
	o := c.open()
	ada := c.join(`{"code": "` + o.Code + `", "name": "Ada"}`)
	// The roster lists pages that are still loading, with their progress.
	bo := c.join(`{"code": "` + o.Code + `", "name": "Bo"}`)
	c.look(o.ID, bo.bearer(), `{"phase": "load", "done": 6, "total": 10, "hidden": true}`)
	v := c.look(o.ID, ada.bearer(), `{"phase": "open"}`)
	if v.Here != 2 || v.Online != 0 || len(v.Tabs) != 2 || v.Tabs[1].Name != "Bo" || v.Tabs[1].State != "loading" || v.Tabs[1].Done != 6 || !v.Tabs[1].Hidden {
		t.Errorf("the roster is %+v", v.Tabs)
	}
	if v.Params == 0 || v.Diary != nil {
		t.Errorf("the view is %+v", v)
	}
	if code, body := c.request("GET", "/api/rooms", "", ""); code != 200 || strings.Contains(body, "Ada") || strings.Contains(body, o.Code) {
		t.Errorf("everybody sees %d %s", code, body)
	}

	code, body := c.request("POST", "/api/rooms/"+o.ID+"/plan", `{"tabs": 2}`, ada.bearer())
	var shards []forecast.Shard
	if json.Unmarshal([]byte(body), &shards); code != 200 || len(shards) < 3 || fsdp.Strategy(shards[0].Strategy) != fsdp.NoShard || shards[0].Bytes["optimizer"] <= shards[len(shards)-1].Bytes["optimizer"] {
		t.Errorf("the plan over two tabs is %d %s", code, body)
	}
	for _, body := range []string{`{"tabs": 0}`, `{"tabs": 1000000}`} {
		if code, _ := c.request("POST", "/api/rooms/"+o.ID+"/plan", body, o.Owner); code != http.StatusBadRequest {
			t.Errorf("a plan of %s is answered with %d", body, code)
		}
	}
}

// TestSeats checks who may join a room, come back to it, lock it and end it.
func TestSeats(t *testing.T) {
	c := newClassroom(t)
	o := c.open()
	ada := c.join(`{"code": "` + o.Code + `", "name": "Ada"}`)
	bo := c.join(`{"code": "` + o.Code + `", "name": "Bo"}`)
	// A page that comes back gets its seat again. A third page is the last that may join.
	if again := c.join(fmt.Sprintf(`{"id": %q, "tab": %d, "token": %q, "name": "Bo"}`, o.ID, bo.Tab, bo.Token)); again.Tab != bo.Tab {
		t.Errorf("tab %d came back as %d", bo.Tab, again.Tab)
	}
	refused := func(body, want string) {
		t.Helper()
		code, answer := c.request("POST", "/api/rooms/join", body, "")
		var bye fsdp.Bye
		if json.Unmarshal([]byte(answer), &bye); code < 400 || bye.Code != want {
			t.Errorf("joining with %s: %d %s, want %q", body, code, answer, want)
		}
	}
	byCode := `{"code": "` + o.Code + `"}`
	op := func(op string) {
		t.Helper()
		if code, body := c.request("POST", "/api/rooms/"+o.ID+"/"+op, "", o.Owner); code != http.StatusNoContent {
			t.Errorf("%s: %d %s", op, code, body)
		}
	}
	op("lock")
	c.until(func() bool { return c.look(o.ID, o.Owner, `{}`).Locked })
	refused(byCode, "locked")
	op("unlock")
	c.until(func() bool { return !c.look(o.ID, o.Owner, `{}`).Locked })
	c.join(byCode)
	refused(byCode, "full")
	refused(fmt.Sprintf(`{"id": %q, "tab": %d, "token": %q}`, o.ID, bo.Tab, ada.Token), "token")
	refused(`{"id": "room-none", "tab": 1, "token": "x"}`, "gone")

	if code, _ := c.request("DELETE", "/api/rooms/"+o.ID, "", ada.bearer()); code != http.StatusForbidden {
		t.Errorf("a tab may end the room: %d", code)
	}
	if code, body := c.request("DELETE", "/api/rooms/"+o.ID, "", o.Owner); code != http.StatusNoContent {
		t.Errorf("ending the room: %d %s", code, body)
	}
	refused(byCode, "code")
}

// TestClassroomRefuses checks that bad requests are refused with the reason, and that secrets stay hidden.
func TestClassroomRefuses(t *testing.T) {
	c := newClassroom(t)
	with := func(old, new string) string { return opening(strings.Replace(lessonOfClass, old, new, 1)) }
	origin := func(o string) func(*http.Request) { return func(r *http.Request) { r.Header.Set("Origin", o) } }
	for _, x := range []struct {
		name, body string
		change     func(*http.Request)
		status     int
		want       string
	}{
		{"another origin", opening(lessonOfClass), origin("http://evil.example"), 403, "page of this server"},
		{"another port", opening(lessonOfClass), origin("http://127.0.0.1:8081"), 403, "page of this server"},
		{"no origin", opening(lessonOfClass), origin("null"), 403, "page of this server"},
		{"a form", opening(lessonOfClass), func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 403, "page of this server"},
		{"another machine", opening(lessonOfClass), func(r *http.Request) { r.RemoteAddr = "192.168.1.7:50000" }, 403, "own machine"},
		{"no JSON", "{", nil, 400, "config"},
		{"an unknown key", `{"config": {"runs": 1}}`, nil, 400, "unknown field"},
		{"a huge body", opening(`{"model": "` + strings.Repeat("x", 9<<20) + `"}`), nil, 400, "too large"},
		{"a large run.json", opening(`{"model": "` + strings.Repeat("x", 1<<20) + `"}`), nil, 422, "run.json of 1"},
		{"no job", `{"config": {}}`, nil, 422, "no job"},
		{"slots", with(`"slots": 4`, `"slots": 1000000000`), nil, 422, "fsdp.slots"},
		{"steps", with(`"max_steps": 3`, `"max_steps": 1e300`), nil, 422, "training.max_steps"},
		{"a strategy", with(`NO_SHARD`, `SOME_SHARD`), nil, 422, "fsdp.sharding_strategy"},
		{"no fsdp", with(`, "fsdp": {"sharding_strategy": "NO_SHARD", "slots": 4}`, ``), nil, 422, "fsdp is missing"},
		{"many parameters", `{"config": {"run": {"id": "r", "strategy": "NO_SHARD", "wrap": "none", "slots": 1, "steps": 1, "reduce_dtype": "float32", "param_dtype": "float32", "params": [{"name": "p", "shape": [20000, 20000], "unit": "u"}]}}}`, nil, 422, "too_many_parameters"},
		{"a shape that overflows", `{"config": {"run": {"id": "r", "strategy": "NO_SHARD", "wrap": "none", "slots": 1, "steps": 1, "reduce_dtype": "float32", "param_dtype": "float32", "params": [{"name": "p", "shape": [4294967296, 4294967296, 2], "unit": "u"}]}}}`, nil, 422, "p: "},
		{"tabs", strings.Replace(opening(lessonOfClass), `"run"`, `"max_tabs": -1, "run"`, 1), nil, 422, "max_tabs"},
		{"a misspelt key", with(`"peft_type"`, `"peft_typ"`), nil, 422, "peft_typ"},
		{"a path", with(`builtin:tales`, `/etc`), nil, 422, "offers no model"},
		{"a path up", with(`builtin:pirate`, `../../go.mod`), nil, 422, "offers no data"},
		{"another model", with(`builtin:tales`, `builtin:tale`), nil, 422, "offers no model"},
		{"random weights", with(`"builtin:tales"`, `{"init": "random", "config": {"vocab_size": 1e9}}`), nil, 422, "random weights"},
		{"a file of its own", with(`"peft":`, `"init_adapter": "/etc", "peft":`), nil, 422, "without an adapter"},
	} {
		change := x.change
		if change == nil {
			change = func(*http.Request) {}
		}
		code, body := c.request("POST", "/api/rooms", x.body, "", change)
		var refused message.Refusal
		if json.Unmarshal([]byte(body), &refused); code != x.status || !strings.Contains(body, x.want) || refused.Code == "" {
			t.Errorf("%s: %d %.300s, want %d and %q", x.name, code, body, x.status, x.want)
		}
	}
	if code, body := c.request("GET", "/api/rooms", "", ""); code != 200 || strings.TrimSpace(body) != "[]" {
		t.Errorf("rooms that were refused are there: %d %s", code, body)
	}

	o := c.open()
	ada := c.join(`{"code": "` + o.Code + `"}`)
	for name, token := range map[string]string{"no token": "", "a token of nobody": "2." + ada.Token, "no number": ada.Token, "the owner's number": "0." + o.Owner} {
		if code, body := c.request("POST", "/api/rooms/"+o.ID+"/look", `{}`, token); code != http.StatusForbidden {
			t.Errorf("%s sees %d %s", name, code, body)
		}
	}
	if code, _ := c.request("POST", "/api/rooms/"+o.ID+"/remove?tab=1", ``, ada.bearer()); code != http.StatusForbidden {
		t.Errorf("a tab may remove: %d", code)
	}
	for _, body := range []string{`{"done": -1}`, `{"phase": "` + strings.Repeat("x", 99) + `"}`, strings.Repeat(" ", 9<<10), `[`} {
		if code, answer := c.request("POST", "/api/rooms/"+o.ID+"/look", body, ada.bearer()); code != http.StatusBadRequest {
			t.Errorf("a report %.40q: %d %s", body, code, answer)
		}
	}
	// After a few wrong codes even the right code is refused.
	last := ""
	for range 20 {
		_, last = c.request("POST", "/api/rooms/join", `{"code": "000000x"}`, "")
	}
	if !strings.Contains(last, "guessing") {
		t.Errorf("the last of many guesses is answered with %s", last)
	}
	if code, _ := c.request("POST", "/api/rooms/join", `{"code": "`+o.Code+`"}`, ""); code != http.StatusTooManyRequests {
		t.Errorf("who has guessed too much gets in: %d", code)
	}
	if code, body := c.request("POST", "/api/rooms/join", `{"code": "`+o.Code+`"}`, "", func(r *http.Request) { r.RemoteAddr = "192.168.1.8:50000" }); code != http.StatusOK || !bytes.Contains([]byte(body), []byte("token")) {
		t.Errorf("somebody else is kept out for it: %d %s", code, body)
	}
}

// until waits for what the room does in the background.
func (c classroom) until(ok func() bool) {
	c.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			c.Fatal("waited in vain")
		}
	}
}
