package library

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/server/web"
)

// nobody may fetch what is not public.
func nobody(*http.Request, string) bool { return false }

// withBuiltin puts a small built-in model, dataset and run in place of the packed ones.
func withBuiltin(t *testing.T) {
	before := web.Packed
	t.Cleanup(func() { web.Packed = before })
	web.Packed = fstest.MapFS{
		"builtin/models/small/config.json": {Data: []byte(`{"model_type": "llama"}`)},
		"builtin/data/rows.jsonl":          {Data: []byte(`{"text": "one"}` + "\n")},
		"builtin/runs.json":                {Data: []byte(`[{"name": "try", "config": {"model": "builtin:small"}}]`)},
	}
}

func TestBuiltinIsOffered(t *testing.T) {
	withBuiltin(t)
	server := httptest.NewServer(Library{Builtin: NewBuiltin()}.Handler(func(r *http.Request, _ string) bool { return web.FromHere(r) }))
	defer server.Close()
	get := func(path string) (int, string) {
		r, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(body)
	}
	var models []modelInfo
	if _, body := get("/api/models"); json.Unmarshal([]byte(body), &models) != nil || len(models) != 1 || models[0].Name != "builtin:small" {
		t.Errorf("models: %s", body)
	}
	if code, body := get("/api/models/builtin:small/config.json"); code != 200 || !strings.Contains(body, "llama") {
		t.Errorf("config.json: %d %s", code, body)
	}
	if code, body := get("/api/data/builtin:rows"); code != 200 || !strings.Contains(body, "one") {
		t.Errorf("rows: %d %s", code, body)
	}
	for _, path := range []string{"/api/models/builtin:other/config.json", "/api/data/builtin:other", "/api/models/builtin:small/..%2f..%2fruns.json", "/api/data/x"} {
		if code, body := get(path); code != 404 {
			t.Errorf("%s: %d %s, want 404", path, code, body)
		}
	}
	var runs []ReadyRun
	if _, body := get("/api/runs"); json.Unmarshal([]byte(body), &runs) != nil || !slices.ContainsFunc(runs, func(r ReadyRun) bool { return r.Name == "try" }) {
		t.Errorf("runs: %s", body)
	}
}
