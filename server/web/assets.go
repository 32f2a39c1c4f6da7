package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

// embedded holds what the build packed: for each asset the files NAME.zst and NAME.gz. A fresh clone has none yet.
//
//go:embed all:assets
var embedded embed.FS

// Packed holds the packed files. Tests put small assets of their own here.
var Packed = must(fs.Sub(embedded, "assets"))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var errNoAssets = errors.New("this program was built without its page and engine: run `make build` and use bin/llamatab")

// Assets serves the packed page and engine.
type Assets struct{ files fs.FS }

// Open opens the embedded assets.
func Open() (*Assets, error) {
	if _, err := fs.Stat(Packed, "engine.wasm.gz"); err != nil {
		return nil, errNoAssets
	}
	return &Assets{Packed}, nil
}

// contentTypes come before the system's table, which can be wrong about .js and .wasm.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".wasm": "application/wasm",
	".txt":  "text/plain; charset=utf-8",
	".json": "application/json",
	".svg":  "image/svg+xml",

	".webmanifest": "application/manifest+json",
}

func contentType(name string) string {
	if t, ok := contentTypes[path.Ext(name)]; ok {
		return t
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// etags caches entity tags by asset and encoding.
var etags sync.Map

func (a *Assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		name = "index.html"
	}
	a.serve(w, r, name)
}

// serve sends an asset in the best encoding that the client accepts.
func (a *Assets) serve(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	encoding, suffix := "", ".gz" // a client that takes neither encoding gets the gzip form unpacked
	switch accepted := r.Header.Get("Accept-Encoding"); {
	case accepts(accepted, "zstd"):
		encoding, suffix = "zstd", ".zst"
	case accepts(accepted, "gzip"):
		encoding = "gzip"
	}
	file, err := a.files.Open(name + suffix)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		http.NotFound(w, r)
		return
	}
	tag, ok := etags.Load(name + encoding)
	if !ok {
		data, err := fs.ReadFile(a.files, name+suffix)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		sum := sha256.Sum256(data)
		tag, _ = etags.LoadOrStore(name+encoding, `"`+hex.EncodeToString(sum[:8])+encoding+`"`)
	}
	h := w.Header()
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", tag.(string))
	h.Set("Cache-Control", "no-cache") // the browser asks again, so an updated program brings an updated page
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", contentType(name))
	size, content := info.Size(), io.Reader(file) // not read as a whole: many requests would hold as many copies
	if encoding == "" {
		data, err := a.unpacked(tag.(string), name+suffix)
		if err != nil {
			http.Error(w, "asset "+name+": "+err.Error(), http.StatusInternalServerError)
			return
		}
		size, content = int64(len(data)), bytes.NewReader(data)
	} else {
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodGet {
		io.Copy(w, content)
	}
}

// plain holds the assets that were unpacked, by entity tag.
var plain sync.Map

// unpacked is the content of a gzip file. Each is unpacked once: requests share the bytes, so that many of them do not exhaust
// the memory.
func (a *Assets) unpacked(tag, packed string) ([]byte, error) {
	once, _ := plain.LoadOrStore(tag, sync.OnceValues(func() ([]byte, error) {
		data, err := fs.ReadFile(a.files, packed)
		if err != nil {
			return nil, err
		}
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	}))
	return once.(func() ([]byte, error))()
}

// accepts reports whether an Accept-Encoding header names the coding with a quality above 0.
func accepts(header, coding string) bool {
	for item := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.TrimSpace(name), coding) {
			continue
		}
		quality, given := strings.CutPrefix(strings.TrimSpace(parameters), "q=")
		if !given {
			return true
		}
		q, err := strconv.ParseFloat(quality, 64)
		return err == nil && q > 0
	}
	return false
}
