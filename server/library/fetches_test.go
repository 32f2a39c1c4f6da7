package library

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"llamatab/server/hub"
	"llamatab/server/hub/hubtest"
)

// withHub is a library whose pages may fetch from a hub that has the model org/name.
func withHub(t *testing.T, token string) (Library, *hubtest.Hub) {
	t.Helper()
	h := hubtest.New()
	t.Cleanup(h.Close)
	h.Token = "hf_secret"
	h.Add("org/name", map[string][]byte{"config.json": []byte(`{"model_type": "llama"}`), "model.safetensors": []byte(strings.Repeat("weights ", 50_000)), "README.md": []byte("about")})
	h.Add("org/lora", map[string][]byte{"adapter_config.json": []byte("{}"), "adapter_model.safetensors": []byte("x")})
	client, err := hub.NewClient(h.URL, token)
	if err != nil {
		t.Fatal(err)
	}
	fetches := NewFetches(&hub.Store{Cache: hub.Cache{Dir: t.TempDir()}, Client: client})
	t.Cleanup(fetches.Close)
	return Library{Builtin: Builtin{fstest.MapFS{}}, Hub: fetches}, h
}

// asks sends a request about the hub, from an address and with an Origin.
func asks(l Library, method, path, name, from, origin string) (int, string) {
	body, _ := json.Marshal(map[string]string{"name": name})
	r := httptest.NewRequest(method, path, strings.NewReader(string(body)))
	r.RemoteAddr = from
	r.Header.Set("Origin", origin)
	w := httptest.NewRecorder()
	l.HubHandler(func(r *http.Request) bool { return r.Header.Get("Origin") == "" }).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// settled waits until a fetch is in another state than Fetching.
func settled(t *testing.T, l Library, name string) Fetch {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		for _, f := range l.Hub.List() {
			if f.Name == name && f.State != Fetching {
				return f
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still being fetched: %+v", name, l.Hub.List())
		}
	}
}

// TestFetchForPages: a page of this machine has a model fetched, which is then offered like the others.
func TestFetchForPages(t *testing.T) {
	l, h := withHub(t, "hf_secret")
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if code, body := asks(l, "POST", "/hub/fetches", h.URL+"/org/name/tree/main", here, ""); code != http.StatusOK || strings.Contains(body, "hf_secret") {
				t.Errorf("the fetch is answered with %d %s", code, body)
			}
		})
	}
	all.Wait()
	f := settled(t, l, "org/name")
	if f.State != Fetched || f.Done != f.Total || f.Total == 0 || !strings.HasPrefix(f.Model, "org/name@") {
		t.Fatalf("the fetch is %+v", f)
	}
	stored := 0
	for _, r := range h.Requests() {
		if r.Storage {
			stored++
		}
	}
	if stored != 1 {
		t.Errorf("thirty pages fetch the weights %d times", stored)
	}
	var models []modelInfo
	_, body := answer(l, "/api/models", here, nobody)
	if err := json.Unmarshal([]byte(body), &models); err != nil || len(models) != 1 || models[0].Name != f.Model || len(models[0].Files) != 2 {
		t.Fatalf("the models are %s, %v", body, err)
	}
	if _, body = answer(l, "/api/models", there, nobody); strings.TrimSpace(body) != "[]" {
		t.Errorf("other machines see %s", body)
	}
	address := "/api/models/" + url.PathEscape(f.Model) + "/"
	member := func(_ *http.Request, name string) bool { return name == f.Model }
	for _, c := range []struct {
		path, from string
		may        func(*http.Request, string) bool
		code       int
	}{
		{"config.json", there, member, 200}, {"model.safetensors", there, member, 200}, {"config.json", there, nobody, 403}, {".llamatab.json", there, member, 404},
		{"README.md", there, member, 404}, {"..%2frevisions.json", there, member, 404},
	} {
		if code, _ := answer(l, address+c.path, c.from, c.may); code != c.code {
			t.Errorf("%s from %s is answered with %d, want %d", c.path, c.from, code, c.code)
		}
	}
	all1 := func(*http.Request, string) bool { return true }
	for _, name := range []string{"org/name", "org/name@main", "ORG/name@" + f.Model[9:], "org/other@" + f.Model[9:], "org/name@" + strings.Repeat("0", 40)} {
		if code, _ := answer(l, "/api/models/"+url.PathEscape(name)+"/config.json", here, all1); code != http.StatusNotFound {
			t.Errorf("%s is answered with %d: only exact names are models", name, code)
		}
	}
	if code, _ := asks(l, "POST", "/hub/remove", f.Model, here, ""); code != http.StatusOK || l.Model(f.Model) != nil {
		t.Errorf("removing is answered with %d, and the model is still there", code)
	}
}

