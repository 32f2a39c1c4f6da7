package job

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"llamatab/engine/message"
)

// FuzzRange asks for ranges of a file: what comes is whole, or it is the one part that the answer's Content-Range names.
func FuzzRange(f *testing.F) {
	for _, ranges := range []string{"", "bytes=0-3", "bytes=5-", "bytes=-2", "bytes=9-1", "bytes=0-0,4-6", "bytes=-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-00", "bytes=0-99999999999999999999", "lines=1-2"} {
		f.Add(ranges)
	}
	content := []byte("0123456789abcdefghij")
	files := fstest.MapFS{"f": {Data: content}}
	f.Fuzz(func(t *testing.T, ranges string) {
		r := httptest.NewRequest("GET", "/f", nil)
		r.Header.Set("Range", ranges)
		w := httptest.NewRecorder()
		ServeFile(w, r, files, "f")
		body := w.Body.Bytes()
		switch w.Code {
		case http.StatusOK:
			if !bytes.Equal(body, content) {
				t.Errorf("%q: %q", ranges, body)
			}
		case http.StatusPartialContent:
			part, size, ok := strings.Cut(strings.TrimPrefix(w.Header().Get("Content-Range"), "bytes "), "/")
			from, to, _ := strings.Cut(part, "-")
			first, err1 := strconv.Atoi(from)
			last, err2 := strconv.Atoi(to)
			if !ok || err1 != nil || err2 != nil || size != strconv.Itoa(len(content)) || last >= len(content) || !bytes.Equal(body, content[first:last+1]) {
				t.Errorf("%q: %q is %s", ranges, body, w.Header().Get("Content-Range"))
			}
		case http.StatusRequestedRangeNotSatisfiable:
		default:
			t.Errorf("%q: %d", ranges, w.Code)
		}
	})
}

// FuzzJob sends a request to a job: it is answered, and nothing outside of the output folder is written.
func FuzzJob(f *testing.F) {
	for _, seed := range []struct{ method, path, body string }{
		{"GET", "job.json", ""}, {"GET", "files/model/f", ""}, {"GET", "files/model/?list", ""}, {"GET", "files/model/../f", ""}, {"POST", "messages", `[{"type": "step", "step": {"step": 1}}]`},
		{"POST", "out/adapter/a?offset=0", "x"}, {"POST", "out/..%2fa?offset=0", "x"}, {"POST", "commit/adapter", ""}, {"DELETE", "out/adapter", ""}, {"GET", "out/adapter?list", ""},
	} {
		f.Add(seed.method, seed.path, seed.body)
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if method == "" || strings.ContainsFunc(path+method, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return
		}
		top := t.TempDir()
		dir, err := OpenDir(filepath.Join(top, "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		j := New(message.Job{Command: message.Train})
		j.Store, j.Mounts = dir, map[string]Mount{"model": MountFS(fstest.MapFS{"f": {Data: []byte("weights")}}, "")}
		r := httptest.NewRequest("GET", "http://127.0.0.1/", strings.NewReader(body))
		target, err := r.URL.Parse(j.Path() + path)
		if err != nil {
			return
		}
		r.Method, r.URL = method, target
		w := httptest.NewRecorder()
		j.Handler().ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 {
			t.Errorf("answered with %d", w.Code)
		}
		if beside, err := os.ReadDir(top); err != nil || len(beside) != 1 {
			t.Errorf("%s %s: beside the output folder lies %v, %v", method, path, beside, err)
		}
	})
}
