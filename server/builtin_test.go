package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// withBuiltin puts a small built-in model, dataset and run in place of the packed ones.
func withBuiltin(t *testing.T) {
	before := packed
	t.Cleanup(func() { packed = before })
	packed = fstest.MapFS{
		"builtin/models/small/config.json": {Data: []byte(`{"model_type": "llama"}`)},
		"builtin/data/rows.jsonl":          {Data: []byte(`{"text": "one"}` + "\n")},
		"builtin/runs.json":                {Data: []byte(`[{"name": "try", "config": {"model": "builtin:small"}}]`)},
	}
}

func TestBuiltinMounts(t *testing.T) {
	withBuiltin(t)
	m := newMounts("")
	model, data := "builtin:small", "builtin:rows"
	if err := m.model("model", &model); err != nil {
		t.Fatal(err)
	}
	if err := m.add("dataset", "dataset.path", &data); err != nil {
		t.Fatal(err)
	}
	if model != "builtin:small" || m.names["dataset"] != "builtin:rows" {
		t.Errorf("the names became %q and %q: a resolved run must be able to name them again", model, m.names["dataset"])
	}
	for _, c := range []struct{ mount, path, want string }{
		{"model", "builtin:smal", "builtin:small"},
		{"dataset", "builtin:small", "builtin:rows"},
		{"adapter", "builtin:small", "give a path"},
	} {
		if err := m.add(c.mount, c.mount, &c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want an error about %q", c.mount, c.path, err, c.want)
		}
	}
	if run, err := newBuiltin().run("try"); err != nil || !strings.Contains(string(run), "builtin:small") {
		t.Errorf("run: %s, %v", run, err)
	}
}

func TestBuiltinIsOffered(t *testing.T) {
	withBuiltin(t)
	server := httptest.NewServer(pageHandler(&assets{packed}, library{own: newBuiltin()}))
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
	var runs []readyRun
	if _, body := get("/api/runs"); json.Unmarshal([]byte(body), &runs) != nil || !slices.ContainsFunc(runs, func(r readyRun) bool { return r.Name == "try" }) {
		t.Errorf("runs: %s", body)
	}
}
