package library

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// offered makes folders of models and data beside files that must not be served, and opens them.
func offered(t *testing.T) Library {
	t.Helper()
	top := t.TempDir()
	for name, text := range map[string]string{
		"models/small/config.json":                         `{"model_type": "llama"}`,
		"models/small/model.safetensors":                   "weights",
		"models/small/.hidden":                             "hidden",
		"models/small/additional_chat_templates/rag.jinja": "{{ documents }}",
		"models/small/additional_chat_templates/notes.txt": "no template",
		"models/small/other/rag.jinja":                     "in a folder that no model has",
		"models/notes/readme.txt":                          "no model",
		"models/.cache/config.json":                        "{}",
		"data/rows.jsonl":                                  `{"text": "one"}`,
		"data/.secret":                                     "secret",
		"private/config.json":                              `{"secret": true}`,
		"private/key.txt":                                  "secret",
	} {
		name = filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"models/etc":                 "/etc",
		"models/private":             "../private",
		"models/whole":               filepath.Join(top, "private"),
		"models/same":                "small",
		"models/small/key.json":      "../../private/key.txt",
		"models/small/passwd":        "/etc/passwd",
		"models/small/tokenizer.txt": "model.safetensors",
		"data/key.txt":               "../private/key.txt",
		"data/again.jsonl":           "rows.jsonl",
	} {
		if err := os.Symlink(target, filepath.Join(top, link)); err != nil {
			t.Skip("this system makes no links:", err)
		}
	}
	models, err := OpenFolder(filepath.Join(top, "models"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := OpenFolder(filepath.Join(top, "data"))
	if err != nil {
		t.Fatal(err)
	}
	return Library{Builtin: Builtin{fstest.MapFS{}}, Models: models, Data: data}
}

// answer is the status and the body of a request from an address.
func answer(l Library, path, from string, mayFetch func(*http.Request, string) bool) (int, string) {
	r := httptest.NewRequest("GET", path, nil)
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	l.Handler(mayFetch).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

const (
	here  = "127.0.0.1:5000"
	there = "192.168.1.7:5000"
)

// TestFolderKeepsIn asks for everything that is not listed: links out of the folder, hidden files and folders that are no models.
func TestFolderKeepsIn(t *testing.T) {
	l := offered(t)
	all := func(*http.Request, string) bool { return true }
	for _, path := range []string{
		"/api/models/etc/passwd", "/api/models/etc/config.json", "/api/models/private/config.json", "/api/models/private/key.txt", "/api/models/whole/config.json",
		"/api/models/small/key.json", "/api/models/small/passwd", "/api/models/small/.hidden", "/api/models/notes/readme.txt", "/api/models/.cache/config.json",
		"/api/models/../private/key.txt", "/api/models/small/..%2f..%2fprivate%2fkey.txt", "/api/models/none/config.json", "/api/models/small/none",
		"/api/models/small/additional_chat_templates%2Fnotes.txt", "/api/models/small/other%2Frag.jinja", "/api/models/small/additional_chat_templates", "/api/models/small/additional_chat_templates%2F..%2Fconfig.json",
		"/api/data/key.txt", "/api/data/.secret", "/api/data/..%2fprivate%2fkey.txt", "/api/data/none", "/api/data/.",
	} {
		if code, body := answer(l, path, here, all); code == http.StatusOK || strings.Contains(body, "secret") {
			t.Errorf("%s is answered with %d %q", path, code, body)
		}
	}
	for path, want := range map[string]string{
		"/api/models/small/model.safetensors": "weights", "/api/models/small/tokenizer.txt": "weights", "/api/models/same/model.safetensors": "weights",
		"/api/models/small/additional_chat_templates%2Frag.jinja": "{{ documents }}",
		"/api/data/rows.jsonl": "one", "/api/data/again.jsonl": "one",
	} {
		if code, body := answer(l, path, here, all); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s is answered with %d %q", path, code, body)
		}
	}
	_, models := answer(l, "/api/models", here, all)
	_, data := answer(l, "/api/data", here, all)
	for _, never := range []string{"etc", "private", "whole", "notes", ".cache", ".hidden", "key", "passwd", ".secret"} {
		if strings.Contains(models+data, never) {
			t.Errorf("%s is listed: %s %s", never, models, data)
		}
	}
	if !strings.Contains(models, `"small"`) || !strings.Contains(models, `"same"`) || !strings.Contains(data, "again.jsonl") {
		t.Errorf("the lists are %s %s", models, data)
	}
	files, err := ModelFiles(l.Model("small"))
	names := []string{}
	for _, f := range files {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"config.json", "model.safetensors", "tokenizer.txt", "additional_chat_templates/rag.jinja"}) {
		t.Errorf("the model has the files %q, %v", names, err)
	}
	if got := ModelURL("small", "additional_chat_templates/rag.jinja"); got != "/api/models/small/additional_chat_templates%2Frag.jinja" {
		t.Errorf("the address of a template is %s", got)
	}
	if got := l.Models.LeadOut(); !slices.Equal(got, []string{"etc", "private", "whole"}) {
		t.Errorf("links that lead out of the models: %v", got)
	}
	if got := l.Data.LeadOut(); !slices.Equal(got, []string{"key.txt"}) {
		t.Errorf("links that lead out of the data: %v", got)
	}
}

// TestFoldersAreNotPublic: other machines neither see nor get what lies in the folders, and cannot find out what is there.
func TestFoldersAreNotPublic(t *testing.T) {
	l := offered(t)
	for _, path := range []string{"/api/models", "/api/data"} {
		if code, body := answer(l, path, there, nobody); code != http.StatusOK || strings.TrimSpace(body) != "[]" {
			t.Errorf("%s says elsewhere: %d %s", path, code, body)
		}
	}
	_, absent := answer(l, "/api/models/none/config.json", there, nobody)
	for _, path := range []string{"/api/models/small/config.json", "/api/models/small/model.safetensors", "/api/models/none/config.json", "/api/models/handed:x/config.json", "/api/data/rows.jsonl", "/api/data/none"} {
		if code, body := answer(l, path, there, nobody); code != http.StatusForbidden || body != absent {
			t.Errorf("%s says elsewhere: %d %s", path, code, body)
		}
	}
}

func TestNoFolder(t *testing.T) {
	empty, err := OpenFolder("")
	if err != nil || empty.models() != nil || empty.model("x") != nil || empty.dataset("x") != nil || empty.LeadOut() != nil {
		t.Errorf("no folder is %v, %v", empty, err)
	}
	if _, err := OpenFolder(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that does not exist was opened")
	}
	if _, err := ModelFiles(nil); err != fs.ErrNotExist {
		t.Errorf("files of no model: %v", err)
	}
}

// A GGUF file is a model of the folder, under its own name, and so is a folder with one. Of a split model the first file is listed, and
// nothing else of the folder can be opened through it.
func TestGGUFModels(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf", "in/c.gguf", "two/d.gguf", "two/e.gguf", "secret.txt"} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.models(), []string{"a.gguf", "b-00001-of-00002.gguf", "in"}; !slices.Equal(got, want) {
		t.Errorf("models %v, want %v", got, want)
	}
	split := f.model("b-00001-of-00002.gguf")
	files, err := ModelFiles(split)
	if err != nil || len(files) != 2 || files[1].Name != "b-00002-of-00002.gguf" {
		t.Errorf("a split model has the files %v (%v)", files, err)
	}
	for _, name := range []string{"a.gguf", "secret.txt"} {
		if _, err := split.Open(name); err == nil {
			t.Errorf("%s can be opened through another model", name)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/api/models", nil)
	r.RemoteAddr = "127.0.0.1:1"
	Library{Models: f, Builtin: Builtin{fstest.MapFS{}}}.Handler(nil).ServeHTTP(w, r)
	for _, name := range []string{`"a.gguf"`, `"b-00001-of-00002.gguf"`, `"in"`} {
		if !strings.Contains(w.Body.String(), `"name":`+name) {
			t.Errorf("the list of models has no %s: %s", name, w.Body)
		}
	}
}
