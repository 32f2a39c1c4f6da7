package classroom

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"llamatab/server/library"
)

// put uploads a file and returns the status.
func (c classroom) put(path, body string, change ...func(*http.Request)) int {
	c.Helper()
	code, _ := c.request("PUT", "/api/handed/"+path, body, "", change...)
	return code
}

// uploadLesson uploads the built-in model and some rows, and returns a lesson over both.
func (c classroom) uploadLesson(rows string) (lesson string) {
	c.Helper()
	model, err := filepath.Glob("../../testdata/builtin/models/tales/*")
	if err != nil || len(model) < 3 {
		c.Fatalf("the built-in model is %v (%v)", model, err)
	}
	for _, file := range model {
		data, err := os.ReadFile(file)
		if err != nil {
			c.Fatal(err)
		}
		if code := c.put("mine-1/"+filepath.Base(file), string(data)); code != http.StatusCreated {
			c.Fatalf("%s: %d", file, code)
		}
	}
	if code := c.put("rows-2/my%20own.jsonl", rows); code != http.StatusCreated {
		c.Fatal(code)
	}
	return strings.NewReplacer("builtin:tales", "handed:mine-1", "builtin:pirate", "handed:rows-2").Replace(lessonOfClass)
}

// TestUploads uploads files from a page of this machine and opens a room with them. Other machines may not upload, files are
// not overwritten, and no path leaves its folder.
func TestUploads(t *testing.T) {
	c := newClassroom(t)
	rows := strings.Repeat(`{"text": "Once there was a fox."}`+"\n", 8)
	lesson := c.uploadLesson(rows)
	for _, x := range []struct {
		name, path string
		change     func(*http.Request)
		want       int
	}{
		{"what is there", "rows-2/my%20own.jsonl", nil, 409},
		{"another machine", "rows-3/a", func(r *http.Request) { r.RemoteAddr = "192.168.1.7:50000" }, 403},
		{"another origin", "rows-3/a", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403},
		{"no length", "rows-3/a", func(r *http.Request) { r.ContentLength = -1 }, 413},
		{"a huge file", "rows-3/a", func(r *http.Request) { r.ContentLength = 1 << 40 }, 413},
		{"less than it says", "rows-3/a", func(r *http.Request) { r.ContentLength = 1 << 20 }, 507},
		{"a path up", "..%2F..%2Fetc/a", nil, 400},
		{"a hidden file", "rows-3/.ssh", nil, 400},
		{"a file above", "rows-3/..%2Fa", nil, 400},
		{"a long name", strings.Repeat("x", 300) + "/a", nil, 400},
	} {
		change := x.change
		if change == nil {
			change = func(*http.Request) {}
		}
		if code := c.put(x.path, rows, change); code != x.want {
			t.Errorf("%s: %d, want %d", x.name, code, x.want)
		}
	}
	code, body := c.request("POST", "/api/rooms", opening(lesson), "")
	if code != http.StatusCreated {
		t.Fatalf("a room of uploaded files: %d %s", code, body)
	}
	if code, body := c.request("POST", "/api/rooms", opening(strings.Replace(lesson, "mine-1", "mine-9", 1)), ""); code != 422 || !strings.Contains(body, "offers no model") {
		t.Errorf("a room of a model that was not uploaded: %d %s", code, body)
	}
	r := httptest.NewRequest("GET", "http://127.0.0.1:8080"+library.DatasetURL("handed:rows-2"), nil)
	r.RemoteAddr = "127.0.0.1:50001"
	w := httptest.NewRecorder()
	if c.handler.ServeHTTP(w, r); w.Body.String() != rows {
		t.Errorf("a tab gets %d and %d bytes", w.Code, w.Body.Len())
	}
}

// TestOldUploads checks that a folder of uploads has a limited number of files, and that uploads are removed after a while
// unless a room needs them.
func TestOldUploads(t *testing.T) {
	c := newClassroom(t)
	lesson := c.uploadLesson(`{"text": "Once there was a fox."}` + "\n" + `{"text": "It slept."}` + "\n")
	if code, body := c.request("POST", "/api/rooms", opening(lesson), ""); code != http.StatusCreated {
		t.Fatalf("a room of uploaded files: %d %s", code, body)
	}
	for i := range library.MaxUploadFiles {
		if code := c.put(fmt.Sprintf("many-4/%d", i), "x"); code != http.StatusCreated {
			t.Fatal(code)
		}
	}
	if code := c.put("many-4/more", "x"); code != http.StatusRequestEntityTooLarge {
		t.Errorf("one file too many: %d", code)
	}
	old := time.Now().Add(-2 * library.UploadIdle)
	for _, name := range []string{"mine-1", "rows-2", "many-4"} {
		if err := os.Chtimes(filepath.Join(c.uploads.Dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if code := c.put("new-5/a", "x"); code != http.StatusCreated { // now old uploads are removed
		t.Fatal(code)
	}
	for name, want := range map[string]bool{"mine-1": true, "rows-2": true, "new-5": true, "many-4": false} {
		if _, err := os.Stat(filepath.Join(c.uploads.Dir, name)); err == nil != want || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
