package web

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"llamatab/server/servertest"
)

func TestNoAssets(t *testing.T) {
	saved := Packed
	defer func() { Packed = saved }()
	Packed = os.DirFS(t.TempDir())
	if _, err := Open(); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v", err)
	}
}

func TestAssetEncodings(t *testing.T) {
	page := &Assets{os.DirFS(servertest.StandIn(t))}
	for _, c := range []struct{ accept, encoding string }{
		{"gzip, deflate, br, zstd", "zstd"},
		{"gzip, zstd;q=0", "gzip"},
		{"GZIP;q=0.5", "gzip"},
		{"br", ""},
		{"", ""},
	} {
		r := httptest.NewRequest("GET", "/engine.wasm", nil)
		r.Header.Set("Accept-Encoding", c.accept)
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		if w.Code != 200 || w.Header().Get("Content-Encoding") != c.encoding || w.Header().Get("Content-Type") != "application/wasm" {
			t.Errorf("%q: status %d, %v", c.accept, w.Code, w.Header())
		}
		if c.encoding == "" && !bytes.HasPrefix(w.Body.Bytes(), []byte("\x00asm")) {
			t.Errorf("%q: the body is no wasm", c.accept)
		}
		r.Header.Set("If-None-Match", w.Header().Get("ETag"))
		w = httptest.NewRecorder()
		page.ServeHTTP(w, r)
		if w.Code != http.StatusNotModified {
			t.Errorf("%q: a known tag is answered with status %d", c.accept, w.Code)
		}
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", w.Code)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	servertest.RemoveStandIn()
	os.Exit(code)
}