// TestOnlyPagesOfThisMachine: other machines and pages of other sites can have nothing fetched and learn nothing.
func TestOnlyPagesOfThisMachine(t *testing.T) {
	l, h := withHub(t, "")
	without := Library{}
	for _, c := range []struct {
		l                    Library
		method, from, origin string
		code                 int
	}{
		{l, "GET", there, "", 404}, {l, "POST", there, "", 404}, {without, "GET", here, "", 404}, {l, "POST", here, "http://evil.example", 403}, {l, "GET", here, "", 200},
	} {
		if code, body := asks(c.l, c.method, "/hub/fetches", "org/name", c.from, c.origin); code != c.code {
			t.Errorf("%s from %s of %q is answered with %d %s", c.method, c.from, c.origin, code, body)
		}
	}
	for name, want := range map[string]string{"x": "hub_name", "": "hub_name", "https://evil.example/org/name": "hub_name", "../../etc": "hub_name"} {
		if code, body := asks(l, "POST", "/hub/fetches", name, here, ""); code != http.StatusConflict || !strings.Contains(body, want) {
			t.Errorf("%q is answered with %d %s", name, code, body)
		}
	}
	if len(h.Requests()) != 0 || len(l.Hub.List()) != 0 {
		t.Errorf("the hub was asked: %+v, %+v", h.Requests(), l.Hub.List())
	}
}

func TestFetchProblems(t *testing.T) {
	l, _ := withHub(t, "")
	for name, want := range map[string]string{"org/absent": "hub_not_found", "org/lora": "hub_unsuitable"} {
		asks(l, "POST", "/hub/fetches", name, here, "")
		if f := settled(t, l, name); f.State != Failed || f.Problem == nil || f.Problem.Code != want {
			t.Errorf("%s ends as %+v", name, f)
		}
		if err := l.Hub.Cancel(name); err != nil {
			t.Error(err)
		}
	}
	if list := l.Hub.List(); len(list) != 0 {
		t.Errorf("what was cancelled is still listed: %+v", list)
	}
}

// TestPauseAndCancel: a paused fetch goes on where it was, and a cancelled one leaves nothing.
func TestPauseAndCancel(t *testing.T) {
	l, h := withHub(t, "")
	begun := func() {
		t.Helper()
		h.Fail(hubtest.Fault{Storage: true, Stall: 250_000})
		asks(l, "POST", "/hub/fetches", "org/name", here, "")
		for deadline := time.Now().Add(2 * time.Minute); l.Hub.List()[0].Done < 250_000; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("nothing comes: %+v", l.Hub.List())
			}
		}
	}
	begun()
	if code, _ := asks(l, "POST", "/hub/pause", "org/name", here, ""); code != http.StatusOK || l.Hub.List()[0].State != Paused {
		t.Fatalf("after pausing: %+v", l.Hub.List())
	}
	asks(l, "POST", "/hub/fetches", "org/name", here, "")
	if f := settled(t, l, "org/name"); f.State != Fetched {
		t.Fatalf("the fetch goes on to %+v", f)
	}
	requests := h.Requests()
	if last := requests[len(requests)-1]; last.Range != "bytes=250000-" {
		t.Errorf("it goes on with %+v", last)
	}
	model := l.Hub.List()[0].Model
	l.Hub.InUse = func(name string) bool { return name == model }
	if code, body := asks(l, "POST", "/hub/remove", model, here, ""); code != http.StatusConflict || !strings.Contains(body, string(hub.InUse)) || l.Model(model) == nil {
		t.Fatalf("a model of a room is removed: %d %s", code, body)
	}
	l.Hub.InUse = nil
	if err := l.Hub.Remove(model); err != nil {
		t.Fatal(err)
	}
	if err := l.Hub.Cancel("org/name"); err != nil {
		t.Fatal(err)
	}
	begun()
	if err := l.Hub.Cancel("org/name"); err != nil {
		t.Fatal(err)
	}
	complete, unfinished, err := l.Hub.store.Cache.List()
	if err != nil || len(complete)+len(unfinished)+len(l.Hub.List()) != 0 {
		t.Errorf("a cancelled fetch leaves %+v %+v %+v, %v", complete, unfinished, l.Hub.List(), err)
	}
}
